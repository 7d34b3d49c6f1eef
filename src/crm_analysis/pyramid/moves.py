"""Who is in another tier than at an earlier date, and whether that is because of their own value."""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.pyramid.tiers import KEY, TIERS, place, tier_at

NOT_YET = "not yet a customer"
OWN, BOTH, CUT_OFF = CAUSES = ("own value", "both", "cut-off")
TO_DO = {OWN: "call", BOTH: "call", CUT_OFF: "develop or accept"}


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


def causes(changed: Table, least: Mapping[str, float]) -> ir.Table:
    """Return who rose or fell, and why: the customer's own value changed, the cut-offs moved, or both.

    A tier is a share of all customers, so its cut-off moves with the others, and who stands still can fall. The present
    value is therefore held against the earlier cut-offs. If that leads to the present tier, or beyond it, the
    customer's `own value` is the cause. If it leads to the earlier tier, or the other way, only the `cut-off` is. If
    it leads to a tier in between, it is `both`.

    Parameters
    ----------
    changed
        Each customer's tier at both dates (see `changes`).
    least
        The least value in each of the earlier tiers (see `least`).

    Returns
    -------
    ibis.Table
        Of the customers in two different tiers the columns of `changed`; `direction` (`rose` or `fell`); `cause` (one
        of `CAUSES`); `growth` (the value added since, negative if it fell); `at_stake`: where the own value has a part
        in it, how much that has changed, as an amount above 0; else all of the present value, because somebody who has
        not changed is treated differently.
    """
    table = as_table(changed)
    table = table.filter((table["tier_before"] != NOT_YET) & (table["tier_before"] != table["tier_now"]))
    before, now = place(table["tier_before"]), place(table["tier_now"])
    way = (now > before).ifelse(1, -1)
    own = (place(tier_at(table["value_now"], least)) - before) * way  # steps in the way of the move
    cause = ibis.cases((own <= 0, CUT_OFF), (own >= (now - before) * way, OWN), else_=BOTH)
    growth = table["value_now"] - table["value_before"]
    found = table.mutate(direction=(way == 1).ifelse("fell", "rose"), cause=cause, growth=growth)
    return found.mutate(at_stake=(found["cause"] == CUT_OFF).ifelse(found["value_now"], growth.abs()))


def by_cause(caused: Table) -> pd.DataFrame:
    """Return how many rose and fell for each cause: `direction`, `cause`, `customers`, `growth`, `at_stake` (sums).

    Every direction and cause has a row (see `causes`), the falls first.
    """
    table = as_table(caused)
    sums = {name: exact_sum(table[name]).cast("float64") for name in ("growth", "at_stake")}
    found = table.group_by("direction", "cause").aggregate(customers=table.count(), **sums).to_pandas()
    every = pd.MultiIndex.from_product([("fell", "rose"), CAUSES], names=["direction", "cause"])
    found = found.set_index(["direction", "cause"]).reindex(every, fill_value=0).reset_index()
    return found.astype({"customers": int, "growth": float, "at_stake": float})


def fallen(caused: Table) -> ir.Table:
    """Return the customers who were key customers (important or major) and no longer are, most at stake first.

    Parameters
    ----------
    caused
        See `causes`.

    Returns
    -------
    ibis.Table
        Its columns and `to_do`: `call` those whose own value fell, `develop or accept` those who were only overtaken.
    """
    table = as_table(caused)
    fell = table.filter(table["tier_before"].isin(KEY) & ~table["tier_now"].isin(KEY))
    fell = fell.mutate(to_do=fell["cause"].substitute(TO_DO))
    return fell.order_by(ibis.desc("at_stake"), ibis.asc("customer_id"))
