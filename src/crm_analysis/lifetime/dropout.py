"""Purchase processes whose customers stop at a moment that has nothing to do with their purchases.

Each buys at a rate of their own, rate ~ Gamma(r, alpha), until they stop. The models differ in the lifetime only: see
`family`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from crm_analysis.lifetime import kernel
from crm_analysis.lifetime.histories import checked, columns, enough, possible
from crm_analysis.lifetime.process import PurchaseProcess
from crm_analysis.lifetime.season import Season


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
