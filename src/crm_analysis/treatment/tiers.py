"""The tiers that are treated: by what customers brought in the last period."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis.expr.types as ir

from crm_analysis import periods, pyramid
from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable


def tiered(customers: Table, worth: Table, shares: Sequence[float] = pyramid.SHARES) -> ir.Table:
    """Return every customer's tier by the value of one period.

    Parameters
    ----------
    customers
        One row per customer with a transaction so far (`customers.summary`).
    worth
        What they were worth in the period (`periods.by_period` with one period).
    shares
        The nominal share of each tier, of the customers who bought in the period (see `pyramid.placed`).

    Returns
    -------
    ibis.Table
        `customer_id`, `first_purchase`, `purchases`, `revenue`, `value` (of the period; 0 where nothing happened) and
        `tier`. Who bought nothing in the period, or brought no value above 0, is small.
    """
    everyone = as_table(customers).select("customer_id", "first_purchase")
    placed = pyramid.placed(worth, shares).rename(placed_id="customer_id")
    joined = everyone.left_join(placed, everyone["customer_id"] == placed["placed_id"])
    measures = {name: joined[name].fill_null(0) for name in ("purchases", "revenue", "value")}
    better = joined["tier"].isin(pyramid.TIERS) & (joined["value"] > 0)
    tier = better.fill_null(False).ifelse(joined["tier"], pyramid.TIERS[-1])
    return joined.select("customer_id", "first_purchase", **measures, tier=tier)


def entry(tiered: Table, tier: str) -> tuple[float, float]:
    """Return the least and the median value of a tier's customers; raises `Unanswerable` if it has none."""
    table = as_table(tiered)
    value = table.filter(table["tier"] == tier)["value"]
    least, typical = value.as_table().aggregate(least=value.min(), typical=value.median()).to_pandas().iloc[0]
    if least != least:
        raise Unanswerable(f"No customer is in the {tier} tier, so there is no value from which on one would be.")
    return float(least), float(typical)


def whole(first: dt.date, as_of: dt.date, months: int) -> bool:
    """Return whether data that begin on a day hold all of the last months, but for a week (see `periods.edges`)."""
    since, _ = periods.edges(first, as_of, months=months, count=1)
    return (first - since).days <= periods.SLACK + 1


def refuse_short(first: dt.date, as_of: dt.date, months: int) -> None:
    """Raise `Unanswerable` if the last months are not `whole`, so that as many to come cannot be set against them."""
    if whole(first, as_of, months):
        return
    longest = max((fewer for fewer in range(1, months) if whole(first, as_of, fewer)), default=0)
    raise Unanswerable(
        f"The last {periods.named(months)} {'is' if months == 1 else 'are'} not all in the data, which begin on {first}"
        + (f": set months to {longest} or less." if longest else ".")
    )
