"""Key customers with their warning signs, and whether such signs have foretold a loss before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import periods, pyramid, rates, rfm
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.treatment import signs

# Each sign, its column, and what it needs beside the transactions.
SIGNS = {
    "silent": ("silent", ""),
    "fewer orders": ("fewer_orders", "a longer past"),
    "later payment": ("later_payment", "the payments"),
    "more complaints": ("more_complaints", "the cases"),
    "lower margin": ("lower_margin", "the costs"),
    "narrower range": ("narrower_range", "the products"),
}
HALF = 0.5  # share of the earlier value below which a key customer's is more than halved


def with_category(lines: Table, products: Table | None = None) -> ir.Table:
    """Return lines with the `category` of their product; without categories the product stands in its place."""
    table = as_table(lines)
    if products is None or "category" not in as_table(products).columns:
        return table.mutate(category="product_id") if "product_id" in table.columns else table
    known = as_table(products).select(product="product_id", category="category")
    return table.left_join(known, table["product_id"] == known["product"]).drop("product")


def warned(
    tiered: Table,
    bought: Table,
    lines: Table,
    *,
    as_of: dt.date,
    split: dt.date,
    first: dt.date,
    invoices: Table | None = None,
    cases: Table | None = None,
    not_complaints: Sequence[str] = (),
    later_days: int = 10,
    margin_drop: float = 0.05,
) -> ir.Table:
    """Return the key customers, each with its warning signs.

    Parameters
    ----------
    tiered
        Every customer's tier (see `tiered`).
    bought, lines
        Purchases and transaction lines by the as-of date; with a `cost` margins are compared, with a `category`
        ranges (see `with_category`).
    as_of, split
        What is after the split, up to the as-of date, is recent; it is compared with all before.
    first
        The first date in the data; if it is not before the split, there is nothing to compare, and one sign: silence.
    invoices, cases
        Where they are known (see `signs.later_payment`, `signs.more_complaints`).
    not_complaints, later_days, margin_drop
        As the signs take them.

    Returns
    -------
    ibis.Table
        One row per important or major customer, the most valuable first: `customer_id`, `tier`, `value` (at stake),
        `signs` (how many), `warnings` (their names, "" without), a truth value for each sign that the tables can
        show, and its evidence. Signs that cannot be judged of a customer are false, their evidence NULL.
    """
    everyone = as_table(tiered)
    key = everyone.filter(everyone["tier"].isin(pyramid.KEY)).select("customer_id", "tier", "value")
    bought, lines = _of(key, bought), _of(key, lines)
    found = {"silent": signs.silent(rfm.habits(bought, key, as_of=as_of, dormant_after=1))}
    compared = first < split
    if compared:
        found["fewer orders"] = signs.fewer_orders(bought, split, as_of)
    if compared and invoices is not None:
        found["later payment"] = signs.later_payment(_of(key, invoices), split, days=later_days)
    if compared and cases is not None:
        found["more complaints"] = signs.more_complaints(_of(key, cases), bought, split, as_of, not_complaints)
    if compared and "cost" in lines.columns:
        found["lower margin"] = signs.lower_margin(bought, split, drop=margin_drop)
    if compared and "category" in lines.columns:
        found["narrower range"] = signs.narrower_range(lines, split)
    joined = key
    for table in found.values():
        table = table.rename(judged_id="customer_id")
        joined = joined.left_join(table, joined["customer_id"] == table["judged_id"]).drop("judged_id")
    shown = {sign: joined[SIGNS[sign][0]].fill_null(False) for sign in found}
    joined = joined.mutate(**{SIGNS[sign][0]: there for sign, there in shown.items()})
    names = ibis.literal("").concat(*(there.ifelse(f"{sign}, ", "") for sign, there in shown.items()))
    number = sum((there.cast("int64") for there in shown.values()), ibis.literal(0))
    result = joined.mutate(signs=number, warnings=names.left(ibis.greatest(names.length() - 2, 0)))
    result = result.relocate("signs", "warnings", after="value")
    return result.order_by(ibis.desc("value"), ibis.asc("customer_id"))


def by_sign(warned: Table) -> pd.DataFrame:
    """Return how many key customers show each sign, and what they brought.

    Returns
    -------
    pandas.DataFrame
        One row for each sign that the tables can show, in the order of `SIGNS`, and last `any sign`: `sign`,
        `customers`, `value`.
    """
    table = as_table(warned)
    shown = {sign: table[column] for sign, (column, _) in SIGNS.items() if column in table.columns}
    shown["any sign"] = table["signs"] > 0
    found = _summed(table, shown, customers=ibis.literal(1), value=table["value"])
    return found.rename(columns={"group": "sign"})


def half_a_period_ago(first: dt.date, as_of: dt.date, months: int) -> tuple[dt.date, dt.date, dt.date]:
    """Return the day before the period that ended half a period ago, the last day of its first half, and its last day.

    Parameters
    ----------
    first
        The first date in the data; they must hold all of that period, but for a twelfth of a half (`periods.edges`).
    as_of
        The date of the analysis.
    months
        The length of a period; half of an odd number is rounded up.

    Raises `Unanswerable` if the data are too short.
    """
    try:
        _, split, then, _ = periods.edges(first, as_of, months=-(-months // 2), count=3)
    except Unanswerable:
        raise Unanswerable(
            f"Whether such signs came before a loss takes data of one and a half periods of {months} months, up to "
            f"{as_of}; these begin on {first}."
        ) from None
    return periods.edges(first, then, months=months, count=1)[0], split, then


def refuse_missing(warned: Table) -> None:
    """Raise `Unanswerable` if the tables cannot show some of the signs; it names these and what they need."""
    columns = as_table(warned).columns
    if "fewer_orders" not in columns:
        raise Unanswerable(
            "Of the signs only silence was looked for: the data begin so late that there is nothing to compare the "
            "recent half of the period with."
        )
    lacking = [f"{sign} (needs {needs})" for sign, (column, needs) in SIGNS.items() if column not in columns]
    if lacking:
        raise Unanswerable(f"Not looked for, because the data do not tell it: {', '.join(lacking)}.")


def foretold(warned: Table, later: Table, part: float) -> pd.DataFrame:
    """Return how many key customers were lost or more than halved after they had shown signs, and after they had not.

    Such a one bought nothing in the time that followed, or brought less than half as much value as in an equally long
    part of the period before. As key customers are chosen by a good period, many fall back without any reason
    (regression to the mean): the difference between the groups counts, not the level.

    Parameters
    ----------
    warned
        Key customers with their signs at an earlier date (see `warned`).
    later
        What customers were worth since that date (`periods.by_period` with one period).
    part
        The length of the time since then, as a share of the period in which `value` was brought.

    Returns
    -------
    pandas.DataFrame
        `group` (`no sign`, `any sign`, `two or more`, then each sign), `customers`, `bought_nothing`,
        `lost_or_more_than_halved` (with these), their `rate` and its 95 % interval, `low` and `high` (NaN where there
        is nobody).
    """
    table, after = as_table(warned), as_table(later)
    after = after.select(after_id="customer_id", orders_after=after["purchases"], value_after=after["value"])
    table = table.left_join(after, table["customer_id"] == after["after_id"])
    bought = (table["orders_after"] > 0).fill_null(False)
    kept = bought & (table["value_after"] >= HALF * part * table["value"]).fill_null(False)
    table = table.mutate(nothing=(~bought).cast("int64"), fallen=(~kept).cast("int64"))
    groups = {"no sign": table["signs"] == 0, "any sign": table["signs"] > 0, "two or more": table["signs"] > 1}
    groups |= {sign: table[column] for sign, (column, _) in SIGNS.items() if column in table.columns}
    counts = {"bought_nothing": table["nothing"], "lost_or_more_than_halved": table["fallen"]}
    found = _summed(table, groups, customers=ibis.literal(1), **counts)
    return rates.with_rates(found.astype(dict.fromkeys(counts, int)), "lost_or_more_than_halved", "customers")


def _summed(table: ir.Table, groups: dict[str, ir.BooleanValue], **columns: ir.NumericValue) -> pd.DataFrame:
    """Sum columns over groups that may overlap."""
    sums = {
        f"{name}_{place}": exact_sum(here.ifelse(column, 0)).cast("float64")
        for place, here in enumerate(groups.values())
        for name, column in columns.items()
    }
    found = table.aggregate(**sums).to_pandas().fillna(0).to_numpy(float).reshape(len(groups), len(columns))
    frame = pd.DataFrame(found, columns=[*columns])
    frame.insert(0, "group", [*groups])
    return frame.astype({"customers": int})


def _of(key: ir.Table, table: Table) -> ir.Table:
    table = as_table(table)
    return table.filter(table["customer_id"].isin(key["customer_id"]))
