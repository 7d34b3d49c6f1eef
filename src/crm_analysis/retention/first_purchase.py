"""What becomes of a first purchase: who is about to slip away, and what kept others from a second one."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table, exact_sum, gap_quantiles
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import Difference, difference

# What customers are compared among equals in. A complaint often follows from a late delivery: among customers alike in
# complaints, part of the harm of late deliveries would be hidden.
ALIKE = {"late": ("discount",), "complaint": ("late", "discount"), "discount": ("late",)}
NAMED = {"late": "late delivery", "complaint": "complaint", "discount": "discount"}
OVERDUE = 60  # days after the promised one in which a delivery that is not recorded counts as not made
ROUNDING = 1e-9  # of a share: a discount of 0.04999999999999993 is one of 0.05


def usual_wait(bought: Table, quantile: float, *, as_of: dt.date, within_days: int) -> int:
    """Return the days after the first purchase by which this share of those who came back had come back.

    Only who first bought at least `within_days` before the as-of date and came back in that time is looked at: of
    later customers only the quick ones are known. Raises `Unanswerable` if there is nobody.
    """
    bought = as_table(bought)
    wait = bought["next_date"].delta(bought["date"], unit="day")
    seen = (bought["number"] == 1) & _observed(bought, as_of, within_days) & (wait <= within_days)
    try:
        return gap_quantiles(bought.filter(seen), quantile)[0]
    except Unanswerable:
        raise Unanswerable(
            f"No customer who first bought {within_days} days or more before {as_of} came back within that time."
        ) from None


def value_after(bought: Table, *, as_of: dt.date, within_days: int, silent_for: int = 0) -> float:
    """Return what customers still bring after a silence, as a multiple of the amount of their first purchase.

    Of the customers who did not buy for `silent_for` days after the first purchase: the value of all purchases in the
    `within_days` that follow, divided by the amount of their first purchases. It counts those who never came back, but
    only those of whom all these days have passed. Returns of days without a purchase are not taken off.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    as_of
        The date of the analysis.
    within_days
        Days after the silence in which purchases count.
    silent_for
        Days after the first purchase without another; 0: what follows from the first purchase on.

    Returns
    -------
    float
        NaN where there is no such customer, or where all of their first purchases were free.
    """
    bought = as_table(bought)
    window = silent_for + within_days
    wait = bought["next_date"].delta(bought["date"], unit="day")
    seen = (bought["number"] == 1) & _observed(bought, as_of, within_days, silent_for)
    seen = seen & (wait.isnull() | (wait > silent_for))
    first = bought.filter(seen).select(first_id="customer_id", first="date")
    lives = bought.inner_join(first, [("customer_id", "first_id")])
    begins = lives["number"] == 1
    follows = ~begins & (lives["date"].delta(lives["first"], unit="day") <= window)
    sums = lives.aggregate(
        first=exact_sum(begins.ifelse(lives["amount"], 0)).cast("float64"),
        after=exact_sum(follows.ifelse(lives["value"], 0)).cast("float64"),
    )
    found = sums.to_pandas().iloc[0].astype(float)
    return float(found["after"] / found["first"]) if found["first"] > 0 else float("nan")


def median_silence(listed: Table) -> int:
    """Return for how many days half of a list's customers have been silent at least; 0 for an empty list."""
    median = as_table(listed).aggregate(days=lambda t: t["silence"].quantile(0.5)).to_pandas()["days"].iloc[0]
    return 0 if pd.isna(median) else math.floor(median)


def at_stake(listed: Table, worth: float) -> ir.Table:
    """Return a list with `value_at_stake` after the customer: `worth` times `first_amount`, NULL where that is NaN.

    `worth` is what equally silent customers still brought: `value_after` a silence as long as the list's median. All
    in the list have the same, so that the order of their first purchases is that of what is at stake.
    """
    listed = as_table(listed)
    stake = ibis.null("float64") if math.isnan(worth) else listed["first_amount"] * worth
    staked = listed.mutate(value_at_stake=stake).relocate("value_at_stake", after="customer_id")
    return staked.order_by(ibis.desc("first_amount"), ibis.asc("customer_id"))  # a cached table may have lost its order


def slipping_away(bought: Table, *, as_of: dt.date, after: int, dormant_after: int) -> ir.Table:
    """Return who bought once, has waited longer than those who come back usually do, and is not dormant yet.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    as_of
        The date of the analysis.
    after
        Days of silence past which a first-time buyer is late (see `usual_wait`).
    dormant_after
        Days of silence past which a customer is dormant.

    Returns
    -------
    ibis.Table
        The largest first purchase first: `customer_id`, `first_amount`, `first_purchase`, `silence` (days since then)
        and `days_left` until they are dormant.
    """
    table = as_table(bought)
    table = table.filter((table["number"] == 1) & table["next_date"].isnull())
    table = table.mutate(silence=ibis.literal(as_of).delta(table["date"], unit="day"))
    late = table.filter((table["silence"] > after) & (table["silence"] <= dormant_after))
    return _ranked(late, days_left=dormant_after - late["silence"])


def experiences(
    bought: Table,
    transactions: Table,
    cases: Table | None = None,
    *,
    as_of: dt.date,
    complaint_days: int,
    discount_from: float,
    not_complaints: Sequence[str] = (),
) -> ir.Table:
    """Return what each customer went through with the first purchase.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    transactions
        Clean transactions up to the as-of date; with `promised` and `delivered` they tell late deliveries, with
        `list_amount` discounts.
    cases
        What customers turned to the company with: `customer_id`, `opened`, `cause`.
    as_of
        The date of the analysis.
    complaint_days
        Days after the first purchase in which a complaint is put down to it.
    discount_from
        The share of the list price from which less is a discount.
    not_complaints
        Causes of cases that are questions and not complaints, in any case of letters.

    Returns
    -------
    ibis.Table
        One row per customer: `customer_id`, `date`, `amount` and `value` of the first purchase, `next_date`, and of
        these what the tables tell: `late` (a line of the first purchase came after the promised date, or is not
        recorded to have come although that has passed in the last 60 days; NULL for all where the log has no date of a
        delivery), `discount` (all lines with a list price together), both NULL where the lines do not tell;
        `complaint` (from the day of the first purchase on and not after the second one).
    """
    bought = as_table(bought)
    first = bought.filter(bought["number"] == 1).drop("number")
    lines = as_table(transactions)
    told = {}
    if {"promised", "delivered"} <= set(lines.columns):
        # Where deliveries are never recorded, one that is not recorded does not mean that it has not come.
        recorded = lines["delivered"].count().execute() > 0
        days = ibis.literal(as_of).delta(lines["promised"].cast("date"), unit="day")
        overdue = days.between(1, OVERDUE).nullif(False) if recorded else ibis.null("boolean")
        told["late"] = ibis.coalesce(lines["delivered"] > lines["promised"], overdue)
    if "list_amount" in lines.columns:
        told["priced"] = lines["list_amount"].notnull().ifelse(lines["amount"], None)
        told["list_amount"] = lines["list_amount"]
    if told:
        lines = lines.select(line_id="customer_id", day=lines["date"].cast("date"), **told)
        own = first.inner_join(lines, [first["customer_id"] == lines["line_id"], first["date"] == lines["day"]])
        seen = {}
        if "late" in told:
            seen["late"] = own["late"].any()
        if "priced" in told:
            listed, paid = (exact_sum(own[name]).cast("float64") for name in ("list_amount", "priced"))
            off = 1 - paid / (listed > 0).ifelse(listed, None)
            seen["discount"] = off >= discount_from - ROUNDING
        known = own.group_by(known_id="customer_id").aggregate(**seen)
        first = first.left_join(known, [("customer_id", "known_id")]).drop("known_id")
    if cases is not None:
        first = first.mutate(complaint=_complained(first, as_table(cases), complaint_days, not_complaints))
    return first


def experience_groups(experienced: Table, *, as_of: dt.date, within_days: int, complaint_days: int) -> pd.DataFrame:
    """Return how many customers with each experience came back for a second purchase.

    Parameters
    ----------
    experienced
        One row per customer (see `experiences`).
    as_of
        The date of the analysis.
    within_days
        Days after the first purchase in which the second one counts; who first bought later is left out.
    complaint_days
        Days after the first purchase in which a complaint is put down to it.

    Returns
    -------
    pandas.DataFrame
        At most 36 rows: the experiences that are known of (`late`, `complaint`, `discount`; true, false or unknown),
        `early` (came back within `complaint_days`), `customers`, `returned` (of them).

    Raises
    ------
    Unanswerable
        Nobody first bought early enough.
    """
    if complaint_days < 0:
        raise ValueError(f"complaint_days must be at least 0, not {complaint_days}")
    table = as_table(experienced)
    table = table.filter(_observed(table, as_of, within_days))
    wait = table["next_date"].delta(table["date"], unit="day")
    table = table.mutate(early=(wait <= complaint_days).fill_null(False), back=(wait <= within_days).fill_null(False))
    keys = [*(name for name in ALIKE if name in table.columns), "early"]
    groups = table.group_by(keys).aggregate(customers=table.count(), returned=table.count(where=table["back"]))
    frame = groups.order_by(keys).to_pandas()
    if frame.empty:
        raise Unanswerable(f"Nobody first bought {numerals.count(within_days)} days or more before {as_of}.")
    return frame


def effect(groups: pd.DataFrame, experience: str) -> Difference:
    """Return how much more often customers with an experience came back than those without it.

    Late delivery and discount are compared among customers alike in the other of the two, complaints among those alike
    in both. Who came back soon had little time to complain before, so that complaints would look worse than they are:
    they are compared among those alone who had not come back within `complaint_days`. Not proof that the experience
    is the reason: who has it may differ in more than that.

    Parameters
    ----------
    groups
        Customers by their experiences (see `experience_groups`).
    experience
        `late`, `complaint` or `discount`.

    Raises
    ------
    Unanswerable
        All of those of whom it is known had the experience, or nobody; nobody without it is alike; of those among whom
        complaints are compared nobody came back, as when the days to come back are not more than those to complain.
    """
    others = [name for name in ALIKE[experience] if name in groups.columns]
    looked_at = groups[~groups["early"].astype(bool)] if experience == "complaint" else groups
    counted = looked_at[looked_at[experience].notna()].groupby(experience)["customers"].sum()
    if counted.empty:
        raise Unanswerable(f"Nothing in the data tells which first purchases had a {NAMED[experience]}.")
    if len(counted) < 2:
        raise Unanswerable(
            f"Of the {numerals.count(counted.sum())} first purchases to be compared "
            f"{'all' if counted.index.any() else 'none'}"
            f" had a {NAMED[experience]}, so there is nothing to compare with."
        )
    if experience == "complaint" and not looked_at["returned"].any():
        raise Unanswerable(
            "Nobody who had not come back by the end of the days in which a complaint is put down to the first purchase"
            " came back in time, so complaints cannot be compared."
        )
    found = difference(looked_at, experience, *others)
    if math.isnan(found.adjusted):
        raise Unanswerable(
            f"None of the {numerals.count(found.customers_with)} first purchases with a {NAMED[experience]} has one "
            "without it that"
            f" is alike in {' and '.join(NAMED[name] for name in others)}, so there is nothing to compare with."
        )
    return found


def to_make_up(experienced: Table, *, as_of: dt.date, recent_days: int) -> ir.Table:
    """Return recent first-time buyers with a late delivery or a complaint, who have not bought again.

    Parameters
    ----------
    experienced
        One row per customer (see `experiences`), with `late` or `complaint`.
    as_of
        The date of the analysis.
    recent_days
        Days before the as-of date in which they bought.

    Returns
    -------
    ibis.Table
        The largest first purchase first: `customer_id`, `first_amount`, `first_purchase`, `silence` (days since then),
        `experience` (in words).
    """
    table = as_table(experienced)
    late, complaint = (
        table[name].fill_null(False) if name in table.columns else ibis.literal(False) for name in ("late", "complaint")
    )
    table = table.mutate(
        silence=ibis.literal(as_of).delta(table["date"], unit="day"),
        experience=ibis.cases(
            (late & complaint, "late delivery and complaint"), (late, "late delivery"), (complaint, "complaint")
        ),
    )
    recent = table.filter(table["next_date"].isnull() & (table["silence"] <= recent_days) & (late | complaint))
    return _ranked(recent, experience="experience")


def _observed(table: ir.Table, as_of: dt.date, within_days: int, silent_for: int = 0) -> ir.BooleanValue:
    """Whether at least so many days have passed since a purchase, and since the silence after it."""
    if within_days < 1:
        raise ValueError(f"within_days must be at least 1 day, not {within_days}")
    return table["date"] <= as_of - dt.timedelta(days=silent_for + within_days)


def _complained(first: ir.Table, cases: ir.Table, days: int, not_complaints: Sequence[str]) -> ir.BooleanValue:
    """Whether a customer complained between the first purchase and the second, soon after the first."""
    complaints = cases.filter(cases["cause"].lower().notin([cause.lower() for cause in not_complaints]))
    complaints = complaints.select(case_id="customer_id", opened=complaints["opened"].cast("date"))
    about = complaints.inner_join(first, complaints["case_id"] == first["customer_id"])
    soon = about["opened"].delta(about["date"], unit="day").between(0, days)
    before = about["next_date"].isnull() | (about["opened"] <= about["next_date"])
    return first["customer_id"].isin(about.filter(soon & before)["case_id"])


def _ranked(firsts: ir.Table, **columns: ir.Value | str) -> ir.Table:
    amount = firsts["amount"].cast("float64")
    ranked = firsts.order_by(ibis.desc("amount"), ibis.asc("customer_id"))
    return ranked.select("customer_id", first_amount=amount, first_purchase="date", silence="silence", **columns)
