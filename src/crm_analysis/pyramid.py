"""The customer pyramid: tiers by value, and how customers move between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum, total_value

TIERS = ("important", "major", "ordinary", "small")
SHARES = (0.01, 0.19, 0.30, 0.50)
NOT_YET = "not yet a customer"


def tiers(customers: Table, shares: Sequence[float] = SHARES) -> ir.Table:
    """Return the customers with the tier that each belongs to.

    A customer's tier follows from the share of customers worth strictly more: below 1 % more makes an important
    one. So customers of equal value are always in one tier, and the tiers' sizes are measured, not assumed.

    Parameters
    ----------
    customers
        One row per customer with `value`.
    shares
        The nominal share of each of the four tiers, best first; they sum to 1.

    Returns
    -------
    ibis.Table
        The customers' columns and `tier`.
    """
    if len(shares) != len(TIERS) or min(shares) < 0 or not abs(sum(shares) - 1) <= 1e-9:
        raise ValueError(f"the shares of the {len(TIERS)} tiers must be at least 0 and sum to 1, not {list(shares)}")
    table = as_table(customers)
    worth_more = ibis.rank().over(order_by=ibis.desc("value"))
    ranked = table.mutate(_more=worth_more, _count=table.count().over(ibis.window()))
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
        tier: f"{tier} ({place} {100 * share:.4g}%)" for tier, place, share in zip(TIERS, places, shares, strict=True)
    }


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


def changes(before: Table, now: Table) -> ir.Table:
    """Return each customer's tier at an earlier date and now.

    Parameters
    ----------
    before, now
        Tiered customers (see `tiers`) at two dates; who was a customer before is one now.

    Returns
    -------
    ibis.Table
        `customer_id`, `tier_before` (`not yet a customer` for those who joined since), `tier_now`,
        `value_before`, `value_now`.
    """
    now = as_table(now).select("customer_id", tier_now="tier", value_now="value")
    before = as_table(before).select(earlier="customer_id", tier_before="tier", value_before="value")
    joined = now.left_join(before, now["customer_id"] == before["earlier"])
    return joined.select(
        "customer_id",
        "tier_now",
        "value_now",
        tier_before=joined["tier_before"].fill_null(NOT_YET),
        value_before=joined["value_before"].fill_null(0.0),
    )


def moves(changed: Table) -> pd.DataFrame:
    """Return how many customers went from each tier to each: `tier_before`, `tier_now`, `customers`, `value_now`."""
    table = as_table(changed)
    counted = table.group_by("tier_before", "tier_now").aggregate(
        customers=table.count(), value_now=exact_sum(table["value_now"]).cast("float64")
    )
    order = [*TIERS, NOT_YET]
    return counted.to_pandas().sort_values(
        ["tier_before", "tier_now"], key=lambda tier: tier.map(order.index), ignore_index=True
    )


def directions(moved: pd.DataFrame) -> dict[str, int]:
    """Return how many customers rose to a higher tier, fell to a lower one, stayed and joined (see `moves`)."""
    before = moved["tier_before"].map([*TIERS, NOT_YET].index)
    now = moved["tier_now"].map(TIERS.index)
    joined = moved["tier_before"] == NOT_YET
    ways = {"rose": (now < before) & ~joined, "fell": now > before, "stayed": now == before, "joined": joined}
    return {way: int(moved["customers"].where(went, 0).sum()) for way, went in ways.items()}


def fallen(changed: Table) -> ir.Table:
    """Return the customers who were key customers (important or major) and no longer are, the most valuable first.

    Parameters
    ----------
    changed
        See `changes`.

    Returns
    -------
    ibis.Table
        Its columns and `growth`, the value that each has added since.
    """
    table = as_table(changed)
    fell = table.filter(table["tier_before"].isin(TIERS[:2]) & table["tier_now"].isin(TIERS[2:]))
    fell = fell.mutate(growth=fell["value_now"] - fell["value_before"])
    return fell.order_by(ibis.desc("value_before"), ibis.asc("customer_id"))
