"""What each customer bought and was worth in periods of equal length, and why two periods differ."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.intake import MONEY_TYPE

MEASURES = ("purchases", "revenue", "value")
SLACK = 7  # days without data at the beginning of a period that counts as whole


def edges(first: dt.date, as_of: dt.date, *, months: int, count: int) -> list[dt.date]:
    """Return the last days of consecutive periods of so many months, counted back from the as-of date.

    Parameters
    ----------
    first
        The first date in the data.
    as_of
        The last day of the last period. Of a month's last day, the other periods end on months' last days, too.
    months
        The length of each period.
    count
        How many periods.

    Returns
    -------
    list of datetime.date
        The day before the first period, and the last day of each: `count` + 1 dates.

    Raises
    ------
    Unanswerable
        Several periods are to be compared, and the data begin more than a week after the first of them does. A single
        period may be as short as the data.
    """
    if months < 1 or count < 1:
        raise ValueError(f"there is at least one period of at least one month, not {count} of {months} months")
    found = [_back(as_of, months * steps) for steps in range(count, -1, -1)]
    if count > 1 and not _whole(first, found[0]):
        longest = max((m for m in range(1, months) if _whole(first, _back(as_of, m * count))), default=0)
        raise Unanswerable(
            f"{count} periods of {named(months, 'one ')} up to {as_of} need data from"
            f" {found[0] + dt.timedelta(days=1)} on, and they begin on {first}"
            + (f": set months to {longest} or less." if longest else ".")
        )
    return found


def whole(first: dt.date, as_of: dt.date, *, months: int, most: int, least: int = 1) -> list[dt.date]:
    """Return the edges of as many whole periods as the data have, up to `most`; of `least` at least (see `edges`)."""
    for count in range(most, least, -1):
        with contextlib.suppress(Unanswerable):
            return edges(first, as_of, months=months, count=count)
    return edges(first, as_of, months=months, count=least)


def named(months: int, one: str = "") -> str:
    """Return what a sentence calls a period of so many months: `12 months`, or `month`."""
    return f"{months} months" if months > 1 else f"{one}month"


def by_period(lines: Table, service_costs: Table | None, edges: Sequence[dt.date]) -> ir.Table:
    """Return what each customer bought and was worth in each period.

    Parameters
    ----------
    lines
        Transaction lines with their `value` (`customers.transaction_lines`).
    service_costs
        What it cost to serve each customer, if it is known (see `served`).
    edges
        The day before the first period, and the last day of each (see `edges`).

    Returns
    -------
    ibis.Table
        One row per customer and period in which something happened: `customer_id`, `period` (its last day),
        `purchases`, `revenue`, `value` (floats; profit after service costs where costs are known, else revenue).
        Periods that cover all of the data sum to the customer's `revenue` and `value` in `customers.summary`.
    """
    sold = as_table(lines)
    sold = sold.filter(sold["date"] <= max(edges))
    days = sold.group_by("customer_id", "date").aggregate(amount=sold["amount"].sum(), value=sold["value"].sum())
    days = days.mutate(bought=days["amount"] >= 0)
    if service_costs is None:
        return _totals(days, edges)
    costs = served(service_costs, sold)
    nothing = ibis.literal(0).cast(days["amount"].type())
    costs = costs.select(
        "customer_id", "date", amount=nothing, value=-costs["cost"].cast(days["value"].type()), bought=False
    )
    return _totals(days.union(costs), edges)


def served(service_costs: Table, lines: Table) -> ir.Table:
    """Return what it cost to serve the customers, and when that counts.

    What somebody cost before the first transaction counts on the day of that: until then it was in nobody's profit
    (see `customers.summary`), so a period has the same profit in every later report. The costs of people without a
    transaction belong to nobody.

    Returns
    -------
    ibis.Table
        `customer_id`, `date`, `cost` (decimal).
    """
    costs, sold = as_table(service_costs), as_table(lines)
    first = sold.group_by(buyer="customer_id").aggregate(first=sold["date"].min())
    known = costs.inner_join(first, costs["customer_id"] == first["buyer"])
    date = ibis.greatest(known["date"].cast("date"), known["first"])
    return known.select("customer_id", date=date, cost=known["cost"].cast(MONEY_TYPE))


def compare(worth: Table, before: dt.date, now: dt.date) -> ir.Table:
    """Return the customers of two periods, side by side.

    Parameters
    ----------
    worth
        One row per customer and period (see `by_period`).
    before, now
        The last days of the two periods.

    Returns
    -------
    ibis.Table
        One row per customer of either period: `customer_id`, `purchases_before`, `revenue_before`, `value_before`,
        `purchases_now`, `revenue_now`, `value_now`; 0 where nothing happened.
    """
    table = as_table(worth)
    table = table.filter(table["period"].isin([before, now]))
    sides = {"before": table["period"] == before, "now": table["period"] == now}
    found = {
        f"{name}_{side}": table[name].sum(where=here).fill_null(0) for side, here in sides.items() for name in MEASURES
    }
    return table.group_by("customer_id").aggregate(**found)


def explained(compared: Table) -> ir.Table:
    """Return what the change of each customer's value is due to: orders, amount and margin.

    A period's value is purchases × amount of a purchase × margin (value for each unit of revenue). Each factor is
    given what its change brings on average over all orders in which the three can change (Shapley value), so that the
    three parts sum to the change. Of a customer who made no purchase in one of the periods, or had no revenue above 0,
    amount and margin cannot be compared: the whole change is then due to orders.

    Parameters
    ----------
    compared
        One row per customer (see `compare`).

    Returns
    -------
    ibis.Table
        The customers' columns, `change` (of value), `by_orders`, `by_amount` and `by_margin`.

    Notes
    -----
    Shapley, L. S. (1953). A value for n-person games. Of a product a b c with changes of a, a's part is
    Δa [(b₀c₀ + b₁c₁) / 3 + (b₀c₁ + b₁c₀) / 6].
    """
    table = as_table(compared)
    both = ibis.and_(*(table[f"{name}_{side}"] > 0 for name in ("purchases", "revenue") for side in ("before", "now")))
    orders, amount, margin = (
        [
            (table[f"{top}_{side}"] / table[f"{bottom}_{side}"].nullif(0)).cast("float64")
            if bottom
            else table[f"{top}_{side}"].cast("float64")
            for side in ("before", "now")
        ]
        for top, bottom in (("purchases", ""), ("revenue", "purchases"), ("value", "revenue"))
    )
    change = table["value_now"] - table["value_before"]
    by_amount, by_margin = _part(amount, orders, margin), _part(margin, orders, amount)
    found = table.mutate(
        change=change,
        by_amount=both.ifelse(by_amount, 0.0).fill_null(0.0).round(6),
        by_margin=both.ifelse(by_margin, 0.0).fill_null(0.0).round(6),
    )
    return found.mutate(by_orders=(found["change"] - found["by_amount"] - found["by_margin"]).round(6))


def _part(own: list[ir.FloatingValue], one: list[ir.FloatingValue], other: list[ir.FloatingValue]) -> ir.FloatingValue:
    equal = one[0] * other[0] + one[1] * other[1]
    mixed = one[0] * other[1] + one[1] * other[0]
    return (own[1] - own[0]) * (equal / 3 + mixed / 6)


def _whole(first: dt.date, start: dt.date) -> bool:
    return (first - start).days <= SLACK + 1


def _totals(days: ir.Table, edges: Sequence[dt.date]) -> ir.Table:
    """Sum what happened in each period; what was before the first or after the last is left out."""
    first, *ends = sorted(edges)
    days = days.filter(days["date"] > first, days["date"] <= ends[-1])
    period = ibis.cases(*((days["date"] <= end, ibis.literal(end)) for end in ends), else_=ibis.null("date"))
    days = days.mutate(period=period)
    found = days.group_by("customer_id", "period").aggregate(
        purchases=days["bought"].cast("int64").sum(), revenue=days["amount"].sum(), value=days["value"].sum()
    )
    return found.mutate(revenue=found["revenue"].cast("float64"), value=found["value"].cast("float64"))


def _back(date: dt.date, months: int) -> dt.date:
    """Return the date so many months earlier; a month's last day leads to a month's last day."""
    day = pd.Timestamp(date)
    earlier = day - pd.offsets.MonthEnd(months) if day.is_month_end else day - pd.DateOffset(months=months)
    return earlier.date()
