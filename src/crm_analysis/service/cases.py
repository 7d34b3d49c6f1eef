"""What customers turn to the company with: how long it takes, how often, and what it costs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis import periods
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

CAUSES = 10  # causes that are told apart
OTHERS = "other causes"
DAY = 86_400.0  # seconds
SATISFIED, DISSATISFIED = 4, 2  # the least of good ratings, and the best of bad ones, of 1 to 5


def handled(cases: Table, *, as_of: dt.date, not_complaints: Sequence[str] = ()) -> ir.Table:
    """Return how each case has been handled so far; of an open one its age counts, not nothing.

    Parameters
    ----------
    cases
        Cases by the as-of date (see `Dataset.table`).
    as_of
        The date of the analysis; what is open then has been so up to the end of that day.
    not_complaints
        Causes that are questions and not complaints, in any case of letters.

    Returns
    -------
    ibis.Table
        One row per case: `case_id`, `customer_id`, `cause` (of more than 10 the rarest together as "other causes"),
        `kind` (`complaint` or `inquiry`), `opened` and `closed` (dates; NULL: still open); `response` and `resolution`
        (days until the first response and until it was closed, or the age if that has not happened yet; a case closed
        without a recorded response was answered by then; what is recorded before the opening took no time);
        `responded` and `resolved` (whether it has happened); `satisfaction` (1 to 5, or NULL) and `reopened`, NULL
        where the table does not have them.
    """
    table = as_table(cases)
    none = {"first_response": "timestamp", "closed": "timestamp", "satisfaction": "int64", "reopened": "boolean"}
    table = table.mutate(**{name: ibis.null(kind) for name, kind in none.items() if name not in table.columns})
    asked = table["cause"].lower().isin([cause.lower() for cause in not_complaints])
    counted = table.group_by(name="cause").aggregate(rows=table.count())
    most = counted.order_by(ibis.desc("rows"), "name").limit(CAUSES).select("name")
    end = ibis.literal(dt.datetime.combine(as_of + dt.timedelta(days=1), dt.time()))
    answered = ibis.coalesce(table["first_response"], table["closed"])
    return table.select(
        "case_id",
        "customer_id",
        cause=table["cause"].isin(most["name"]).ifelse(table["cause"], OTHERS),
        kind=asked.ifelse("inquiry", "complaint"),
        opened=table["opened"].cast("date"),
        closed=table["closed"].cast("date"),
        response=_days(table["opened"], answered.fill_null(end)),
        responded=answered.notnull(),
        resolution=_days(table["opened"], table["closed"].fill_null(end)),
        resolved=table["closed"].notnull(),
        satisfaction="satisfaction",
        reopened="reopened",
    )


def spans(cases: Table, first: dt.date, as_of: dt.date, *, months: int) -> list[dt.date]:
    """Return the edges of the last two periods, or of the last one where cases are not known of both.

    Parameters
    ----------
    cases
        See `handled`; before the first of them is opened, no cases are known.
    first
        The first date of a transaction.
    as_of
        The date of the analysis.
    months
        The length of a period.

    Raises
    ------
    Unanswerable
        There is no case.
    """
    table = as_table(cases)
    opened = table.aggregate(first=table["opened"].min()).to_pandas()["first"].iloc[0]
    refuse_none([] if pd.isna(opened) else [as_of], as_of)
    since = max(first, pd.Timestamp(opened).date())
    start, *ends = periods.whole(since, as_of, months=months, most=2)
    return [max(start, since - dt.timedelta(days=1)), *ends]


def refuse_none(edges: Sequence[dt.date], as_of: dt.date) -> None:
    """Raise `Unanswerable` where no case is known of (see `spans`)."""
    if not edges:
        raise Unanswerable(f"No case was opened by {as_of}.")


def in_periods(cases: Table, edges: Sequence[dt.date]) -> ir.Table:
    """Return the cases (see `handled`) opened in one of two periods, or in one, with `now`: whether in the last."""
    table = as_table(cases)
    inside = table.filter((table["opened"] > edges[0]) & (table["opened"] <= edges[-1]))
    return inside.mutate(now=inside["opened"] > edges[-2])


def per_100_orders(cases: Table, bought: Table, edges: Sequence[dt.date], *by: str) -> pd.DataFrame:
    """Return how many cases came on 100 orders, now and in the period before.

    Parameters
    ----------
    cases
        See `handled`.
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    edges
        Of one period or two (see `spans`).
    by
        `kind`, or `kind` and `cause`: what is told apart.

    Returns
    -------
    pandas.DataFrame
        Complaints before inquiries, the most frequent first: `by`, `cases`, `per_100` with its 95 % interval `low` and
        `high` (Garwood's for a Poisson count), `cases_before`, `per_100_before`, `change` (`more` or `fewer` where
        chance would hardly bring one such change among all rows, else `chance`; empty without a period before). A
        customer who asks twice about one order counts twice.

    Raises
    ------
    Unanswerable
        There was no order or no case in the last period.

    Notes
    -----
    Given both counts together, the later one is binomial if the rates are equal. The exact test's p-values are
    multiplied by the number of rows (Bonferroni).
    """
    from scipy.stats import binomtest

    table, orders = in_periods(cases, edges), as_table(bought)
    orders = orders.filter((orders["date"] > edges[0]) & (orders["date"] <= edges[-1]))
    total, now = (
        int(n)
        for n in orders.aggregate(n=orders.count(), now=orders.count(where=orders["date"] > edges[-2]))
        .to_pandas()
        .iloc[0]
    )
    counted = table.group_by(*by).aggregate(
        cases=table.count(where=table["now"]), cases_before=table.count(where=~table["now"])
    )
    frame = counted.to_pandas()
    if not now or not frame["cases"].sum():
        raise Unanswerable(f"Between {edges[-2]} and {edges[-1]} there was no {'case' if now else 'order'}.")
    before = total - now
    low, high = poisson(frame["cases"])
    frame = frame.assign(
        per_100=100 * frame["cases"] / now,
        low=100 * low / now,
        high=100 * high / now,
        per_100_before=100 * frame["cases_before"] / before if before else np.nan,
    )
    change = [""] * len(frame)
    if before:
        pairs = zip(frame["cases"], frame["cases_before"], strict=True)
        tests = [binomtest(int(k), int(k + b), now / total) for k, b in pairs]
        limit = 0.05 / len(tests)
        change = [
            "chance" if test.pvalue > limit else "more" if test.k > test.n * now / total else "fewer" for test in tests
        ]
    frame = frame.assign(change=change, total=frame["cases"] + frame["cases_before"])
    frame = frame.sort_values([*by]).sort_values("total", ascending=False, kind="stable")
    frame = frame.sort_values("kind", kind="stable", ignore_index=True)
    return frame[[*by, "cases", "per_100", "low", "high", "cases_before", "per_100_before", "change"]]


def by_quarter(cases: Table, bought: Table, *, as_of: dt.date) -> pd.DataFrame:
    """Return complaints for each 100 orders, for every whole calendar quarter since there are orders and cases.

    Parameters
    ----------
    cases, bought
        See `handled` and `customers.purchases`.
    as_of
        The date of the analysis.

    Returns
    -------
    pandas.DataFrame
        One row per quarter with an order: `start` (its first day), `orders`, `complaints`, `per_100`, `low`, `high`
        (95 %).

    Raises
    ------
    Unanswerable
        There is no whole quarter with an order.
    """
    table, orders = as_table(cases), as_table(bought)
    complaints = table.filter(table["kind"] == "complaint")
    sides = {"orders": (orders, orders["date"]), "complaints": (complaints, complaints["opened"])}
    counted = [
        days.group_by(start=date.truncate("Q")).aggregate(**{name: days.count()}).to_pandas()
        for name, (days, date) in sides.items()
    ]
    counted = [frame.assign(start=pd.to_datetime(frame["start"])) for frame in counted]
    begins = [
        day.as_table().aggregate(first=day.min()).to_pandas()["first"].iloc[0]
        for day in (orders["date"], table["opened"])
    ]
    if pd.isna(begins).any():
        raise Unanswerable(f"There are not both, orders and cases, by {as_of}.")
    frame = counted[0].merge(counted[1], how="left", on="start").fillna({"complaints": 0}).sort_values("start")
    ends = frame["start"] + pd.DateOffset(months=3) - pd.Timedelta(days=1)
    frame = frame[(frame["start"] >= max(map(pd.Timestamp, begins))) & (ends <= pd.Timestamp(as_of))]
    if frame.empty:
        raise Unanswerable(f"Since there are orders and cases, no quarter of a year has passed as a whole by {as_of}.")
    frame = frame.astype({"complaints": int}).reset_index(drop=True)
    low, high = poisson(frame["complaints"])
    rate = 100 / frame["orders"]
    return frame.assign(per_100=frame["complaints"] * rate, low=low * rate, high=high * rate)


def poisson(counts: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of counts (Garwood, F., 1936: Fiducial limits for the Poisson distribution)."""
    from scipy.stats import chi2

    counts = counts.to_numpy(float)
    return np.nan_to_num(chi2.ppf(0.025, 2 * counts) / 2), chi2.ppf(0.975, 2 * counts + 2) / 2


def costs(cases: Table, service_costs: Table) -> pd.DataFrame:
    """Return what work on cases cost: service costs of a customer on the day on which the case was closed.

    Service costs do not say what they were for. What was booked on the day on which one of the customer's cases was
    closed is put down to it, in equal parts if there were several; a visit on that day is in it, too.

    Parameters
    ----------
    cases
        See `handled`.
    service_costs
        `customer_id`, `date`, `cost`, by the as-of date.

    Returns
    -------
    pandas.DataFrame
        One row per `kind`: `closed` cases, `costed` (cases with such a cost), `cost` (their sum).
    """
    table, spent = as_table(cases), as_table(service_costs)
    days = spent.group_by(payer="customer_id", day=spent["date"].cast("date")).aggregate(cost=exact_sum(spent["cost"]))
    closed = table.filter(table["resolved"])
    closed = closed.mutate(share=closed["case_id"].count().over(group_by=["customer_id", "closed"]))
    joined = closed.left_join(days, [closed["customer_id"] == days["payer"], closed["closed"] == days["day"]])
    part = joined["cost"].cast("float64") / joined["share"]
    found = joined.group_by("kind").aggregate(
        closed=joined.count(), costed=joined["cost"].count(), cost=exact_sum(part).cast("float64")
    )
    return found.order_by("kind").to_pandas().fillna({"cost": 0.0})


def _days(start: ir.TimestampValue, end: ir.TimestampValue) -> ir.FloatingValue:
    seconds = end.cast("timestamp").epoch_seconds() - start.cast("timestamp").epoch_seconds()
    return ibis.greatest(seconds, 0).cast("float64") / DAY
