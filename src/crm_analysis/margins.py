"""Products in levels by margin: what to promote, what to limit, and a commission that follows the levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.profit import contribution
from crm_analysis.rates import FEW, few

NONE = "none"
# From 60 % on a product earns more than it costs; below 5 % nothing is left to pay for selling it.
MARGINS = (0.60, 0.30, 0.05)
# About a tenth of the lowest margin of the level, so that a commission takes about a tenth of what a product earns.
COMMISSIONS = (0.06, 0.03, 0.005, 0.0)


def labels(margins: Sequence[float] = MARGINS) -> dict[str, str]:
    """Return what the levels are called: `A (60% or more)`, …, `D (below 5%)`; raises `ValueError` on bad bounds."""
    bounds = [*margins]
    if not 1 <= len(bounds) < len(ascii_uppercase) or not all(-1 < bound < 1 for bound in bounds):
        raise ValueError(f"the levels' lowest margins are shares below 1, not {bounds}")
    if sorted(set(bounds), reverse=True) != bounds:
        raise ValueError(f"the levels' lowest margins go down from level to level, not {bounds}")
    ranges = [f"{numerals.plain(100 * bound, 4)}% or more" for bound in bounds] + [
        f"below {numerals.plain(100 * bounds[-1], 4)}%"
    ]
    return {level: f"{level} ({margin})" for level, margin in zip(ascii_uppercase, ranges, strict=False)}


def products(
    lines: Table, known: Table | None = None, margins: Sequence[float] = MARGINS, least_customers: int = FEW
) -> ir.Table:
    """Return the products sold, with the level of each by its margin.

    Parameters
    ----------
    lines
        Transaction lines with `product_id`, `cost` and `value`, of the time that is looked at.
    known
        The products, for their `name`; one row per product.
    margins
        The lowest margin of each level but the last, descending.
    least_customers
        A product that fewer customers have bought is too few to be judged.

    Returns
    -------
    ibis.Table
        `product_id`, `name` (where known), `level` (A is the best; NULL for a product without revenue, or of which a
        line has no cost, so that its margin is not known), `revenue`, `cost`, `contribution`, `margin`, `customers`,
        `orders`, `lines_without_cost` (see `profit.contribution`), `few`. Lines without a product are in none. Raises
        `Unanswerable` without costs.
    """
    letters = labels(margins)
    table = as_table(lines)
    if "cost" not in table.columns:
        raise Unanswerable("The data have no costs of what was sold, so nothing tells the margin of a product.")
    found = contribution(table.filter(table["product_id"].notnull()), "product_id")
    level = ibis.cases(
        ((found["revenue"] <= 0) | (found["lines_without_cost"] > 0), ibis.null("string")),
        *((found["margin"] >= bound, level) for bound, level in zip(margins, letters, strict=False)),
        else_=[*letters][-1],
    )
    found = found.mutate(level=level, few=found["customers"] < least_customers).relocate("level", after="product_id")
    if known is None or "name" not in as_table(known).columns:
        return found
    named = as_table(known).select(of="product_id", name="name")
    return found.left_join(named, found["product_id"] == named["of"]).drop("of").relocate("name", after="product_id")


def by_level(levelled: Table, margins: Sequence[float] = MARGINS) -> pd.DataFrame:
    """Return what the products of each level bring.

    Returns
    -------
    pandas.DataFrame
        `level` (all of them, best first; last `none`: the margin is not known), `products`, `revenue`, `contribution`,
        `margin` (NaN unless there is revenue), `revenue_share` and `contribution_share` (NaN if all is not above 0).
    """
    table, order = as_table(levelled), [*labels(margins), NONE]
    sums = {name: exact_sum(table[name]).cast("float64") for name in ("revenue", "contribution")}
    found = table.group_by(level=table["level"].fill_null(NONE)).aggregate(products=table.count(), **sums).to_pandas()
    found = found.set_index("level").reindex(order).fillna(0).rename_axis("level").reset_index()
    found = found.assign(products=found["products"].astype(int), margin=_share(found["contribution"], found["revenue"]))
    for name in sums:
        found[f"{name}_share"] = found[name] / found[name].sum() if found[name].sum() > 0 else np.nan
    return found


def to_promote(levelled: Table, margins: Sequence[float] = MARGINS, reach: float = 0.75) -> ir.Table:
    """Return the products of the best level that fewer customers buy than usual, where most can be gained first.

    Parameters
    ----------
    levelled
        See `products`; those of few customers are left out.
    margins
        The lowest margin of each level but the last, below which nothing is worth promoting.
    reach
        The quantile of the products' numbers of customers that is held to be within reach.

    Returns
    -------
    ibis.Table
        The products' columns, `within_reach` (customers) and `gain`: what these would contribute in addition, if each
        of them contributed what a customer of the product does now. Equal gains go by product id.
    """
    if not 0 <= reach <= 1:
        raise ValueError(f"the reach is a quantile from 0 to 1, not {reach}")
    judged = _judged(levelled)
    best, within = judged["level"].min().as_scalar(), judged["customers"].quantile(reach).as_scalar()
    best_ones = judged.filter(judged["level"] == best, judged["level"] != [*labels(margins)][-1])
    best_ones = best_ones.mutate(within_reach=within.cast("float64").floor().cast("int64"))
    gain = best_ones["contribution"] / best_ones["customers"] * (best_ones["within_reach"] - best_ones["customers"])
    room = best_ones.mutate(gain=gain)
    return room.filter(room["gain"] > 0).order_by(ibis.desc("gain"), "product_id")


def to_limit(levelled: Table, margins: Sequence[float] = MARGINS) -> ir.Table:
    """Return the products of the last level, with the rise in price that would bring each to the level above.

    Returns
    -------
    ibis.Table
        The products' columns but those of few customers, `price_rise` (a share) to the lowest margin of the level
        above, and `gain`, what it would bring if as much were sold; the largest gain first, then by product id.
    """
    judged = _judged(levelled)
    last = judged.filter(judged["level"] == [*labels(margins)][-1])
    rise = (1 - last["margin"]) / (1 - margins[-1]) - 1
    return last.mutate(price_rise=rise, gain=last["revenue"] * rise).order_by(ibis.desc("gain"), "product_id")


def rates(margins: Sequence[float] = MARGINS, commissions: Sequence[float] = COMMISSIONS) -> dict[str, float]:
    """Return the commission on the revenue of each level, from A on; raises `ValueError` unless each has its own."""
    levels = labels(margins)
    if len(commissions) != len(levels) or not all(0 <= rate <= 1 for rate in commissions):
        raise ValueError(
            f"commissions are shares from 0 to 1, one for each of {len(levels)} levels, not {[*commissions]}"
        )
    return dict(zip(levels, commissions, strict=True))


def commission(lines: Table, levelled: Table, rates: Mapping[str, float]) -> ir.Table:
    """Return the commission of each salesperson on what was sold of each level.

    Parameters
    ----------
    lines
        Transaction lines with `salesperson_id` and `product_id`, of the time that is looked at.
    levelled
        The products' `level` (see `products`).
    rates
        The commission on the revenue of each level (see `rates`).

    Returns
    -------
    ibis.Table
        `salesperson_id` (NULL: nobody), `level` (NULL: not known), `revenue`, `contribution`, `commission`. Returns
        lower it; nothing is paid where the level is not known, or for what nobody sold.
    """
    table, levels = as_table(lines), as_table(levelled).select(of="product_id", level="level")
    table = table.left_join(levels, table["product_id"] == levels["of"])
    found = table.group_by("salesperson_id", "level").aggregate(
        revenue=exact_sum(table["amount"]).cast("float64"), contribution=exact_sum(table["value"]).cast("float64")
    )
    rate = ibis.cases(*((found["level"] == level, float(rate)) for level, rate in rates.items()))
    paid = found["salesperson_id"].isnull().ifelse(0.0, rate.fill_null(0.0))
    return found.mutate(commission=found["revenue"] * paid)


def salespeople(lines: Table, commissions: Table, least_customers: int = FEW) -> pd.DataFrame:
    """Return the salespeople by what they contribute rather than sell, and their commission by level and flat.

    Parameters
    ----------
    lines
        Transaction lines with `salesperson_id`.
    commissions
        See `commission`.
    least_customers
        Those with fewer customers are marked, and have no rank.

    Returns
    -------
    pandas.DataFrame
        One row per salesperson, the largest contribution first, and last `none`, what nobody sold: `salesperson_id`,
        `customers`, `revenue`, `contribution`, `margin`, `rank_by_revenue`, `rank_by_contribution` (1 is the best;
        equals share a rank), `commission`, `commission_share` (of the contribution; NaN unless that is above 0),
        `flat_commission` (of one rate on revenue that costs as much in all; NaN without revenue), `difference`
        (commission - flat), `short_of_usual` (what the revenue would contribute at the margin of all salespeople, less
        what it does; below 0: more than usual), `few`.
    """
    table, paid = as_table(lines), as_table(commissions)
    served = contribution(table, "salesperson_id").select("salesperson_id", "customers")
    sums = {name: exact_sum(paid[name]).cast("float64") for name in ("revenue", "contribution", "commission")}
    found = served.to_pandas().merge(paid.group_by("salesperson_id").aggregate(**sums).to_pandas(), how="left")
    nobody = found["salesperson_id"].isna()
    if nobody.all():
        raise Unanswerable("No line tells who has sold it, so there are no salespeople to compare.")
    found = found.assign(few=few(found["customers"], least_customers) & ~nobody)
    sold = found[~nobody].sort_values("salesperson_id").sum(numeric_only=True)
    flat, usual = (_share(sold[name], sold["revenue"]) for name in ("commission", "contribution"))
    ranks = {
        f"rank_by_{name}": found[name].where(~nobody & ~found["few"]).rank(method="min", ascending=False)
        for name in ("revenue", "contribution")
    }
    found = found.assign(
        salesperson_id=found["salesperson_id"].fillna(NONE),
        margin=_share(found["contribution"], found["revenue"]),
        **{name: rank.astype("Int64") for name, rank in ranks.items()},
        commission_share=_share(found["commission"], found["contribution"]),
        flat_commission=(found["revenue"] * flat).where(~nobody, 0.0),
        short_of_usual=(found["revenue"] * usual - found["contribution"]).where(~nobody),
    )
    found = found.assign(difference=found["commission"] - found["flat_commission"], nobody=nobody)
    columns = ["salesperson_id", "customers", "revenue", "contribution", "margin", *ranks, "commission"]
    columns += ["commission_share", "flat_commission", "difference", "short_of_usual", "few"]
    order = ["nobody", "contribution", "salesperson_id"]
    return found.sort_values(order, ascending=[True, False, True], ignore_index=True)[columns]


def _judged(levelled: Table) -> ir.Table:
    table = as_table(levelled)
    return table.filter(table["level"].notnull() & ~table["few"]).drop("few")


def _share(part: pd.Series | float, whole: pd.Series | float) -> pd.Series | float:
    """Return part / whole, NaN unless the whole is above 0."""
    if isinstance(whole, pd.Series):
        return part / whole.where(whole > 0)
    return part / whole if whole > 0 else float("nan")
