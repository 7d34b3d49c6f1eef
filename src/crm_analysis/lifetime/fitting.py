"""Finds the maximum of a likelihood from several starts, verifies it, and tells how sure the estimates are."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult, minimize
from threadpoolctl import threadpool_limits

from crm_analysis import numerals
from crm_analysis.errors import Unanswerable

with warnings.catch_warnings():  # importing lifetimes changes the global warning filters
    warnings.simplefilter("ignore")
    import lifetimes

# Keeps a parameter that the data do not bound from running away; moves the others by far less than their errors.
RIDGE = 2e-8
STEEPEST = 1e-6  # gradient of the mean log-likelihood on log-parameters, at a maximum
SAMPLES = 1_000, 10_000, 100_000  # customers on whom the search goes before it goes on all
STEPS = 80  # of a search at most: one that needs more is lost
ROUGH = 1e-4  # gradient with which it goes on to more
FARTHEST = 14.0  # that a log-parameter may be from 0, where times and amounts are about 1
REPEATERS = 30  # fewer customers who bought again cannot carry the parameters

Sample = tuple[Any, np.ndarray]  # rows, and how many customers each stands for
# Of a place (log-parameters, then coefficients) and columns of data: each row's log-likelihood and its derivatives.
Likelihood = Callable[..., tuple[np.ndarray, np.ndarray]]
Loss = Callable[[np.ndarray, Sample], tuple[float, np.ndarray]]


class Estimates(lifetimes.BaseFitter):  # type: ignore[misc]
    """What every fitted model says of itself.

    Attributes
    ----------
    params_ : pandas.Series
        The estimates, in the units of the data.
    log_likelihood_ : float
        Of all customers, in the units of the data.
    standard_errors_, variance_matrix_, confidence_intervals_
        Of the parameters. The intervals (95 %) are taken on the logarithms, so they never go below 0.
    aic_, bic_ : float
        Of two models of the same data the one with the lower value is to be preferred.
    data : pandas.DataFrame
        What it was fitted on: distinct rows, sorted, and the `weights` that say how many customers share each.
    """

    label: str  # the model's name
    names: tuple[str, ...]  # of its parameters
    powers: tuple[int, ...]  # of the unit of the data in each parameter
    penalizer_coef = 0.0

    def __repr__(self) -> str:
        name = f"{self.label}{' with season' if getattr(self, 'season', None) else ''} model"
        if not hasattr(self, "params_"):
            return f"<{name}, not fitted>"
        estimates = ", ".join(f"{parameter} {value:.4g}" for parameter, value in self.params_.items())
        return (
            f"<{name}: {estimates}; converged on {self.data['weights'].sum():,.0f} customers,"
            f" log-likelihood {self.log_likelihood_:,.2f}>"
        )

    def _estimate(self, likelihood: Likelihood, starts: Sequence[Any], data: pd.DataFrame, scale: float) -> None:
        """Fit to `data`, whose amounts or times were divided by `scale` before the likelihood takes them."""
        weights = data["weights"].to_numpy(float)
        columns = [data[name].to_numpy(float) for name in data.columns.drop("weights")]
        ridge = np.full(len(starts[0]), RIDGE)
        ridge[len(self.names) :] += self.penalizer_coef

        def loss(at: np.ndarray, sample: Sample) -> tuple[float, np.ndarray]:
            rows, counts = sample
            values, slopes = likelihood(at, *(column[rows] for column in columns))
            value, slope = (np.einsum("...n,n->...", rows, counts) / counts.sum() for rows in (values, slopes))
            return (ridge * at**2).sum() - value, 2 * ridge * at - slope

        for name in ("params_", "_information", "_log_variance", "variance_matrix_"):
            self.__dict__.pop(name, None)  # of an earlier fit
        self._scale = scale
        # Where the search looks too far, the likelihood is 0. Threads for its tiny matrices only hold it up.
        with np.errstate(all="ignore"), threadpool_limits(1, "blas"):
            self._at, least = maximum(loss, starts, weights, self.label)
            self._slope = lambda at: loss(at, (slice(None), weights))[1] * weights.sum()
        self.data, self.log_likelihood_ = data, float(((ridge * self._at**2).sum() - least) * weights.sum())
        self.params_ = self._parameters(self._at)

    def _parameters(self, at: np.ndarray) -> pd.Series:
        """Return the parameters at a place of the search, in the units of the data."""
        split = len(self.names)
        known = np.exp(at[:split]) * self._scale ** np.array(self.powers, float)
        return pd.Series(np.concatenate([known, at[split:]]), [*self.names, *self._coefficients()])

    def _coefficients(self) -> list[str]:
        """Return the names of what the model has beside its parameters."""
        return []

    def _freedom(self) -> int:
        """Return how many numbers were estimated."""
        return len(self.params_)

    @cached_property
    def _information(self) -> np.ndarray:
        """How sharply the data tell the log-parameters (and coefficients): the curvature of the likelihood."""
        with np.errstate(all="ignore"), threadpool_limits(1, "blas"):
            return _curvature(self._slope, self._at)

    @cached_property
    def _log_variance(self) -> np.ndarray:
        return np.linalg.pinv(self._information, hermitian=True)

    @cached_property
    def variance_matrix_(self) -> pd.DataFrame:
        """Covariances of the parameters."""
        names = self.params_.index
        size = np.where(np.arange(len(names)) < len(self.names), self.params_, 1.0)
        return pd.DataFrame(self._log_variance * np.outer(size, size), names, names)

    @property
    def standard_errors_(self) -> pd.Series:
        """Standard errors of the parameters."""
        return pd.Series(np.sqrt(np.diag(self.variance_matrix_)), self.params_.index)

    @property
    def confidence_intervals_(self) -> pd.DataFrame:
        """Where each parameter probably (95 %) is."""
        wide = 1.959964 * np.sqrt(np.diag(self._log_variance))
        lower, upper = self._parameters(self._at - wide), self._parameters(self._at + wide)
        return pd.DataFrame({"lower 95% bound": lower, "upper 95% bound": upper})

    @property
    def aic_(self) -> float:
        """Akaike's information criterion."""
        return 2 * self._freedom() - 2 * self.log_likelihood_

    @property
    def bic_(self) -> float:
        """Bayesian information criterion, by the number of customers."""
        return float(self._freedom() * np.log(self.data["weights"].sum()) - 2 * self.log_likelihood_)

    def neighbours(self) -> list[Self]:
        """Return models at places that together have the mean and the covariances of the estimates.

        A mean over them is a mean over the uncertainty of the parameters, exact for cubic functions of their logarithms
        (third-degree spherical cubature: two places on each axis). A logarithm that the data hardly bound is held to a
        standard error of 2, so that no place is absurd.
        """
        held = np.linalg.pinv(self._information + np.eye(len(self._at)) / 4, hermitian=True)
        sizes, axes = np.linalg.eigh(held)
        steps = axes * np.sqrt(np.maximum(sizes, 0) * len(sizes))
        found = []
        for step in np.concatenate([steps.T, -steps.T]):
            other = copy.copy(self)
            other._at = self._at + step
            other.params_ = self._parameters(other._at)
            found.append(other)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot be stored, after it has been used."""
        _ = self._information if hasattr(self, "_slope") else None
        return {name: value for name, value in vars(self).items() if name != "_slope"}


def maximum(
    loss: Loss,
    starts: Sequence[Any],
    weights: np.ndarray,
    label: str,
) -> tuple[np.ndarray, float]:
    """Return where a mean loss is least, verified by its gradient, and the loss there.

    The search goes from all starts on a few customers, from the best of these on more, and from there on all, with
    the curvature found before: few steps are then left to go.

    Parameters
    ----------
    loss
        Of a place and a sample (rows and their weights): the loss and its gradient.
    starts
        Places to start from.
    weights
        Of the rows, which are sorted, so that a sample at equal distances stands for all.
    label
        The model's name, for the message of a failure.

    Raises
    ------
    Unanswerable
        The likelihood still rises where the search ended.
    """
    bounds = [(-FARTHEST, FARTHEST)] * len(starts[0])
    samples: list[Sample] = [_sample(weights, size) for size in SAMPLES if 2 * size < weights.sum()]
    samples = [*(samples or [(slice(None), weights)]), (slice(None), weights)]
    near = {"method": "L-BFGS-B", "jac": True, "bounds": bounds, "options": {"maxcor": 20, "ftol": 1e-4}}
    found = [minimize(loss, start, (samples[0],), **near) for start in starts]
    best = min((one for one in found if np.isfinite(one.fun)), key=lambda one: one.fun, default=found[0])
    best.hess_inv = _inverse(_curvature(partial(_slope, loss, samples[0]), best.x))
    for sample in samples[1:]:
        best = _quasi_newton(loss, best, sample, ROUGH if sample is not samples[-1] else STEEPEST / 2)
    if not np.abs(best.jac).max() < STEEPEST:
        best = _newton(loss, best, samples[-1])
    if not np.abs(best.jac).max() < STEEPEST:
        raise Unanswerable(
            f"The {label} model did not converge on the {numerals.count(int(weights.sum()))} customers it was fitted "
            "on:"
            " its likelihood still rises where the search ended."
        )
    return np.asarray(best.x), float(best.fun)


def _quasi_newton(loss: Loss, near: Any, sample: Sample, steepest: float) -> Any:
    """Go to the minimum near by, with the curvature that was found on fewer customers."""
    options = {"hess_inv0": near.hess_inv, "gtol": steepest, "maxiter": STEPS}
    found = minimize(loss, near.x, (sample,), "BFGS", jac=True, options=options)
    lost = not np.isfinite(found.fun) or np.abs(found.x).max() > 2 * FARTHEST
    found = OptimizeResult(x=near.x, jac=np.array([np.inf]), fun=np.inf, hess_inv=near.hess_inv) if lost else found
    found.hess_inv = (found.hess_inv + found.hess_inv.T) / 2
    return found


def _inverse(curvature: np.ndarray) -> np.ndarray:
    """Return the inverse of a curvature, as that of a minimum."""
    sizes, axes = np.linalg.eigh(curvature)
    inverse = (axes / np.maximum(np.abs(sizes), RIDGE)) @ axes.T
    return np.asarray((inverse + inverse.T) / 2)


def _newton(loss: Loss, near: Any, sample: Sample) -> Any:
    """Go to the minimum with the exact curvature; `near` it, if that leads nowhere."""

    def curvature(at: np.ndarray, sample: Sample) -> np.ndarray:
        return _curvature(partial(_slope, loss, sample), at)

    try:
        options = {"gtol": STEEPEST / 2, "maxiter": STEPS // 4}
        best = minimize(loss, near.x, (sample,), "trust-exact", jac=True, hess=curvature, options=options)
        # Where the loss no longer tells two places apart, the gradient still does.
        place = best.x - np.linalg.solve(curvature(best.x, sample), best.jac)
        value, slope = loss(place, sample)
    except (ValueError, np.linalg.LinAlgError):  # the curvature is no number there
        return near
    return OptimizeResult(x=place, jac=slope, fun=value) if np.abs(slope).max() < np.abs(best.jac).max() else best


def _slope(loss: Loss, sample: Sample, at: np.ndarray) -> np.ndarray:
    return loss(at, sample)[1]


def _curvature(slope: Callable[[np.ndarray], np.ndarray], at: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Return the Hessian where the gradient is known."""
    steps = step * np.eye(len(at))
    rows = np.stack([(slope(at + by) - slope(at - by)) / (2 * step) for by in steps])
    return (rows + rows.T) / 2


def _sample(weights: np.ndarray, size: int) -> Sample:
    """Return the rows of customers at equal distances, and how often each is met."""
    places = (np.arange(size) + 0.5) * weights.sum() / size
    rows, counts = np.unique(np.searchsorted(np.cumsum(weights), places), return_counts=True)
    return rows, counts.astype(float)


def parameters(model: Estimates) -> pd.DataFrame:
    """Return a model's parameters.

    Returns
    -------
    pandas.DataFrame
        `parameter`, `estimate`, `standard_error` and `note`, which says of a parameter that the data hardly bound it:
        customers do not differ in what it describes, or a single one never varies. What is expected of customers is
        sound all the same.
    """
    found = model.params_.rename("estimate").to_frame().assign(standard_error=model.standard_errors_)
    positive = np.arange(len(found)) < len(model.names)
    vague = positive & ~(found["standard_error"] < found["estimate"])
    return found.assign(note=np.where(vague, "hardly bounded by the data", "")).rename_axis("parameter").reset_index()
