"""Purchase processes whose customers stop at a moment that has nothing to do with their purchases.

Each buys at a rate of their own, rate ~ Gamma(r, alpha), until they stop. The models differ in the lifetime only. In
three of them a customer's risk of stopping is gamma-distributed, too, and constant (Pareto/NBD), rising exponentially
(Gamma-Gompertz/NBD) or rising or falling as a power of time (Weibull-gamma/NBD); in the fourth nobody stops (NBD).

A further lifetime is a class with its `label`, the names of its parameters, the power of time in each, starts, and
two functions: `lifetime`, and the `pace` of its density.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.special import expit

from crm_analysis.lifetime import kernel
from crm_analysis.lifetime.histories import checked, columns, enough, possible
from crm_analysis.lifetime.process import PurchaseProcess
from crm_analysis.lifetime.season import Season

EARLIEST = 1e-290  # time that is told from 0 where the risk of stopping is infinite there


class DropoutFitter(PurchaseProcess):
    """A purchase process with a lifetime of its own.

    Parameters
    ----------
    penalizer_coef
        Weight of the sum of squared coefficients of covariates, against the mean log-likelihood of a customer.
    season
        How purchases vary over the year (see `Season`); without it they do not.

    Attributes
    ----------
    params_ : pandas.Series
        r, alpha and those of the lifetime; with covariates also `rate: NAME` and `dropout: NAME`, the logarithms of
        the factors by which one unit more of a covariate divides alpha and beta. So it multiplies the purchase rate
        and, of the Pareto/NBD, the risk of stopping.
    """

    starts: tuple[tuple[float, ...], ...]
    _names: Sequence[str] = ()  # of the covariates

    def __init__(self, penalizer_coef: float = 0.0, season: Season | None = None):
        self.penalizer_coef, self.season = penalizer_coef, season

    @staticmethod
    def lifetime(t: Any, *parameters: Any) -> tuple[Any, Any, Sequence[Any], Sequence[Any]]:
        """Return log S(t), the log hazard, and the derivatives of both by the logarithm of each parameter."""
        raise NotImplementedError

    @staticmethod
    def pace(t: Any, *parameters: Any) -> Any:
        """Return how fast the density of the lifetime changes from t on, as a share per unit of time."""
        raise NotImplementedError

    @classmethod
    def log_likelihoods(cls, parameters: Sequence[float], frequency: Any, recency: Any, T: Any) -> tuple[Any, Any]:
        """Return each history's log-likelihood and its derivatives by the logarithms of the parameters (rows)."""
        history = columns(frequency, recency, T)
        return kernel.log_likelihood(cls.lifetime, cls.pace, np.asarray(parameters, float).tolist(), history)[:2]

    def fit(
        self,
        frequency: Any,
        recency: Any,
        T: Any,
        weights: Any = None,
        initial_params: Any = None,
        covariates: pd.DataFrame | None = None,
    ) -> Self:
        """Fit to histories of which `weights` customers each have one.

        Parameters
        ----------
        frequency, recency, T
            Repeat purchases, the time from the first to the last, and to the end of the data; in one unit of time,
            weeks if there is a season. `alpha` and what is derived are in this unit.
        weights
            How many customers have the history; 1 without it.
        initial_params
            Where to start the search, instead of several places of its own.
        covariates
            Numeric columns, one row per history, that do not change with time.

        Raises
        ------
        ValueError
            A history cannot be; the message counts and names the rows.
        Unanswerable
            Too few customers bought again, or no maximum was found.
        """
        if covariates is not None and "beta" not in self.names:
            raise ValueError(f"the {self.label} model takes no covariates")
        data = checked(frequency, recency, T, weights, covariates)
        enough(data["weights"][data["frequency"] > 0].sum(), f"fit the {self.label} model")
        self._names = [name for name in data.columns if name not in ("frequency", "recency", "T", "weights")]
        scale = float(np.average(data["T"], weights=data["weights"])) / 4
        places = np.array(self.starts)
        if initial_params is not None:
            places = np.array([initial_params])[:, : len(self.names)] / scale ** np.array(self.powers, float)
        starts = [np.concatenate([np.log(place), np.zeros(2 * len(self._names))]) for place in places]
        self._estimate(self._likelihood, starts, data, scale)
        self.log_likelihood_ -= float(data["weights"] @ data["frequency"]) * np.log(scale)
        if self.season is not None:
            self.log_likelihood_ += self.season.log_rates
        return self

    def _likelihood(self, at: np.ndarray, x: Any, t_x: Any, T: Any, *covariates: Any) -> tuple[Any, Any]:
        split, scale = len(self.names), self._scale
        parameters = self._by_row(list(np.exp(at[:split])), at[split:], covariates)
        history = (x, t_x / scale, T / scale)
        values, slopes, _ = kernel.log_likelihood(self.lifetime, self.pace, parameters, history, *self._clock(scale))
        if covariates:
            known = np.stack(covariates)
            stopping = self.names.index("beta")
            slopes = np.concatenate([slopes, -known * slopes[1], -known * slopes[stopping]])
        return values, slopes

    def _clock(self, scale: float = 1.0) -> tuple[Any, float]:
        """Return the purchase clock in units of `scale`, and the time over which its speed is smooth."""
        season = self.season
        if season is None:
            return None, np.inf
        return lambda T, y: season.passed(T * scale, y * scale) / scale, season.smooth / scale

    def _by_row(self, parameters: list[Any], coefficients: Any, covariates: Sequence[Any]) -> list[Any]:
        """Return the parameters, alpha and beta divided by what the covariates multiply rate and risk with."""
        if len(covariates):
            known = np.stack([np.asarray(column, float) for column in covariates])
            rate, risk = np.split(np.asarray(coefficients), 2)
            stopping = self.names.index("beta")
            parameters[1] = parameters[1] * np.exp(-rate @ known)
            parameters[stopping] = parameters[stopping] * np.exp(-risk @ known)
        return parameters

    def _coefficients(self) -> list[str]:
        return [f"{what}: {name}" for what in ("rate", "dropout") for name in self._names]

    def _freedom(self) -> int:
        return len(self.params_) + (0 if self.season is None else self.season.freedom)

    def _row_parameters(self, covariates: pd.DataFrame | None = None) -> list[Any]:
        if self._names and covariates is None:
            raise ValueError(f"the model has covariates ({', '.join(self._names)}); give those of the customers")
        missing = [name for name in self._names if name not in pd.DataFrame(covariates)]
        if missing:
            raise ValueError(f"the covariates lack {', '.join(missing)}")
        split = len(self.names)
        known = [pd.DataFrame(covariates)[name] for name in self._names]
        return self._by_row(list(self.params_.iloc[:split]), self.params_.iloc[split:], known)

    def conditional_probability_alive(
        self, frequency: Any, recency: Any, T: Any, covariates: pd.DataFrame | None = None
    ) -> np.ndarray:
        """Return the probability that customers with a history have not stopped."""
        history = possible(frequency, recency, T)
        parameters = self._row_parameters(covariates)
        return kernel.log_likelihood(self.lifetime, self.pace, parameters, history, *self._clock())[2]

    def conditional_expected_number_of_purchases_up_to_time(
        self, t: Any, frequency: Any, recency: Any, T: Any, covariates: pd.DataFrame | None = None
    ) -> np.ndarray:
        """Return the purchases expected of customers with a history over the next `t`."""
        if np.min(t, initial=0.0) < 0:
            raise ValueError("t must be 0 or more: what is expected lies after the end of the data")
        x, t_x, age = columns(frequency, recency, T)
        found = self.conditional_probability_alive(x, t_x, age, covariates)
        found = found * self._expected_if_alive(np.atleast_2d(np.asarray(t, float)), x, age, covariates)
        return found.reshape(np.broadcast_shapes(*map(np.shape, (t, frequency, recency, T))))

    def expected_number_of_purchases_up_to_time(self, t: Any, T: Any = 0.0) -> np.ndarray:
        """Return the repeat purchases expected of new customers in their first `t`.

        With a season it matters when they came: `T` before the end of the data.
        """
        t, age = np.broadcast_arrays(np.asarray(t, float), np.asarray(T, float))
        new = np.zeros(t.size)
        return self._expected_if_alive(t.reshape(1, -1), new, new, None, age.ravel()).reshape(t.shape)

    def _expected_if_alive(
        self, t: np.ndarray, x: np.ndarray, T: np.ndarray, covariates: pd.DataFrame | None, age: Any = None
    ) -> np.ndarray:
        """Return the purchases expected over each next `t` (rows) of those who are alive at T (who came `age` ago)."""
        r, alpha, *theta = self._row_parameters(covariates)
        age = T if age is None else age
        passed = T if self.season is None else self.season.passed(age, T)
        # What remains of a lifetime depends on T and t alone, unless there are covariates.
        kinds = [T] if age is T else [T, age]
        kinds += [] if t.shape[1] == 1 else list(t)
        rows = back = np.arange(len(T))
        if not self._names:
            back = pd.factorize(T)[0] if len(kinds) == 1 else pd.factorize(pd.MultiIndex.from_arrays(kinds))[0]
            rows = np.unique(back, return_index=True)[1]
        each = np.broadcast_to(t, (len(t), len(T)))[:, rows]
        left = np.stack([self._time_left(one, T[rows], age[rows], theta) for one in each])
        return (r + x) / (alpha + passed) * left[:, back]

    def _time_left(self, t: np.ndarray, T: np.ndarray, age: np.ndarray, theta: list[Any]) -> np.ndarray:
        """Return the time, by the purchase clock, that those alive at T are expected to stay in the next `t`."""
        if self.season is not None:
            return self.season.time_left(lambda at: self.lifetime(at, *theta)[0], t, T, age)
        at_T = self.lifetime(T, *theta)[0]

        def remains(u: np.ndarray, log_step: np.ndarray, rows: Any) -> tuple[Any, list[Any]]:
            own = (value[rows] if np.ndim(value) else value for value in theta)
            log_step += self.lifetime(T[rows] + u, *own)[0] - at_T[rows]
            return np.exp(log_step, out=log_step), []

        none = np.zeros_like(T)
        m = 1 / (self.pace(T, *theta) + 1e-300)
        return kernel.integral(remains, np.minimum(m, 1e6 * (1 + t)), none, t + none, none)[0]

    def conditional_distribution(
        self,
        t: float,
        frequency: Any,
        recency: Any,
        T: Any,
        *,
        most: int,
        covariates: pd.DataFrame | None = None,
    ) -> np.ndarray:
        """Return the probabilities of 0, 1, … `most` purchases over the next `t`: one row each, a column a history."""
        x, t_x, age = columns(frequency, recency, T)
        alive = self.conditional_probability_alive(x, t_x, age, covariates)
        r, alpha, *theta = (np.broadcast_to(value, age.shape) for value in self._row_parameters(covariates))
        kinds = back = np.arange(len(age))
        if not self._names:  # when they last bought matters no more for those who are alive
            back = pd.factorize(pd.MultiIndex.from_arrays([x, age]))[0]
            kinds = np.unique(back, return_index=True)[1]
        each = np.empty((most + 1, len(kinds)))
        for start in range(0, len(kinds), kernel.ROWS // 4):
            part = slice(start, start + kernel.ROWS // 4)
            rows = kinds[part]
            own = [value[rows] for value in theta]
            each[:, part] = self._distribution_if_alive(t, (r + x)[rows], alpha[rows], age[rows], own, most)
        found = each[:, back]
        found *= alive
        found[0] += 1 - alive
        return found

    def _distribution_if_alive(
        self, t: float, k: np.ndarray, alpha: np.ndarray, T: np.ndarray, theta: list[Any], most: int
    ) -> np.ndarray:
        """Mix the negative binomial distributions of those who stop at each moment of the horizon, and of the rest."""
        m = 1 / (self.pace(T, *theta) + 1 / (alpha + T))
        width = np.log1p(t / m)
        panels = int(np.ceil(width.max(initial=0.0))) + 1
        places = (np.arange(panels)[:, None] + kernel.NODES[:, 0]).reshape(-1, 1) / panels
        step = np.tile(kernel.WEIGHTS, panels)[:, None] / panels * width
        u = m * np.expm1(places * width)
        at_T, (log_S, log_hazard, _, _) = self.lifetime(T, *theta)[0], self.lifetime(T + u, *theta)
        share = np.exp(log_S + log_hazard - at_T) * step * (m + u)
        remain = np.exp(self.lifetime(T + t, *theta)[0] - at_T)
        share = np.concatenate([share, remain[None]])
        until = np.concatenate([T + u, (T + t)[None]])
        if self.season is None:
            passed, more = T, until - T
        else:
            passed = self.season.passed(T, T)
            more = self.season.passed(T, until) - passed
        bought = more / (alpha + passed + more)
        with np.errstate(divide="ignore"):  # nobody stops at some moments
            log_mass = np.log(share) + k * np.log1p(-bought)
        log_bought = np.log(bought)
        found = np.empty((most + 1, len(T)))
        for count in range(most + 1):
            np.exp(log_mass).sum(axis=0, out=found[count])
            log_mass += log_bought + np.log((k + count) / (count + 1))
        return found

    def generate_new_data(self, size: int = 1, seed: int = 0) -> pd.DataFrame:
        """Return simulated customers of the fitted ages: `frequency`, `recency`, `T`, `alive`; no season."""
        rng = np.random.default_rng(seed)
        r, alpha, *theta = self.params_.iloc[: len(self.names)]
        weights = self.data["weights"].to_numpy(float)
        T = rng.choice(self.data["T"].to_numpy(), size, p=weights / weights.sum())
        stop = self.stopped(rng.random(size), *theta)
        until = np.minimum(stop, T)
        frequency = rng.poisson(rng.gamma(r, 1 / alpha, size) * until)
        recency = np.where(frequency > 0, until * rng.random(size) ** (1 / np.maximum(frequency, 1)), 0.0)
        return pd.DataFrame({"frequency": frequency, "recency": recency, "T": T, "alive": stop > T})

    @staticmethod
    def stopped(survival: Any, *parameters: Any) -> Any:
        """Return the time that a share of customers outlives: the inverse of S."""
        raise NotImplementedError


class ParetoNBDFitter(DropoutFitter):
    """Each customer's risk of stopping is constant, and gamma-distributed between customers.

    S(t) = (beta / (beta + t))^s. Schmittlein, Morrison and Colombo, "Counting your customers: who are they and what
    will they do next?", Management Science 33 (1987), 1-24.
    """

    label = "Pareto/NBD"
    names = ("r", "alpha", "s", "beta")
    powers = (0, 1, 0, 1)
    starts = ((0.5, 0.5, 0.5, 1.0), (1.0, 2.0, 1.0, 8.0), (0.2, 0.2, 0.2, 0.2))

    @staticmethod
    def lifetime(t: Any, s: Any, beta: Any) -> Any:
        """Return log S, the log hazard and their slopes."""
        log_S = -s * np.log1p(t / beta)
        past = t / (beta + t)
        return log_S, np.log(s / (beta + t)), (log_S, s * past), (1.0, past - 1)

    @staticmethod
    def pace(t: Any, s: Any, beta: Any) -> Any:
        """Return the pace of the density."""
        return (s + 1) / (beta + t)

    @staticmethod
    def stopped(survival: Any, s: Any, beta: Any) -> Any:
        """Return the inverse of S."""
        return beta * np.expm1(-np.log(survival) / s)


class GammaGompertzNBDFitter(DropoutFitter):
    """Each customer's risk of stopping rises exponentially with time.

    S(t) = (beta / (beta + exp(b t) - 1))^s. Bemmaor and Glady, "Modeling purchasing behavior with sudden 'death': a
    flexible customer lifetime model", Management Science 58 (2012), 1012-1021.
    """

    label = "Gamma-Gompertz/NBD"
    names = ("r", "alpha", "s", "beta", "b")
    powers = (0, 1, 0, 0, -1)
    starts = ((0.5, 0.5, 0.5, 0.1, 0.1), (0.5, 0.5, 0.5, 1.0, 0.5), (1.0, 2.0, 0.2, 5.0, 1.0))

    @staticmethod
    def lifetime(t: Any, s: Any, beta: Any, b: Any) -> Any:
        """Return log S, the log hazard and their slopes."""
        z = b * t
        gone = -np.expm1(-z)
        old = 1 - gone
        whole = beta * old + gone  # (beta + exp(z) - 1) exp(-z)
        log_cover = z + np.log1p(gone * (1 / beta - 1))  # log of (beta + exp(z) - 1) / beta
        log_S, aged = -s * log_cover, z / whole
        hazard_slopes = (1.0, -beta * old / whole, 1 + (beta - 1) * old * aged)
        return log_S, np.log(s * b / beta) + z - log_cover, (log_S, s * gone / whole, -s * aged), hazard_slopes

    @staticmethod
    def pace(t: Any, s: Any, beta: Any, b: Any) -> Any:
        """Return the pace of the density."""
        return b * (1 + (s + 1) / (1 + (beta - 1) * np.exp(-b * t)))

    @staticmethod
    def stopped(survival: Any, s: Any, beta: Any, b: Any) -> Any:
        """Return the inverse of S."""
        return np.log1p(beta * np.expm1(-np.log(survival) / s)) / b


class WeibullGammaNBDFitter(DropoutFitter):
    """Each customer's risk of stopping goes with a power of time: it falls (c < 1) or rises (c > 1).

    S(t) = (1 + (t / beta)^c)^-s, the Burr XII distribution; c = 1 is the Pareto/NBD.
    """

    label = "Weibull-gamma/NBD"
    names = ("r", "alpha", "s", "beta", "c")
    powers = (0, 1, 0, 1, 0)
    starts = ((0.5, 0.5, 0.5, 1.0, 1.0), (0.5, 0.5, 0.5, 1.0, 2.0), (0.5, 0.5, 0.2, 0.3, 0.5))

    @staticmethod
    def lifetime(t: Any, s: Any, beta: Any, c: Any) -> Any:
        """Return log S, the log hazard and their slopes."""
        t = np.maximum(t, EARLIEST)
        log_z = c * np.log(t / beta)
        log_cover, past = np.logaddexp(0, log_z), expit(log_z)
        log_S, aged = -s * log_cover, past * log_z
        hazard = np.log(s * c / t) + log_z - log_cover
        return log_S, hazard, (log_S, s * c * past, -s * aged), (1.0, c * (past - 1), 1 + log_z - aged)

    @staticmethod
    def pace(t: Any, s: Any, beta: Any, c: Any) -> Any:
        """Return the pace of the density; at 0, where it is not smooth, that from when on anybody to speak of stops."""
        past = expit(c * np.log(np.maximum(t, EARLIEST) / beta))
        return (c + 1 + s * c * past) / np.where(t > 0, t, np.maximum(beta * (1e-20 / s) ** (1 / c), EARLIEST))

    @staticmethod
    def stopped(survival: Any, s: Any, beta: Any, c: Any) -> Any:
        """Return the inverse of S."""
        return beta * np.expm1(-np.log(survival) / s) ** (1 / c)


class NBDFitter(DropoutFitter):
    """Nobody ever stops: customers differ in their purchase rate only (Ehrenberg, Applied Statistics 8 (1959))."""

    label = "NBD"
    names = ("r", "alpha")
    powers = (0, 1)
    starts = ((0.5, 0.5), (1.0, 4.0))

    @staticmethod
    def lifetime(t: Any) -> Any:
        """Return log S and the log hazard."""
        return 0.0 * t, -np.inf + 0.0 * t, (), ()

    @staticmethod
    def pace(t: Any) -> Any:
        """Return the pace of no change."""
        return 0.0 * t

    @staticmethod
    def stopped(survival: Any) -> Any:
        """Return the inverse of S."""
        return np.full(np.shape(survival), np.inf)
