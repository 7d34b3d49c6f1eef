"""Fits the purchase process (BG/NBD) and the spend per purchase (Gamma-Gamma) on the distinct histories."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
from autograd import grad

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable

with warnings.catch_warnings():  # importing lifetimes changes the global warning filters
    warnings.simplefilter("ignore")
    from lifetimes import BetaGeoFitter, GammaGammaFitter
    from lifetimes.utils import ConvergenceError

LEAST_REPEATERS = 30  # fewer customers who bought again cannot carry four parameters
STEEPEST = 1e-4  # of the mean log-likelihood on log-parameters, at a maximum


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


def fit_purchases(histories: pd.DataFrame) -> BetaGeoFitter:
    """Fit the BG/NBD model: customers buy at rates of their own, and may stop after any purchase.

    Parameters
    ----------
    histories
        See `histories`; `recency` and `T` in weeks, so the fitted `alpha` is in weeks, too.

    Raises
    ------
    Unanswerable
        Too few customers bought again, or no maximum of the likelihood was found.

    References
    ----------
    P. S. Fader, B. G. S. Hardie and K. L. Lee, "Counting your customers the easy way: an alternative to the
    Pareto/NBD model", Marketing Science 24 (2005), 275-284.
    """
    _check_enough(histories[histories["frequency"] > 0], "BG/NBD")
    return _fit(
        BetaGeoFitter(),
        "BG/NBD",
        *(histories[column].to_numpy() for column in ("frequency", "recency", "T", "customers")),
    )


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
    _check_enough(histories, "Gamma-Gamma")
    model = _fit(
        GammaGammaFitter(),
        "Gamma-Gamma",
        *(histories[column].to_numpy() for column in ("frequency", "monetary_value", "customers")),
    )
    if model.params_["q"] <= 1:
        raise Unanswerable(
            f"The spend per purchase differs so much between customers (Gamma-Gamma q = {model.params_['q']:.2f})"
            " that it has no finite average, so no value can be told."
        )
    return model


def parameters(model: BetaGeoFitter | GammaGammaFitter) -> pd.DataFrame:
    """Return a model's `parameter`, `estimate` and `standard_error`."""
    found = model.params_.rename("estimate").to_frame().assign(standard_error=model.standard_errors_)
    return found.rename_axis("parameter").reset_index()


def _check_enough(repeaters: pd.DataFrame, model: str) -> None:
    count = int(repeaters["customers"].sum())
    if count < LEAST_REPEATERS:
        raise Unanswerable(
            f"Only {count} customers bought again; the {model} model needs at least {LEAST_REPEATERS} of them."
        )


def _fit(model: BetaGeoFitter | GammaGammaFitter, name: str, *columns: np.ndarray) -> BetaGeoFitter | GammaGammaFitter:
    """Fit a model on weighted rows and make sure that it stands on a maximum of the likelihood."""
    *data, weights = columns
    try:
        with _quiet():
            model.fit(*data, weights=weights)
            if model.params_.index[0] == "r":  # lifetimes fits BG/NBD in a time unit of its own
                scale = model._scale
                data = [data[0], data[1] * scale, data[2] * scale]
                at = model.params_ * np.array([1, scale, 1, 1])
            else:
                at = model.params_
            slope = grad(model._negative_log_likelihood)(np.log(at.to_numpy()), *data, weights, 0.0)
    except (ConvergenceError, np.linalg.LinAlgError) as error:
        raise Unanswerable(_failed(name, weights, str(error))) from None
    if not np.isfinite(model.standard_errors_).all() or not np.abs(slope).max() < STEEPEST:
        raise Unanswerable(_failed(name, weights, f"gradient {np.abs(slope).max():.1e}"))
    return model


def _failed(name: str, weights: np.ndarray, why: str) -> str:
    return f"The {name} model did not converge on {int(weights.sum()):,} customers ({' '.join(why.split())[:120]})."


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep lifetimes from changing warning filters, and numerical warnings of its search from the page."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
