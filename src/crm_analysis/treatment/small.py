"""Small customers: who could grow, whose price or service is to be adjusted, and whose credit is to end.

Nothing is decided from one month: whoever is treated has bought in at least three months of the period, or had invoices
in at least three.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.receivables import AGES
from crm_analysis.treatment.signs import Z

GROW, ADJUST, CREDIT = "could grow", "adjust price or service", "end credit"
TREATMENTS = (CREDIT, ADJUST, GROW)  # the first that fits a customer counts
WAYS = {"end_credit": CREDIT, "adjust": ADJUST, "could_grow": GROW, "growing": GROW}  # what each finding leads to
GROWTH = 2.0  # times as much as before that makes a customer a growing one
MONTHS = 3  # different months that evidence comes from at least
LONG = AGES["61 to 90 days"]  # days past due after which what is open is long unpaid
# What the list shows beside the customer: the money, then the evidence.
FOUND = dict.fromkeys(["at_stake", "margin", "service_cost", "chance", "growth", "open"], "float64") | {
    "late_invoices": "int64"
}


def spans(since: dt.date, as_of: dt.date) -> bool:
    """Return whether the time after one day up to another is in three different months, so that there is evidence."""
    start = since + dt.timedelta(days=1)
    return (as_of.year - start.year) * 12 + as_of.month - start.month + 1 >= MONTHS


def regular(customers: Table, bought: Table, since: dt.date) -> ir.Table:
    """Return those of the customers who have bought in at least three different months after a day.

    The day is the one before the period; `bought` is every purchase by the as-of date (`customers.purchases`).
    """
    table, known = as_table(bought), as_table(customers)
    theirs = table.filter((table["date"] > since) & table["customer_id"].isin(known["customer_id"]))
    found = theirs.group_by("customer_id").aggregate(months=theirs["date"].truncate("month").nunique())
    return known.filter(known["customer_id"].isin(found.filter(found["months"] >= MONTHS)["customer_id"]))


def growing(small: Table, bought: Table, since: dt.date, split: dt.date, as_of: dt.date) -> ir.Table:
    """Return the small customers whose purchases have brought at least twice as much since the split as before.

    Parameters
    ----------
    small
        Small customers.
    bought
        Every purchase by the as-of date, with `value` before service costs (`customers.purchases`).
    since, split, as_of
        The day before the period, the last day of its first part, and its last day.

    Returns
    -------
    ibis.Table
        Who bought by the split, has bought in at least three different months of the period, and brings twice as much
        in the same time, beyond chance: `customer_id`, `at_stake` (what that adds in a year), `growth` (how many
        times as much; NULL if it was nothing or less before).

    Notes
    -----
    If purchases come at random and differ in value, the variance of their sum is next to the sum of their squares
    (compound Poisson); the difference of the two sums, in equal times, is tested one-sided at 5 %.
    """
    table = as_table(bought)
    table = table.filter(table["customer_id"].isin(as_table(small)["customer_id"]))
    value, now = table["value"].cast("float64"), table["date"] > split
    before = ~now & (table["date"] > since)
    sums = {
        f"{name}_{side}": exact_sum(here.ifelse(term, 0.0)).cast("float64")
        for name, term in (("sum", value), ("squares", value * value))
        for side, here in (("now", now), ("before", before))
    }
    months = table["date"].truncate("month").nunique(where=table["date"] > since)
    found = table.group_by("customer_id").aggregate(first=table["date"].min(), months=months, **sums)
    found = found.filter((found["months"] >= MONTHS) & (found["first"] <= split))
    start = ibis.greatest(found["first"], ibis.literal(since).cast("date"))
    ratio = (as_of - split).days / ibis.greatest(ibis.literal(split).delta(start, unit="day"), 1).cast("float64")
    usual = found["sum_before"] * ratio
    scatter = (found["squares_now"] + ratio * ratio * found["squares_before"]).sqrt()
    more = found["sum_now"] - usual
    grown = (found["sum_now"] >= GROWTH * usual) & (more > Z * scatter)
    return found.filter(grown).select(
        "customer_id",
        at_stake=more * (365.25 / (as_of - split).days),
        growth=(usual > 0).ifelse(found["sum_now"] / usual, ibis.null("float64")),
    )


def adjust(tiered: Table, bought: Table, since: dt.date, *, low_margin: float, least_purchases: int) -> ir.Table:
    """Return the small customers who leave much less of their revenue than all customers together do.

    Parameters
    ----------
    tiered
        All customers with `revenue`, `value`, after service costs, and perhaps `service_cost` of the period (see
        `tiered`, `with_service_cost`).
    bought
        Every purchase by the as-of date.
    since
        The day before the period.
    low_margin
        The share of the margin of all together below which a customer's is too low.
    least_purchases
        Purchases in the period, in at least three different months, that it is judged from.

    Returns
    -------
    ibis.Table
        `customer_id`, `at_stake` (what the customer's revenue would bring more at the margin of all), `margin` (value
        by revenue; below 0 where costs and service are above it) and, where it is known, `service_cost`. Nobody if
        value is revenue.
    """
    if not 0 <= low_margin <= 1 or least_purchases < 1:
        raise ValueError(
            "a margin too low is 0 to 1 times that of all, judged from at least 1 purchase, "
            f"not {low_margin} and {least_purchases}"
        )
    table = as_table(tiered)
    sums = table.aggregate(**{name: exact_sum(table[name]).cast("float64") for name in ("value", "revenue")})
    value, revenue = sums.to_pandas().fillna(0).iloc[0].astype(float)
    usual = max(value / revenue, 0.0) if revenue > 0 else 0.0
    small = table.filter((table["tier"] == "small") & (table["purchases"] >= least_purchases) & (table["revenue"] > 0))
    poor = regular(small.filter(small["value"] < low_margin * usual * small["revenue"]), bought, since)
    return poor.select(
        "customer_id",
        *["service_cost"] * ("service_cost" in poor.columns),
        at_stake=usual * poor["revenue"] - poor["value"],
        margin=poor["value"] / poor["revenue"],
    )


def bad_credit(small: Table, invoices: Table, since: dt.date, *, late_days: int) -> ir.Table:
    """Return the small customers who do not keep their terms of payment.

    Parameters
    ----------
    small
        Small customers.
    invoices
        What has fallen due by the as-of date (`receivables.invoices`); credits are left out.
    since
        The day before the period: how customers pay is judged by what has fallen due after it.
    late_days
        Days past due beyond which an invoice is late, paid or not.

    Returns
    -------
    ibis.Table
        Who was late with invoices of at least three different months of the period, or, having had invoices in as many
        so far, has something open for more than 90 days: `customer_id`, `at_stake` and `open` (what is unpaid past its
        due date), `late_invoices`.
    """
    if late_days < 0:
        raise ValueError(f"an invoice is late after at least 0 days, not {late_days}")
    table = as_table(invoices)
    table = table.filter((table["amount"] > 0) & table["customer_id"].isin(as_table(small)["customer_id"]))
    month, late = table["due"].truncate("month"), (table["days_late"] > late_days) & (table["due"] > since)
    unpaid = table["open"] & (table["days_late"] > 0)
    found = table.group_by("customer_id").aggregate(
        months=month.nunique(),
        late_months=month.nunique(where=late),
        late_invoices=table["order_id"].nunique(where=late),
        oldest=table["days_late"].max(where=table["open"]).fill_null(0),
        open=exact_sum(unpaid.ifelse(table["amount"], 0)).cast("float64"),
    )
    long_unpaid = (found["months"] >= MONTHS) & (found["oldest"] > LONG)
    bad = found.filter((found["late_months"] >= MONTHS) | long_unpaid)
    return bad.select("customer_id", "late_invoices", "open", at_stake="open")


def treated(tiered: Table, **found: Table | None) -> ir.Table:
    """Return the small customers to be treated, each in the first way that fits, most money at stake first.

    Parameters
    ----------
    tiered
        All customers (see `tiered`).
    **found
        What was found of those ways (names of `WAYS`) that could be looked at: `end_credit` (see `bad_credit`),
        `adjust`, `could_grow` (small customers with the `chance` to rise and what is `at_stake`) and `growing`.

    Returns
    -------
    ibis.Table
        `customer_id`, `treatment` (a name of `TREATMENTS`), `at_stake` (money), `value`, `purchases`, and what is known
        of the evidence, NULL where the treatment rests on other: `margin`, `service_cost`, `chance`, `growth`, `open`,
        `late_invoices`. Raises `Unanswerable` if no way could be looked at.
    """
    tables = {way: as_table(table) for way in WAYS if (table := found.get(way)) is not None}
    if not tables:
        raise Unanswerable(
            "What to do with small customers takes purchases in three different months of the period and some before "
            "its last half, or payments."
        )
    shown = {n: kind for n, kind in FOUND.items() if any(n in table.columns for table in tables.values())}
    parts = []
    for place, (way, table) in enumerate(tables.items()):
        facts = {n: table[n] if n in table.columns else ibis.null(kind) for n, kind in shown.items()}
        parts.append(
            table.select(
                treated_id="customer_id",
                treatment=ibis.literal(WAYS[way]),
                place=ibis.literal(place),
                **{n: fact.cast(shown[n]) for n, fact in facts.items()},
            )
        )
    every = ibis.union(*parts) if len(parts) > 1 else parts[0]
    first = ibis.row_number().over(group_by="treated_id", order_by="place")
    every = every.mutate(_first=first).filter(ibis._["_first"] == 0).drop("_first", "place")
    customers = as_table(tiered).select("customer_id", "value", "purchases")
    joined = customers.inner_join(every, customers["customer_id"] == every["treated_id"]).drop("treated_id")
    listed = joined.select("customer_id", "treatment", "at_stake", "value", "purchases", *[*shown][1:])
    return listed.order_by(ibis.desc("at_stake"), ibis.asc("customer_id"))


def by_treatment(treated: Table, ways: Collection[str] = tuple(WAYS)) -> pd.DataFrame:
    """Return `treatment`, `customers` and `at_stake` (money) of each of `TREATMENTS` that ways looked at lead to."""
    table = as_table(treated)
    found = table.group_by("treatment").aggregate(
        customers=table.count(), at_stake=exact_sum(table["at_stake"]).cast("float64")
    )
    looked = [kind for kind in TREATMENTS if kind in {WAYS[way] for way in ways}]
    frame = found.to_pandas().set_index("treatment").reindex(looked).rename_axis("treatment").fillna(0)
    return frame.astype({"customers": int}).reset_index()
