"""The customer bridge: from the customers and the money of one period to those of the next, and who is behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.lifecycle import STAGES, month_ends

GAINED, STAYED = ("new", "won back"), ("bought more", "bought less", "as before")
GROUPS = (*GAINED, *STAYED, "came and went", "lost", "lost earlier", "away")
MEASURES = ("customers", "revenue", "value")
IN_BASE = [stage for stage in STAGES if stage != "lost"]
BEGINNING = dt.date(1, 1, 1)  # before all data


def months(first: dt.date, as_of: dt.date) -> list[dt.date]:
    """Return a day before all data and the last day of each month; the last month ends on the as-of date.

    So the first month opens with no customers and no money, and all months together are the whole log.
    """
    ends = month_ends(first, as_of)
    return [BEGINNING, *ends, *[as_of] * (not ends or ends[-1] < as_of)]


def movements(staged: Table, worth: Table, edges: Sequence[dt.date]) -> ir.Table:
    """Return the part that each customer has in the change of the customer base, period by period.

    The base are all customers who are not lost. A customer belongs to one group in each period:

    - not in the base at its beginning, but at its end: `new` (first purchase in the period) or `won back`;
    - in the base at both: `bought more` than in the period before, `bought less`, or `as before` (by revenue);
    - in the base at its beginning alone: `lost`;
    - at neither: `came and went` (bought in the period, and was lost by its end), `lost earlier` (bought in the period
      before, and was lost by its end: this money is missing now), or `away` (the others, with
      returns or costs of service).

    Parameters
    ----------
    staged
        The stages at these dates, and maybe at others (see `lifecycle.stages`).
    worth
        What each customer bought and was worth in the periods that end there (see `periods.by_period`); of the first
        date, if it is the end of a period too.
    edges
        The day before the first period, and the last day of each.

    Returns
    -------
    ibis.Table
        One row per period (its last day) and customer who is in the base at one of its ends, or had revenue or value in
        it or in the period before: `customer_id`, `period`, `group`, `revenue_before`, `revenue_now`, `value_before`,
        `value_now`.
    """
    days = _sides(edges)
    base, sums = as_table(staged), as_table(worth)
    base = base.filter(base["stage"].isin(IN_BASE)).select("customer_id", day="date", number="purchases")
    there = base.mutate(based=True, revenue=0.0, value=0.0)
    sums = sums.select("customer_id", "revenue", "value", day=sums["period"].cast("date"), number="purchases")
    sums = sums.mutate(based=False, number=sums["number"].cast(base["number"].type())).select(there.columns)
    both = there.mutate(day=there["day"].cast("date")).union(sums).inner_join(days, "day")
    opens, based = both["opens"], both["based"]
    found = both.group_by("customer_id", "period").aggregate(
        opened=both.count(where=based & opens),
        closed=both.count(where=based & ~opens),
        so_far=both["number"].sum(where=based & ~opens),
        purchases=both["number"].sum(where=~based & ~opens).fill_null(0),
        purchases_before=both["number"].sum(where=~based & opens).fill_null(0),
        **{
            f"{name}_{side}": both[name].sum(where=there).fill_null(0.0)
            for name in ("revenue", "value")
            for side, there in (("before", opens), ("now", ~opens))
        },
    )
    opened, closed = found["opened"] > 0, found["closed"] > 0
    group = ibis.cases(
        (opened & ~closed, "lost"),
        (opened & (found["revenue_now"] > found["revenue_before"]), "bought more"),
        (opened & (found["revenue_now"] < found["revenue_before"]), "bought less"),
        (opened, "as before"),
        (closed & (found["so_far"] == found["purchases"]), "new"),
        (closed, "won back"),
        (found["purchases"] > 0, "came and went"),
        (found["purchases_before"] > 0, "lost earlier"),
        else_="away",
    )
    return found.mutate(group=group).drop("opened", "closed", "so_far", "purchases", "purchases_before")


def groups(moved: Table, edges: Sequence[dt.date]) -> pd.DataFrame:
    """Return how many customers each group has in each period, and what they brought before and now.

    Parameters
    ----------
    moved, edges
        See `movements`.

    Returns
    -------
    pandas.DataFrame
        One row per period and group, all groups: `period`, `group`, `customers`, `revenue_before`, `revenue_now`,
        `value_before`, `value_now` (decimals, so that they add up exactly).
    """
    table = as_table(moved)
    money = {name: exact_sum(table[name]) for name in table.columns if name.startswith(("revenue_", "value_"))}
    found = table.group_by("period", "group").aggregate(customers=table.count(), **money).to_pandas()
    found["period"] = pd.to_datetime(found["period"])
    every = pd.MultiIndex.from_product([pd.to_datetime(list(edges[1:])), GROUPS], names=["period", "group"])
    found = found.set_index(["period", "group"]).astype(object).reindex(every, fill_value=0)
    return found.astype({"customers": int}).reset_index()


def bridge(grouped: pd.DataFrame) -> pd.DataFrame:
    """Return how each period led from its opening to its closing, in customers, revenue and value.

    The opening of revenue and value is what the period before brought, and the closing what the period itself did;
    each group stands with what it added to or took from that.

    Parameters
    ----------
    grouped
        See `groups`.

    Returns
    -------
    pandas.DataFrame
        One row per period and `measure` (`customers`, `revenue`, `value`): `period`, `measure`, `opening`, the groups,
        `closing`: numbers of customers, and decimals.
    """
    table = grouped.pivot(index="period", columns="group")
    size = table["customers"].astype(object)[[*GROUPS]]
    signs = dict.fromkeys(GAINED, 1) | {"lost": -1}
    stayed = size[[*STAYED]].sum(axis=1)
    parts = {"customers": (stayed + size["lost"], size.mul([signs.get(g, 0) for g in GROUPS]))}
    ends = {"customers": stayed + size[[*GAINED]].sum(axis=1)}
    for name in MEASURES[1:]:
        before, now = (table[f"{name}_{side}"][[*GROUPS]] for side in ("before", "now"))
        parts[name], ends[name] = (before.sum(axis=1), now - before), now.sum(axis=1)
    rows = [
        change.assign(opening=opening, closing=ends[name], measure=name) for name, (opening, change) in parts.items()
    ]
    found = pd.concat(rows).reset_index().rename_axis(columns=None)
    found = found.sort_values(["period", "measure"], key=lambda c: c.map(_order), ignore_index=True)
    return found[["period", "measure", "opening", *GROUPS, "closing"]]


def steps(bridged: pd.DataFrame, period: dt.date, measure: str) -> pd.DataFrame:
    """Return one period of the bridge as steps from opening to closing; groups that changed nothing are left out.

    Parameters
    ----------
    bridged
        See `bridge`.
    period
        The last day of the period.
    measure
        `customers`, `revenue` or `value`.

    Returns
    -------
    pandas.DataFrame
        `step`, `amount`, `total` (whether it is the opening or the closing).
    """
    row = bridged[(bridged["period"] == pd.Timestamp(period)) & (bridged["measure"] == measure)].iloc[0]
    amounts = row.drop(["period", "measure"]).astype(float)
    found = pd.DataFrame({"step": amounts.index, "amount": amounts.to_numpy()})
    found["total"] = found["step"].isin(["opening", "closing"])
    return found[found["total"] | (found["amount"] != 0)].reset_index(drop=True)


def names(moved: Table, period: dt.date, group: str) -> ir.Table:
    """Return the customers behind a number of the bridge, those first who changed the value most in its direction.

    Parameters
    ----------
    moved
        See `movements`.
    period
        The last day of the period.
    group
        One of `GROUPS`.

    Returns
    -------
    ibis.Table
        `customer_id`, `change` (of value), `value_before`, `value_now`, `revenue_before`, `revenue_now`; of those who
        bought more, `to_do`, because their value may have fallen all the same. Their sums are those in `groups`; ties
        are in the order of the ids.
    """
    if group not in GROUPS:
        raise ValueError(f"the groups are {', '.join(GROUPS)}, not '{group}'")
    table = as_table(moved)
    table = table.filter((table["period"] == period) & (table["group"] == group))
    table = table.mutate(change=table["value_now"] - table["value_before"])
    falls = group in ("bought less", "lost", "lost earlier")
    columns = ["customer_id", "change", "value_before", "value_now", "revenue_before", "revenue_now"]
    if group == "bought more":
        table = table.mutate(
            to_do=(table["change"] < 0).ifelse("bought more and brought less: talk prices", "thank them")
        )
        columns.insert(2, "to_do")
    return table.order_by(table["change"] if falls else ibis.desc("change"), "customer_id").select(columns)


def moves(moved: Table, customers: Table, after: dt.date) -> ir.Table:
    """Return who was new, won back and lost in the periods that ended after a date, the most valuable first.

    Parameters
    ----------
    moved
        See `movements`.
    customers
        One row per customer: `customer_id`, `value` (so far).
    after
        The day before the first period that is listed.

    Returns
    -------
    ibis.Table
        `customer_id`, `month_end`, `group`, `value`: a customer who came and went in other periods has several rows.
    """
    table = as_table(moved)
    table = table.filter((table["period"] > after) & table["group"].isin([*GAINED, "lost"]))
    found = table.select("customer_id", "group", month_end="period")
    known = as_table(customers).select("customer_id", "value")
    found = found.inner_join(known, "customer_id").select("customer_id", "month_end", "group", "value")
    return found.order_by(ibis.desc("value"), "customer_id", "month_end")


def _sides(edges: Sequence[dt.date]) -> ir.Table:
    """Return the days at which each period opens and closes: `day`, `period`, `opens`."""
    steps = [*pairwise(edges)]
    if not steps or any(start >= end for start, end in steps):
        raise ValueError(f"there is at least one period, and each ends after the one before, not {list(edges)}")
    rows = [(start, end) for start, end in steps] + [(end, end) for _, end in steps]
    at = ibis.array([*range(len(rows))]).unnest().name("at").as_table()  # not a memtable: not every engine joins it
    day, period = (
        ibis.cases(*((at["at"] == number, ibis.literal(row[side])) for number, row in enumerate(rows)))
        for side in (0, 1)
    )
    return at.select(day=day, period=period, opens=at["at"] < len(steps))


def _order(cell: object) -> object:
    return MEASURES.index(cell) if isinstance(cell, str) else cell
