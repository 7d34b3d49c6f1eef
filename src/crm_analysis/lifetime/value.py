"""What each customer will probably buy over a horizon, and what that is worth today."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, total_value
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.fitting import BetaGeoFitter, GammaGammaFitter

WEEKS_A_YEAR = 365.25 / 7


def value(
    customers: Table,
    purchase_model: BetaGeoFitter,
    spend_model: GammaGammaFitter,
    *,
    months: int = 12,
    annual_discount: float = 0.10,
    margin: float = 1.0,
) -> ir.Table:
    """Return, for each customer who has purchased, the expected future over a horizon.

    Parameters
    ----------
    customers
        One row per customer (`customers.summary`, in weeks).
    purchase_model, spend_model
        Fitted on the histories of these customers.
    months
        The horizon; a month is a twelfth of 365.25 days.
    annual_discount
        The rate a year at which money to come loses worth; each month's purchases count from its middle.
    margin
        What is left of an amount purchased (see `average_margin`).

    Returns
    -------
    ibis.Table
        The customers' columns and `p_alive` (probability of still being a customer), `expected_purchases` (over
        the horizon), `expected_spend` (amount of a purchase), `lifetime_value` (discounted, times the margin).
    """
    if months < 1 or annual_discount <= -1 or not np.isfinite(annual_discount):
        raise ValueError(f"months must be at least 1 and annual_discount above -1, not {months} and {annual_discount}")
    table = as_table(customers)
    table = table.filter(table["purchases"] > 0)
    distinct = table.select("frequency", "recency", "T").distinct().to_pandas()
    future = ibis.memtable(_expected(purchase_model, distinct, months, annual_discount))
    p, q, v = (float(spend_model.params_[name]) for name in ("p", "q", "v"))
    # Gamma-Gamma, equation 5: the customer's own average and everyone's, weighted by what is known of the customer.
    spend = (p * (v + table["frequency"] * table["monetary_value"])) / (p * table["frequency"] + q - 1)
    joined = table.mutate(expected_spend=spend).inner_join(future, ["frequency", "recency", "T"])
    return joined.mutate(lifetime_value=joined["discounted_purchases"] * joined["expected_spend"] * margin).drop(
        "discounted_purchases"
    )


def _expected(model: BetaGeoFitter, distinct: pd.DataFrame, months: int, annual_discount: float) -> pd.DataFrame:
    """Return each distinct history's P(alive), expected and discounted purchases."""
    frequency, recency, T = (distinct[column].to_numpy() for column in ("frequency", "recency", "T"))
    discounted = np.zeros(len(distinct))
    before = np.zeros(len(distinct))
    for month in range(1, months + 1):
        until = model.conditional_expected_number_of_purchases_up_to_time(
            month * WEEKS_A_YEAR / 12, frequency, recency, T
        )
        discounted += (until - before) / (1 + annual_discount) ** ((month - 0.5) / 12)
        before = until
    if not np.isfinite(before).all():
        raise Unanswerable(f"What {(~np.isfinite(before)).sum():,} purchase histories lead to cannot be computed.")
    return distinct.assign(
        p_alive=model.conditional_probability_alive(frequency, recency, T),
        expected_purchases=before,
        discounted_purchases=discounted,
    )


def average_margin(customers: Table) -> float:
    """Return what is left of an amount purchased after returns and, where they are known, costs: of all together."""
    table = as_table(customers)
    sums = table.aggregate(value=table["value"].sum(), purchased=table["purchased"].sum()).to_pandas().iloc[0]
    return float(sums["value"] / total_value(sums["purchased"]))


def growth(before: Table, now: Table) -> float:
    """Return the value that all customers together have added between two dates."""
    then, since = (as_table(customers)["value"].sum().fill_null(0) for customers in (before, now))
    return float(since.execute() - then.execute())


def at_risk(valued: Table, below: float = 0.5) -> ir.Table:
    """Return the customers who have probably left, those first of whom most is still expected.

    Parameters
    ----------
    valued
        See `value`.
    below
        The probability of being alive below which a customer is at risk.

    Returns
    -------
    ibis.Table
        Its columns and `value_if_alive`, the lifetime value of one who has certainly not left.
    """
    table = as_table(valued)
    risky = table.filter((table["p_alive"] < below) & (table["p_alive"] > 0))
    risky = risky.mutate(value_if_alive=risky["lifetime_value"] / risky["p_alive"])
    return risky.order_by(ibis.desc("lifetime_value"), ibis.asc("customer_id"))


def totals(valued: Table) -> dict[str, float]:
    """Return the sums over all customers.

    Returns
    -------
    dict
        `customers`, `expected_purchases`, `lifetime_value`, `p_alive` (the expected number of customers alive), and
        of those with a repeat purchase `repeaters` and `repeaters_alive`.
    """
    table = as_table(valued)
    repeats = table["frequency"] > 0
    found = table.aggregate(
        customers=table.count(),
        expected_purchases=table["expected_purchases"].sum(),
        lifetime_value=table["lifetime_value"].sum(),
        p_alive=table["p_alive"].sum(),
        repeaters=repeats.sum(),
        repeaters_alive=table["p_alive"].sum(where=repeats),
    )
    return found.to_pandas().iloc[0].astype(float).to_dict()


def alive_bands(valued: Table) -> pd.DataFrame:
    """Return how many customers are alive with which probability: `band` (ten of 10 % each), `customers`."""
    table = as_table(valued)
    band = ibis.least((table["p_alive"] * 10).floor().cast("int64"), 9)
    found = table.group_by(band=band).aggregate(customers=table.count()).to_pandas().set_index("band")["customers"]
    found = found.reindex(range(10), fill_value=0)
    labels = [f"{10 * i}–{10 * (i + 1)}%" for i in found.index]
    return pd.DataFrame({"band": labels, "customers": found.to_numpy()})
