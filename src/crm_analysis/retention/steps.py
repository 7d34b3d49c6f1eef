"""How many customers go on to the next purchase, in general, by cohort, and after a long pause."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import Difference, difference, with_rates


def conversions(bought: Table, leads: Table | None = None, *, as_of: dt.date, within_days: int) -> pd.DataFrame:
    """Return which share of those who reached a stage of a customer's life went on to the next in the time given.

    Only who entered the stage at least `within_days` before the as-of date is counted, so that everybody had the same
    time. Who bought before being contacted, or before showing interest, never was a prospect, or a target. Nor is one
    looked at whose first contact was before the first purchase of all: what they bought then is not known.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    leads
        One row per person and day of a contact: `customer_id`, `date`, `stage` (see `lifecycle.leads`). A prospect is
        one from the first contact on, a target from the first on that makes one.
    as_of
        The date of the analysis.
    within_days
        Days from entering the stage in which the next one must be reached; the last day counts.

    Returns
    -------
    pandas.DataFrame
        One row per `step`: with leads `prospect to target`, `prospect to first purchase` and `target to first
        purchase`; then `first to second purchase` and `second to third purchase`. `entered`, `converted` (of them),
        `too_recent` (entered later and are not counted), `rate`, and `low` and `high`, its 95 % interval after Wilson;
        these are NaN where nobody is counted.

    Raises
    ------
    Unanswerable
        Nobody entered any of the stages early enough.
    """
    bought = as_table(bought)
    bought = bought.filter(bought["number"] <= 2)
    number, date, following = bought["number"], bought["date"], bought["next_date"]
    steps = {
        f"{name} purchase": _step(number == nth, date, following, as_of, within_days)
        for nth, name in enumerate(["first to second", "second to third"], 1)
    }
    counted = _wide(bought, steps)
    if leads is not None:
        firsts = bought.filter(number == 1).select(buyer_id="customer_id", first="date")
        leads = as_table(leads)
        day, is_target = leads["date"].cast("date"), leads["stage"] == "target"
        people = leads.group_by("customer_id").aggregate(met=day.min(), interested=day.min(where=is_target))
        people = people.left_join(firsts, [("customer_id", "buyer_id")])
        people = people.cross_join(bought.aggregate(begins=date.min())).filter(lambda t: t["met"] >= t["begins"])
        met, interested, first = people["met"], people["interested"], people["first"]
        was_prospect, was_target = (first.isnull() | (first >= since) for since in (met, interested))
        target_from = was_target.ifelse(interested, ibis.null("date"))
        before = {
            "prospect to target": _step(was_prospect, met, target_from, as_of, within_days),
            "prospect to first purchase": _step(was_prospect, met, first, as_of, within_days),
            "target to first purchase": _step(was_target, interested, first, as_of, within_days),
        }
        counted = pd.concat([_wide(people, before), counted], ignore_index=True)
    if not counted["entered"].any():
        raise Unanswerable(
            f"Nobody entered a stage {numerals.count(within_days)} days or more before {as_of}, so no share of those "
            "who went on"
            " to the next within that time can be told."
        )
    return with_rates(counted, "converted", "entered")


def age_days(cohort_months: int) -> int:
    """Return the days of an age for cohorts of so many months, as whole days: 91 for three months."""
    if cohort_months not in (1, 2, 3, 4, 6, 12):
        raise ValueError(f"cohort_months must be 1, 2, 3, 4, 6 or 12, not {cohort_months}")
    return round(cohort_months * 365.25 / 12)


def cohorts(bought: Table, *, as_of: dt.date, cohort_months: int) -> pd.DataFrame:
    """Return which share of each cohort bought at each age: customers by when they first bought.

    A cohort are the customers who first bought in the same calendar period. Age is measured in each customer's own
    time: age 1 are the first so many days after the first purchase (91 for three months), age 2 the next as many. An
    age is told only of a cohort that has been through it to the last customer, so cohorts are compared fairly at equal
    age. Who bought before the data begin counts as new in their first cohort.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    as_of
        The date of the analysis.
    cohort_months
        Months of a cohort: 1, 2, 3, 4, 6 or 12.

    Returns
    -------
    pandas.DataFrame
        One row per cohort and age, in this order: `cohort` (its name, such as 2024 Q1), `start` (its first day),
        `customers`, `age`, `returned` (customers who bought at that age), `rate`.

    Raises
    ------
    Unanswerable
        No cohort is old enough.
    """
    days = age_days(cohort_months)
    bought = as_table(bought)
    first = bought.filter(bought["number"] == 1)
    month = first["date"].year() * 12 + first["date"].month() - 1
    first = first.select(first_id="customer_id", first="date", period=month // cohort_months)
    sizes = first.group_by("period").aggregate(customers=first.count()).order_by("period").to_pandas()

    later = bought.filter(bought["number"] > 1).inner_join(first, [("customer_id", "first_id")])
    then, next_then = (later[day].delta(later["first"], unit="day") for day in ("date", "next_date"))
    age = (then - 1) // days + 1
    # The last of a customer's purchases at an age stands for all of them.
    last = later.filter(next_then.isnull() | (next_then > age * days))
    returned = last.group_by("period", age=age).aggregate(returned=last.count()).to_pandas()

    ends = _start_of(sizes["period"] + 1, cohort_months) - pd.Timedelta(days=1)
    ages = ((pd.Timestamp(as_of) - ends).dt.days // days).clip(lower=0)
    frame = sizes.loc[sizes.index.repeat(ages)].assign(age=lambda f: f.groupby("period").cumcount() + 1)
    if frame.empty:
        raise Unanswerable(
            f"No cohort has been a customer for {numerals.count(days)} days as a whole, so none can be looked at."
        )
    frame = frame.merge(returned, how="left", on=["period", "age"]).fillna({"returned": 0})
    frame = frame.astype({"customers": int, "age": int, "returned": int})
    frame = _named(frame, cohort_months)[["cohort", "start", "customers", "age", "returned"]]
    return frame.assign(rate=frame["returned"] / frame["customers"])


def at_ages(aged: pd.DataFrame, oldest: int) -> pd.Series:
    """Return which share of customers bought at each age, all ages of the same cohorts.

    The cohorts are those that have been through `oldest`, or as near to it as any has. The first cohort in the data is
    left out where there are others: it holds older customers as well, whose first purchases lie before the data.

    Parameters
    ----------
    aged
        The cohorts at each age (see `cohorts`).
    oldest
        The oldest age to be told.

    Returns
    -------
    pandas.Series
        `rate` by `age`, from 1 on.
    """
    later = aged[aged["start"] > aged["start"].min()]
    known = later if len(later) else aged
    oldest = min(oldest, known["age"].max())
    been_through = known.groupby("start")["age"].transform("max") >= oldest
    by_age = known[been_through & (known["age"] <= oldest)].groupby("age")[["customers", "returned"]].sum()
    return (by_age["returned"] / by_age["customers"]).rename("rate")


def year_on_year(aged: pd.DataFrame) -> Difference:
    """Return how the newest cohorts came back at age 1 beside those of the year before.

    The newest cohort and those of the year up to it are compared with the cohorts of the same season one year earlier,
    and the difference is adjusted for the season. The first cohort in the data is left out: it holds older customers
    as well, whose first purchases lie before the data.

    Parameters
    ----------
    aged
        The cohorts at each age (see `cohorts`).

    Raises
    ------
    Unanswerable
        No cohort, after the first, has a counterpart one year earlier.
    """
    young = aged[(aged["age"] == 1) & (aged["start"] > aged["start"].min())]
    newest = young["start"].max()
    young = young[young["start"] > newest - pd.DateOffset(months=24)] if len(young) else young
    groups = young.assign(newer=young["start"] > newest - pd.DateOffset(months=12), season=young["start"].dt.month)
    both = groups.groupby("season")["newer"].transform("nunique") == 2
    if not both.any():
        raise Unanswerable("No cohort has a counterpart in the same season of the year before, to be compared with.")
    return difference(groups[both], "newer", "season")


def win_backs(
    bought: Table, *, as_of: dt.date, dormant_after: int, within_days: int, cohort_months: int
) -> pd.DataFrame:
    """Return which share of the long pauses ended with a purchase, by when the customer fell dormant.

    A customer falls dormant on the day on which the last purchase is more than `dormant_after` days ago: that makes a
    long pause, and the same customer may have several. Only periods that ended at least `within_days` before the as-of
    date are told.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    as_of
        The date of the analysis.
    dormant_after
        Days without a purchase after which a customer is dormant (see `customers.gap_quantiles`).
    within_days
        Days from falling dormant in which a purchase counts as coming back; the last day counts.
    cohort_months
        Months of a period: 1, 2, 3, 4, 6 or 12.

    Returns
    -------
    pandas.DataFrame
        One row per period in which somebody fell dormant: `cohort`, `start`, `pauses` (long ones that began to be so
        then), `ended` (of them), `rate`, and `low` and `high`, its 95 % interval after Wilson; `value` of what the
        customers brought in these `within_days`, until they fell dormant again.

    Raises
    ------
    Unanswerable
        Nobody fell dormant early enough.
    """
    if dormant_after < 1:
        raise ValueError(f"a customer is dormant after at least 1 day, not {dormant_after}")
    age_days(cohort_months)
    bought = as_table(bought)
    date, following, window = bought["date"], bought["next_date"], dormant_after + 1 + within_days
    pause = following.fill_null(ibis.literal(as_of)).delta(date, unit="day")
    # A pause is known by the purchase before it. Later purchases belong to the last pause before them.
    paused = (pause > dormant_after).ifelse(date, ibis.null("date"))
    earlier = ibis.window(group_by="customer_id", order_by="date", rows=(None, -1))
    spells = bought.mutate(paused=paused).mutate(after=lambda t: t["paused"].max().over(earlier))
    fell = bought.filter(pause > dormant_after)
    back = fell["next_date"].delta(fell["date"], unit="day") <= window
    counted = fell.group_by("date").aggregate(pauses=fell.count(), ended=fell.count(where=back))
    brought = spells.filter(spells["date"].delta(spells["after"], unit="day") <= window)
    brought = brought.group_by(date="after").aggregate(value=exact_sum(brought["value"]).cast("float64"))

    frame = counted.to_pandas().merge(brought.to_pandas(), how="left", on="date").fillna({"value": 0.0})
    day = pd.to_datetime(frame["date"]) + pd.Timedelta(days=dormant_after + 1)
    frame = frame.assign(period=(day.dt.year * 12 + day.dt.month - 1) // cohort_months).sort_values("date")
    frame = frame.groupby("period", as_index=False)[["pauses", "ended", "value"]].sum()
    ends = _start_of(frame["period"] + 1, cohort_months) - pd.Timedelta(days=1)
    frame = frame[ends + pd.Timedelta(days=within_days) <= pd.Timestamp(as_of)]
    if frame.empty:
        raise Unanswerable(
            f"In no whole period that ended {numerals.count(within_days)} days or more before {as_of} has a customer "
            "fallen dormant."
        )
    frame = with_rates(_named(frame, cohort_months), "ended", "pauses")
    return frame[["cohort", "start", "pauses", "ended", "rate", "low", "high", "value"]]


def _step(
    entered: ir.BooleanValue, since: ir.DateValue, reached: ir.DateValue, as_of: dt.date, within_days: int
) -> dict[str, ir.BooleanValue]:
    """Say of each row whether it counts as entered, converted, and entered too recently to be counted."""
    if within_days < 1:
        raise ValueError(f"the next stage must be reached within at least 1 day, not {within_days}")
    early = since <= as_of - dt.timedelta(days=within_days)
    went_on = reached.delta(since, unit="day").between(0, within_days)
    return {"entered": entered & early, "converted": entered & early & went_on, "too_recent": entered & ~early}


def _wide(table: ir.Table, steps: dict[str, dict[str, ir.BooleanValue]]) -> pd.DataFrame:
    """Count what is true of each step in one pass: one row a step."""
    counts = {
        f"{at}_{name}": table.count(where=is_so)
        for at, step in enumerate(steps.values())
        for name, is_so in step.items()
    }
    found = table.aggregate(**counts).to_pandas().iloc[0]
    rows = [{name: int(found[f"{at}_{name}"]) for name in step} for at, step in enumerate(steps.values())]
    return pd.DataFrame(rows).assign(step=list(steps))[["step", *rows[0]]]


def _start_of(period: pd.Series, cohort_months: int) -> pd.Series:
    """Return the first day of periods that are numbered since the year 0."""
    month = period.astype(int) * cohort_months
    return pd.to_datetime(pd.DataFrame({"year": month // 12, "month": month % 12 + 1, "day": 1}))


def _named(frame: pd.DataFrame, cohort_months: int) -> pd.DataFrame:
    """Give each period its first day and its name: 2024-03, 2024 Q1, 2024 H1, 2024."""
    start = _start_of(frame["period"], cohort_months)
    part = ((start.dt.month - 1) // cohort_months + 1).astype(str)
    letter = {3: " Q", 4: " T", 6: " H"}.get(cohort_months)
    year = start.dt.strftime("%Y")
    name = year if cohort_months == 12 else year + letter + part if letter else start.dt.strftime("%Y-%m")
    return frame.assign(cohort=name, start=start)
