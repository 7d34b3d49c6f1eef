"""Ordinary customers: who may become a key customer, and who costs more to serve than they bear."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import rates
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.lifetime import GammaGammaFitter, ParetoNBDFitter, chance_above
from crm_analysis.lifetime.value import WEEKS_A_YEAR

FIFTHS = 5


def chances(
    valued: Table,
    purchase_model: ParetoNBDFitter,
    spend_model: GammaGammaFitter,
    *,
    months: int,
    amount: float,
) -> ir.Table:
    """Return how probable it is that each customer's value in the next months will be above an amount.

    Parameters
    ----------
    valued
        Customers with their expected future at no discount (`lifetime.value`). As each has an amount and a margin of
        their own, a row of each leaves the engine (some 100 bytes) and one comes back: ask for those of one tier, or
        for those who buy often enough, not for all.
    purchase_model, spend_model, months
        Those that it was computed with.
    amount
        Of value, in units of money.

    Returns
    -------
    ibis.Table
        `customer_id`, `expected_value` (over the months) and `chance`.
    """
    table = as_table(valued)
    columns = ["customer_id", "frequency", "recency", "T", "monetary_value", "margin", *purchase_model.attributes]
    frame = table.select(columns).order_by("customer_id").to_pandas()
    weeks = months * WEEKS_A_YEAR / 12
    found = chance_above(purchase_model, spend_model, frame, weeks, amount, factor=frame["margin"])
    chance = ibis.memtable(found[["customer_id", "chance"]].rename(columns={"customer_id": "likely_id"}))
    joined = table.inner_join(chance, table["customer_id"] == chance["likely_id"])
    return joined.select("customer_id", "chance", expected_value="lifetime_value")


def upgrades(tiered: Table, chances: Table, *, least: float, typical: float, from_chance: float) -> ir.Table:
    """Return the customers of a tier who may rise to the next one, those first of whom most may be gained.

    Parameters
    ----------
    tiered
        Customers with `value`, of one tier (see `tiered`).
    chances
        Their `chance` of more than the next tier's least value (see `chances`).
    least, typical
        The least and the median value of that tier (see `entry`).
    from_chance
        The chance from which a customer is a candidate.

    Returns
    -------
    ibis.Table
        `customer_id`, `gain` (the chance times what a typical customer of the next tier brings more), `value`,
        `expected_value`, `chance` and `missing` (to the next tier's least value).
    """
    if not 0 < from_chance <= 1:
        raise ValueError(f"the chance of a candidate is above 0 and at most 1, not {from_chance}")
    table, likely = as_table(tiered).select("customer_id", "value"), as_table(chances)
    table = table.inner_join(likely.filter(likely["chance"] >= from_chance), "customer_id")
    found = table.select(
        "customer_id",
        "value",
        "expected_value",
        "chance",
        gain=table["chance"] * (typical - table["value"]),
        missing=least - table["value"],
    ).relocate("gain", after="customer_id")
    return found.order_by(ibis.desc("gain"), ibis.asc("customer_id"))


def calibration(chances: Table, later: Table, amount: float) -> pd.DataFrame:
    """Return how many customers rose beside how many were expected to, in fifths of the customers by their chance.

    Parameters
    ----------
    chances
        Each customer's chance at an earlier date (see `chances`).
    later
        What customers were worth since then (`periods.by_period` with one period).
    amount
        What their value had to be above.

    Returns
    -------
    pandas.DataFrame
        The highest chances first; equal ones share a fifth, so that it can be larger, and another missing: `fifth`
        (1 to 5), `customers`, `expected` (mean chance), `rose`, `rate` and its 95 % interval, `low` and `high`.
    """
    likely, after = as_table(chances), as_table(later)
    after = after.select(after_id="customer_id", value_after="value")
    table = likely.left_join(after, likely["customer_id"] == after["after_id"])
    place = ibis.rank().over(order_by=ibis.desc("chance")) * FIFTHS // table.count().over(ibis.window())
    table = table.mutate(fifth=place.cast("int64") + 1, above=(table["value_after"] > amount).fill_null(False))
    found = table.group_by("fifth").aggregate(
        customers=table.count(),
        expected=exact_sum(table["chance"]).cast("float64") / table.count(),
        rose=table["above"].cast("int64").sum(),
    )
    return rates.with_rates(found.order_by("fifth").to_pandas(), "rose", "customers")


def costly(served: Table, *, most: float) -> ir.Table:
    """Return the customers whom it cost too much to serve in the period, those first on whom most can be saved.

    Parameters
    ----------
    served
        Customers with `value`, after service costs, `purchases` and `service_cost` of the period (see
        `with_service_cost`).
    most
        The share of what customers bring that it may cost to serve them.

    Returns
    -------
    ibis.Table
        `customer_id`, `saving` (service cost above that share), `service_cost`, `brought` (value before service
        costs), `value`, `purchases`.
    """
    if not most >= 0:
        raise ValueError(f"the share of what customers bring that service may cost is at least 0, not {most}")
    table = as_table(served)
    table = table.mutate(brought=table["value"] + table["service_cost"])
    table = table.mutate(saving=table["service_cost"] - most * ibis.greatest(table["brought"], 0.0))
    found = table.filter((table["service_cost"] > 0) & (table["saving"] > 0))
    found = found.select("customer_id", "saving", "service_cost", "brought", "value", "purchases")
    return found.order_by(ibis.desc("saving"), ibis.asc("customer_id"))


def with_service_cost(tiered: Table, service_costs: Table, since: dt.date) -> ir.Table:
    """Add what it cost to serve each customer after a day, the one before the period: `service_cost`."""
    served, table = as_table(service_costs), as_table(tiered)
    served = served.filter(served["date"].cast("date") > since)
    total = served["cost"].cast("decimal(18, 6)").sum().cast("float64")
    served = served.group_by(served_id="customer_id").aggregate(service_cost=total)
    joined = table.left_join(served, table["customer_id"] == served["served_id"]).drop("served_id")
    return joined.mutate(service_cost=joined["service_cost"].fill_null(0.0))
