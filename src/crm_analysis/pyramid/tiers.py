"""Tiers by value: a very few important customers, then major, ordinary and small ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table, exact_sum, total_value

TIERS = ("important", "major", "ordinary", "small")
KEY = TIERS[:2]  # the key customers
SHARES = (0.01, 0.19, 0.30, 0.50)
Rows = TypeVar("Rows", ir.Table, pd.DataFrame)


def tiers(customers: Table, shares: Sequence[float] = SHARES, within: Sequence[str] = ()) -> ir.Table:
    """Return the customers with the tier that each belongs to.

    A customer's tier follows from the share of customers worth strictly more: below 1 % more makes an important
    one. So customers of equal value are always in one tier, and the tiers' sizes are measured, not assumed.

    Parameters
    ----------
    customers
        One row per customer with `value`.
    shares
        The nominal share of each of the four tiers, best first; they sum to 1.
    within
        Columns of what customers are ranked within, such as the period of their value; by default among all.

    Returns
    -------
    ibis.Table
        The customers' columns and `tier`.
    """
    if len(shares) != len(TIERS) or min(shares) < 0 or not abs(sum(shares) - 1) <= 1e-9:
        raise ValueError(f"the shares of the {len(TIERS)} tiers must be at least 0 and sum to 1, not {list(shares)}")
    table = as_table(customers)
    worth_more = ibis.rank().over(group_by=within, order_by=ibis.desc("value"))
    ranked = table.mutate(_more=worth_more, _count=table.count().over(ibis.window(group_by=within)))
    cuts = [round(cut, 9) for cut in accumulate(shares)][:-1]
    tier = ibis.cases(
        *((ranked["_more"] < ranked["_count"] * cut - 1e-6, tier) for cut, tier in zip(cuts, TIERS, strict=False)),
        else_=TIERS[-1],
    )
    return ranked.mutate(tier=tier).drop("_more", "_count")


def labels(shares: Sequence[float] = SHARES) -> dict[str, str]:
    """Return what each tier is called beside its nominal share, such as `important (top 1%)` and `major (next 19%)`."""
    places = ("top", "next", "next", "last")
    return {
        tier: f"{tier} ({place} {numerals.plain(100 * share, 4)}%)"
        for tier, place, share in zip(TIERS, places, shares, strict=True)
    }


def labelled(rows: Rows, shares: Sequence[float] = SHARES) -> Rows:
    """Return rows for a reader: in the columns whose names begin with `tier`, each tier with its nominal share."""
    named = labels(shares)
    columns = [column for column in rows.columns if column.startswith("tier")]
    if isinstance(rows, ir.Table):
        return rows.mutate(**{column: rows[column].substitute(named) for column in columns})
    return rows.assign(**{column: rows[column].replace(named) for column in columns})


def least(tiered: Table) -> dict[str, float]:
    """Return the least value in each tier that has customers: the cut-offs between the tiers."""
    table = as_table(tiered)
    found = table.group_by("tier").aggregate(least=table["value"].min()).to_pandas()
    return dict(zip(found["tier"], found["least"].astype(float), strict=True))


def tier_at(value: ir.NumericValue, least: Mapping[str, float]) -> ir.StringValue:
    """Return the tier that a value would be in under given cut-offs (see `least`); below all of them, the last."""
    cuts = [(value >= ibis.literal(least[tier], "float64"), tier) for tier in TIERS if tier in least]
    return ibis.cases(*cuts, (value.notnull(), TIERS[-1]))


def place(tier: ir.StringValue, among: Sequence[str] = TIERS) -> ir.IntegerValue:
    """Return the place of each tier, 0 for the best."""
    return ibis.cases(*((tier == name, number) for number, name in enumerate(among)))


def sizes(tiered: Table) -> pd.DataFrame:
    """Return how many customers each tier has and what they bring, all four tiers, best first.

    Returns
    -------
    pandas.DataFrame
        `tier`, `customers`, `customer_share`, `value`, `value_share`, `value_per_customer`,
        `least` (the smallest value in the tier). Raises `Unanswerable` if the total is not above 0.
    """
    table = as_table(tiered)
    found = (
        table.group_by("tier")
        .aggregate(customers=table.count(), value=exact_sum(table["value"]).cast("float64"), least=table["value"].min())
        .to_pandas()
        .set_index("tier")
        .reindex(TIERS)
        .rename_axis("tier")
    )
    found[["customers", "value"]] = found[["customers", "value"]].fillna(0)
    total = total_value(found["value"].sum())
    return pd.DataFrame(
        {
            "customers": found["customers"].astype(int),
            "customer_share": found["customers"] / max(found["customers"].sum(), 1),
            "value": found["value"],
            "value_share": found["value"] / total,
            "value_per_customer": found["value"] / found["customers"].replace(0, np.nan),
            "least": found["least"],
        }
    ).reset_index()
