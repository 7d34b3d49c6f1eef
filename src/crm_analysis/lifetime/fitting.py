"""Fits the purchase process (BG/NBD) and the spend per purchase (Gamma-Gamma) on the distinct histories."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from autograd import hessian, value_and_grad
from scipy.optimize import minimize
from scipy.special import betaincinv

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable

with warnings.catch_warnings():  # importing lifetimes changes the global warning filters
    warnings.simplefilter("ignore")
    import lifetimes

LEAST_REPEATERS = 30  # fewer customers who bought again cannot carry four parameters
# Keeps a parameter that the data do not bound from running away; moves the others by far less than their errors.
RIDGE = 2e-7
STEEPEST = 1e-5  # gradient of the mean log-likelihood on log-parameters, at a maximum


class _Verified:
    """Lets a model of lifetimes be fitted to a maximum that is verified, also along a flat ridge."""

    def _fit(self, data: tuple[Any, ...], start: Any, size: int, *rest: Any, **more: Any) -> tuple[Any, float, Any]:
        """Replace the search of `lifetimes.BaseFitter`: return log-parameters, mean loss and Hessian at the best."""
        loss = self._negative_log_likelihood  # type: ignore[attr-defined]

        def ridged(at: np.ndarray) -> float:
            return loss(at, *data) + RIDGE * (at**2).sum()

        slope = value_and_grad(ridged)
        near = minimize(slope, np.zeros(size) if start is None else start, jac=True, method="L-BFGS-B")
        best = minimize(slope, near.x, jac=True, hess=hessian(ridged), method="trust-exact", options={"gtol": 1e-8})
        if not np.abs(best.jac).max() < STEEPEST:
            raise _NotConverged
        return best.x, loss(best.x, *data), hessian(ridged)(best.x)


class BetaGeoFitter(_Verified, lifetimes.BetaGeoFitter):  # type: ignore[misc]
    """BG/NBD as in lifetimes, fitted to a maximum that is verified; its expectations are always finite."""

    def conditional_expected_number_of_purchases_up_to_time(self, t: Any, frequency: Any, recency: Any, T: Any) -> Any:
        """Return the purchases expected of customers with a history over the next `t` weeks (2005, equation 10)."""
        r, alpha, a, b = self._unload_params("r", "alpha", "a", "b")
        usual = super().conditional_expected_number_of_purchases_up_to_time(t, frequency, recency, T)
        alive = self.conditional_probability_alive(frequency, recency, T)
        x = np.asarray(frequency)
        return _finite(usual, lambda at: alive[at] * _until_they_stop(r + x[at], (t / (alpha + T))[at], a, (b + x)[at]))

    def expected_number_of_purchases_up_to_time(self, t: Any) -> Any:
        """Return the repeat purchases expected of a new customer in the first `t` weeks (2005, equation 9)."""
        r, alpha, a, b = self._unload_params("r", "alpha", "a", "b")
        usual, weeks = super().expected_number_of_purchases_up_to_time(t), np.asarray(t)
        return _finite(usual, lambda at: _until_they_stop(r, weeks[at] / alpha, a, b))


def _finite(usual: Any, other: Callable[[Any], Any]) -> Any:
    """Replace what the hypergeometric function of lifetimes leaves undefined, where buyers are much alike."""
    usual = np.atleast_1d(np.asarray(usual, float))
    bad = ~np.isfinite(usual)
    if bad.any():
        usual[bad] = other(bad)
    return usual


def _until_they_stop(shape: Any, ratio: Any, a: Any, b: Any) -> Any:
    """Return the purchases expected of buyers who are alive: the mean over their stopping probability p ~ Beta(a, b).

    For one p it is (1 - (1 + p ratio)^-shape) / p; the mean is taken over the quantiles of p.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    shape, ratio, a, b = (np.asarray(value, float)[..., None] for value in (shape, ratio, a, b))
    p = np.maximum(betaincinv(a, b, (nodes + 1) / 2), 1e-12)
    return (-np.expm1(-shape * np.log1p(p * ratio)) / p) @ (weights / 2)


class GammaGammaFitter(_Verified, lifetimes.GammaGammaFitter):  # type: ignore[misc]
    """Gamma-Gamma as in lifetimes, fitted to a maximum that is verified."""


class _NotConverged(Exception):
    """The search ended where the likelihood still rises."""


def histories(customers: Table) -> pd.DataFrame:
    """Return the distinct purchase histories: all that the purchase process needs to know of the customers.

    Returns
    -------
    pandas.DataFrame
        `frequency` (repeat purchases), `recency`, `T` (weeks) and `customers` (how many have this history). Those
        who never purchased, but only returned goods, have none.
    """
    table = as_table(customers)
    bought = table.filter(table["purchases"] > 0)
    grouped = bought.group_by("frequency", "recency", "T").aggregate(customers=bought.count())
    return grouped.order_by("frequency", "recency", "T").to_pandas()


def spend_histories(customers: Table) -> pd.DataFrame:
    """Return the distinct spend histories of those who bought again and paid for it.

    Returns
    -------
    pandas.DataFrame
        `frequency`, `monetary_value` (average amount of the repeat purchases, above 0) and `customers`.
    """
    table = as_table(customers)
    paid = table.filter((table["frequency"] > 0) & (table["monetary_value"] > 0))
    grouped = paid.group_by("frequency", "monetary_value").aggregate(customers=paid.count())
    return grouped.order_by("frequency", "monetary_value").to_pandas()


def spend_correlation(customers: Table) -> float:
    """Return the correlation of how often and how much those buy who bought again: Gamma-Gamma takes it to be 0."""
    table = as_table(customers)
    paid = table.filter((table["frequency"] > 0) & (table["monetary_value"] > 0))
    return float(paid["frequency"].cast("float64").corr(paid["monetary_value"], how="pop").execute())


def fit_purchases(histories: pd.DataFrame, purpose: str = "fit the BG/NBD model") -> BetaGeoFitter:
    """Fit the BG/NBD model: customers buy at rates of their own, and may stop after any purchase.

    Parameters
    ----------
    histories
        See `histories`; `recency` and `T` in weeks, so the fitted `alpha` is in weeks, too.
    purpose
        What the model is for, to be told if too few customers bought again.

    Raises
    ------
    Unanswerable
        Too few customers bought again, or no maximum of the likelihood was found.

    References
    ----------
    P. S. Fader, B. G. S. Hardie and K. L. Lee, "Counting your customers the easy way: an alternative to the
    Pareto/NBD model", Marketing Science 24 (2005), 275-284.
    """
    _check_enough(histories[histories["frequency"] > 0], purpose)
    frequency, recency, T, weights = (histories[c].to_numpy() for c in ("frequency", "recency", "T", "customers"))
    return _converged(BetaGeoFitter().fit, "BG/NBD", frequency, recency, T, weights=weights)


def fit_spend(histories: pd.DataFrame) -> GammaGammaFitter:
    """Fit the Gamma-Gamma model: each customer has an average spend per purchase, and these averages differ.

    It holds that what customers spend does not depend on how often they buy.

    Parameters
    ----------
    histories
        See `spend_histories`.

    Raises
    ------
    Unanswerable
        Too few customers bought again, no maximum of the likelihood was found, or the fitted average spend is
        infinite (q up to 1).

    References
    ----------
    P. S. Fader and B. G. S. Hardie, "The Gamma-Gamma model of monetary value" (2013), brucehardie.com/notes/025.
    """
    _check_enough(histories, "fit the Gamma-Gamma model")
    frequency, money, weights = (histories[c].to_numpy() for c in ("frequency", "monetary_value", "customers"))
    scale = np.average(money, weights=weights)  # so that no currency is too small or too large for the search
    model = _converged(GammaGammaFitter().fit, "Gamma-Gamma", frequency, money / scale, weights=weights)
    for found in (model.params_, model.standard_errors_):
        found["v"] *= scale
    if model.params_["q"] <= 1:
        raise Unanswerable(
            f"The spend per purchase differs so much between customers (Gamma-Gamma q = {model.params_['q']:.2f})"
            " that it has no finite average, so no value can be told."
        )
    return model


def parameters(model: BetaGeoFitter | GammaGammaFitter) -> pd.DataFrame:
    """Return a model's parameters.

    Returns
    -------
    pandas.DataFrame
        `parameter`, `estimate`, `standard_error` and `note`, which says of a parameter that the data hardly bound it:
        customers do not differ in what it describes, or a single one never varies. What is expected of customers is
        sound all the same.
    """
    found = model.params_.rename("estimate").to_frame().assign(standard_error=model.standard_errors_)
    vague = ~(found["standard_error"] < found["estimate"])
    return found.assign(note=np.where(vague, "hardly bounded by the data", "")).rename_axis("parameter").reset_index()


def _check_enough(repeaters: pd.DataFrame, purpose: str) -> None:
    count = int(repeaters["customers"].sum())
    if count < LEAST_REPEATERS:
        raise Unanswerable(f"Only {count} customers had bought again; {LEAST_REPEATERS} are needed to {purpose}.")


def _converged(fit: Callable[..., Any], name: str, *data: np.ndarray, weights: np.ndarray) -> Any:
    """Fit a model on weighted rows; a failure names the model and the data."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):  # lifetimes changes filters while it fits
            warnings.simplefilter("ignore")
            return fit(*data, weights=weights)
    except (_NotConverged, np.linalg.LinAlgError) as error:
        raise Unanswerable(
            f"The {name} model did not converge on the {int(weights.sum()):,} customers it was fitted on:"
            " its likelihood still rises where the search ended."
        ) from error
