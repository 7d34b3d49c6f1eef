"""Purchase processes whose customers may stop after each purchase: BG/NBD and MBG/NBD.

Each buys at a rate of their own, rate ~ Gamma(r, alpha), and stops with a probability of their own, p ~ Beta(a, b),
after each repeat purchase (BG/NBD) or after the first purchase, too (MBG/NBD). Of a customer who is alive at T after x
repeat purchases, both say the same: rate ~ Gamma(r + x, alpha + T), p ~ Beta(a, b + the times they did not stop), and
what comes next does not depend on when they bought.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import lifetimes  # the package imports it before, without its warning filters
import numpy as np
import pandas as pd
from scipy.special import betainc, expit

from crm_analysis.lifetime.histories import checked, columns, enough, possible
from crm_analysis.lifetime.process import PurchaseProcess

NEGLIGIBLE = 40.0  # logarithm of how much smaller than at its peak a density is where the mean over p ends
STEP = 0.25  # of the rule for this mean: 11 digits
CELLS = 2**17  # of an array that is worked on at once: it stays in the processor's cache


class BetaGeoFitter(PurchaseProcess, lifetimes.BetaGeoFitter):  # type: ignore[misc]
    """Customers may stop after each repeat purchase.

    Fader, Hardie and Lee, "Counting your customers the easy way: an alternative to the Pareto/NBD model", Marketing
    Science 24 (2005), 275-284.

    Parameters
    ----------
    penalizer_coef
        Weight of the sum of the squared parameters, against the mean log-likelihood of a customer; the unit of time is
        the longest T, as in lifetimes.
    """

    label = "BG/NBD"
    names = ("r", "alpha", "a", "b")
    powers = (0, 1, 0, 0)
    starts = ((0.5, 0.5, 0.8, 2.5), (1.0, 2.0, 0.2, 5.0), (0.2, 0.2, 1.0, 1.0))
    at_first = 0  # 1: customers may stop after their first purchase, too

    @classmethod
    def log_likelihoods(cls, parameters: Sequence[float], frequency: Any, recency: Any, T: Any) -> tuple[Any, Any]:
        """Return each history's log-likelihood and its derivatives by the logarithms of the parameters (rows)."""
        x, t_x, T = columns(frequency, recency, T)
        r, alpha, a, b = np.asarray(parameters, float)
        step = np.arange(x.max(initial=0.0))
        chance = np.arange(len(step) + cls.at_first)
        # What depends on x alone, by x: of one who never stopped, and of one who stopped at the last chance against it.
        kept, none = slice(cls.at_first, None), np.zeros(1 - cls.at_first)
        value_of = _sums(np.log((r + step) / alpha)) - _sums(np.log1p(a / (b + chance)))[kept]
        slope_of = (
            _sums(r / (r + step)),
            -np.arange(len(step) + 1.0),
            -_sums(a / (a + b + chance))[kept],
            _sums(a * b / ((b + chance) * (a + b + chance)))[kept],
        )
        with np.errstate(divide="ignore"):
            log_odds_of = np.log(np.concatenate([none, a / (b + chance)]))
        share_of = np.concatenate([none, b / (b + chance)])
        values, slopes = np.empty(len(x)), np.empty((4, len(x)))
        for rows in _blocks(len(x), 32):
            count, k = x[rows].astype(np.intp), r + x[rows]
            at_T, since = np.log1p(T[rows] / alpha), np.log1p((T[rows] - t_x[rows]) / (alpha + t_x[rows]))
            log_odds = log_odds_of[count] + k * since
            smaller = np.exp(-np.abs(log_odds))
            stopped = np.where(log_odds > 0, 1.0, smaller) / (1 + smaller)
            values[rows] = value_of[count] - k * at_T + np.maximum(log_odds, 0) + np.log1p(smaller)
            elapsed = T[rows] / (alpha + T[rows])
            slopes[0, rows] = slope_of[0][count] - r * (at_T - stopped * since)
            slopes[1, rows] = slope_of[1][count] + k * (elapsed - stopped * (elapsed - t_x[rows] / (alpha + t_x[rows])))
            slopes[2, rows] = slope_of[2][count] + stopped
            slopes[3, rows] = slope_of[3][count] - stopped * share_of[count]
        return values, slopes

    def fit(self, frequency: Any, recency: Any, T: Any, weights: Any = None) -> Self:
        """Fit to histories of which `weights` customers each have one.

        Parameters
        ----------
        frequency, recency, T
            Repeat purchases, the time from the first to the last, and to the end of the data; in one unit of time.
            `alpha` and what is derived are in this unit.
        weights
            How many customers have the history; 1 without it.

        Raises
        ------
        ValueError
            A history cannot be; the message counts and names the rows.
        Unanswerable
            Too few customers bought again, or no maximum was found.
        """
        data = checked(frequency, recency, T, weights)
        enough(data["weights"][data["frequency"] > 0].sum(), f"fit the {self.label} model")
        scale = float(np.average(data["T"], weights=data["weights"])) / 4
        self._unit = np.array([1, scale / data["T"].max(), 1, 1])
        self._scale = scale
        self._estimate(self._likelihood, list(np.log(self.starts)), data, scale)
        self.log_likelihood_ += float(data["weights"].sum()) * self._penalty(self._at).sum()
        return self

    def _likelihood(self, at: np.ndarray, x: Any, t_x: Any, T: Any) -> tuple[Any, Any]:
        parameters = np.exp(at) * self._scale ** np.array(self.powers, float)
        values, slopes = self.log_likelihoods(parameters, x, t_x, T)
        if self.penalizer_coef:
            penalty = self._penalty(at)
            return values - penalty.sum(), slopes - 2 * penalty[:, None]
        return values, slopes

    def _penalty(self, at: np.ndarray) -> np.ndarray:
        return self.penalizer_coef * (np.exp(at) * self._unit) ** 2

    def conditional_probability_alive(self, frequency: Any, recency: Any, T: Any) -> np.ndarray:
        """Return the probability that customers with a history have not stopped."""
        x, t_x, T = possible(frequency, recency, T)
        r, alpha, a, b = self.params_
        chances = x + self.at_first
        with np.errstate(divide="ignore"):
            stopped = np.log(np.where(chances > 0, a / (b + np.maximum(chances, 1) - 1), 0.0))
        return expit(-stopped - (r + x) * np.log1p((T - t_x) / (alpha + t_x)))

    def conditional_expected_number_of_purchases_up_to_time(
        self, t: Any, frequency: Any, recency: Any, T: Any
    ) -> np.ndarray:
        """Return the purchases expected of customers with a history over the next `t`.

        Of one who is alive and stops with probability p, (1 - (1 + p t / (alpha + T))^-(r + x)) / p; of this the mean
        over p is taken.
        """
        shape = np.broadcast_shapes(*map(np.shape, (t, frequency, recency, T)))
        t, x, t_x, T = columns(t, frequency, recency, T)
        r, _, a, b = self.params_
        x_of, time, own, back = self._kinds(t, x, T)
        p, weight = beta_rule(a, b + self.at_first + x_of, (1 + r + x_of) * time.max(initial=0.0))
        weight /= -p
        found = np.empty(len(own))
        for kinds in _blocks(len(own), p.shape[1]):
            power = p[own[kinds]]
            power *= time[kinds, None]
            np.log1p(power, out=power)
            power *= -(r + x_of)[own[kinds], None]
            np.expm1(power, out=power)
            found[kinds] = np.einsum("ij,ij->i", power, weight[own[kinds]])
        alive = self.conditional_probability_alive(x, t_x, T)
        return (alive * found[back].reshape(x.shape)).reshape(shape)[()]

    def expected_number_of_purchases_up_to_time(self, t: Any) -> np.ndarray:
        """Return the repeat purchases expected of new customers in their first `t`."""
        return self.conditional_expected_number_of_purchases_up_to_time(t, 0, 0, 0)

    def conditional_distribution(self, t: Any, frequency: Any, recency: Any, T: Any, *, most: int) -> np.ndarray:
        """Return the probabilities of 0, 1, … `most` purchases over the next `t`: one row each, a column a history.

        Of those who are alive, equation (8) of the paper.
        """
        t, x, t_x, T = columns(t, frequency, recency, T)
        r, _, a, b = self.params_
        x_of, time, own, back = self._kinds(t, x, T)
        found = np.empty((most + 1, len(own)))
        for kinds in _blocks(len(own), most + 1):
            bought = x_of[own[kinds]]
            found[:, kinds] = _distribution(r + bought, time[kinds], a, b + self.at_first + bought, most)
        alive = self.conditional_probability_alive(x, t_x, T)
        found = np.take(found, back, axis=1).reshape(most + 1, *x.shape)
        found *= alive
        found[0] += 1 - alive
        return found

    def _kinds(self, t: np.ndarray, x: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what the future of those who are alive depends on, each kind once.

        Returns
        -------
        x_of : the distinct numbers of purchases
        time : of each kind, t / (alpha + T)
        own : of each kind, which number of purchases it has
        back : of each history, which kind it is
        """
        of_x, x_of = pd.factorize(x.ravel(), use_na_sentinel=False)
        of_time, times = pd.factorize((t / (self.params_["alpha"] + T)).ravel(), use_na_sentinel=False)
        back, kinds = pd.factorize(of_time * len(x_of) + of_x)
        return x_of, times[kinds // len(x_of)], kinds % len(x_of), back

    def generate_new_data(self, size: int = 1, seed: int = 0) -> pd.DataFrame:
        """Return simulated customers of the fitted ages: `frequency`, `recency`, `T`, `alive`."""
        rng = np.random.default_rng(seed)
        r, alpha, a, b = self.params_
        weights = self.data["weights"].to_numpy(float)
        T = rng.choice(self.data["T"].to_numpy(), size, p=weights / weights.sum())
        would_buy = rng.poisson(rng.gamma(r, 1 / alpha, size) * T)
        with np.errstate(divide="ignore"):
            last = 1 - self.at_first + np.floor(np.log(rng.random(size)) / np.log1p(-rng.beta(a, b, size)))
        frequency = np.minimum(would_buy, last).astype(int)
        latest = rng.beta(np.maximum(frequency, 1), would_buy - frequency + 1)  # of so many purchases in 0..1
        recency = np.where(frequency > 0, T * latest, 0.0)
        return pd.DataFrame({"frequency": frequency, "recency": recency, "T": T, "alive": would_buy < last})


class ModifiedBetaGeoFitter(BetaGeoFitter, lifetimes.ModifiedBetaGeoFitter):  # type: ignore[misc]
    """Customers may stop after each purchase, also after the first.

    Batislam, Denizel and Filiztekin, "Empirical validation and comparison of models for customer base analysis",
    International Journal of Research in Marketing 24 (2007), 201-209.
    """

    label = "MBG/NBD"
    at_first = 1


def beta_rule(a: float, b: np.ndarray, finest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights (each b a row) of a mean over p ~ Beta(a, b).

    This is the trapezoidal rule in a variable s, where log(p / (1 - p)) = s - exp(first - s) + exp(s - last): between
    `first` and `last`, where a function of p varies, the steps are even; beyond, the density falls doubly
    exponentially, however small a or b. Takahasi and Mori, Publ. RIMS Kyoto 9 (1974), 721-741.

    Parameters
    ----------
    a, b
        Of the distribution.
    finest
        One over the least p (of each b) at which the function still varies.
    """
    b, finest = b[:, None], finest[:, None]
    width = np.sqrt(1 / a + 1 / b)
    low = np.log(a / b) - np.sqrt(2 * NEGLIGIBLE) * width - NEGLIGIBLE / a
    high = np.log(a / b) + np.sqrt(2 * NEGLIGIBLE) * width + NEGLIGIBLE / b
    first, last = -np.log(1 + a + b + finest) - 1, np.log(1 + a + b) + 3
    low = np.maximum(low, first - np.log(np.maximum(first - low, 1)))
    high = np.minimum(high, last + np.log(np.maximum(high - last, 1)))
    steps = int(np.ceil(np.max((high - low) / np.minimum(STEP, 0.6 * width), initial=1)))
    s = low + (high - low) * np.arange(steps + 1) / steps
    before, after = np.exp(first - s), np.exp(s - last)
    log_odds = s - before + after
    log_weight = a * log_odds - (a + b) * np.logaddexp(0, log_odds)
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True)) * (1 + before + after)
    return np.maximum(expit(log_odds), 1e-300), weight / weight.sum(axis=1, keepdims=True)


def _distribution(k: np.ndarray, time: np.ndarray, a: float, b: np.ndarray, most: int) -> np.ndarray:
    """Return the probabilities of 0 … `most` purchases of those who are alive.

    They bought that often and go on, or stopped at the last of these and would have bought at least that often.
    """
    count = np.arange(most + 1.0)[:, None]
    with np.errstate(divide="ignore"):
        log_step = np.log((k + count[:-1]) / count[1:]) - np.log1p(1 / time)
    would_buy = np.exp(np.cumsum(np.concatenate([-k[None] * np.log1p(time), log_step]), axis=0))
    more = betainc(most + 1, k, time / (1 + time))
    at_least = np.cumsum(np.concatenate([more[None], would_buy[:0:-1]]), axis=0)[:0:-1]  # from the end: all above 0
    chances = a + b + count[:-1]
    alive = np.cumprod(np.concatenate([np.ones((1, len(k))), (b + count[:-1]) / chances]), axis=0)
    found = alive * would_buy
    found[1:] += alive[:-1] * (a / chances) * at_least
    return found


def _blocks(count: int, width: int) -> Iterator[slice]:
    """Go through rows of so many cells each."""
    step = max(CELLS // width, 1)
    return (slice(start, start + step) for start in range(0, count, step))


def _sums(values: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, … values."""
    return np.concatenate([[0.0], np.cumsum(values)])
