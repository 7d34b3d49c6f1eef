"""Cohorts at equal age: whether those who joined lately become better customers than those who joined before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import Z, newcombe, with_rates

LETTERS = {3: " Q", 6: " H", 12: ""}


def members(
    lines: Table,
    customers: Table,
    service_costs: Table | None = None,
    *,
    ages: Sequence[int],
    cohort_months: int,
) -> ir.Table:
    """Return what every customer had bought and was worth at each age.

    Age is counted in days from the customer's own first purchase: an age of three months is 91 days, of twelve 365.
    What came before the first purchase (the cost of serving a prospect) counts at every age.

    Parameters
    ----------
    lines
        Transaction lines with their `value` (see `customers.transaction_lines`).
    customers
        One row per customer: `customer_id`, `first_purchase`; who has bought nothing is left out.
    service_costs
        What it cost to serve each customer, if it is known.
    ages
        In months, from the youngest.
    cohort_months
        Months of a cohort, by the calendar: 3, 6 or 12.

    Returns
    -------
    ibis.Table
        `customer_id`, `first_purchase`, `cohort` (the number of its calendar period since the year 0), and for each age
        `orders_3` (days with a purchase), `revenue_3`, `value_3`, …
    """
    if cohort_months not in LETTERS:
        raise ValueError(f"cohort_months must be 3, 6 or 12, not {cohort_months}")
    if not ages or min(ages) < 1 or list(ages) != sorted(set(ages)):
        raise ValueError(f"ages are months from 1 on, the youngest first, not {list(ages)}")
    sold = as_table(lines)
    days = sold.group_by("customer_id", "date").aggregate(amount=sold["amount"].sum(), value=sold["value"].sum())
    days = days.mutate(bought=days["amount"] >= 0)
    if service_costs is not None:
        served = as_table(service_costs)
        loss = (-served["cost"].cast("decimal(18, 6)")).cast(days["value"].type())
        nothing = ibis.literal(0).cast(days["amount"].type())
        costs = {"amount": nothing, "value": loss, "bought": ibis.literal(False)}
        days = days.union(served.select("customer_id", date=served["date"].cast("date"), **costs))
    known = as_table(customers)
    known = known.filter(known["first_purchase"].notnull()).select(member="customer_id", first="first_purchase")
    lives = days.inner_join(known, days["customer_id"] == known["member"])
    age = lives["date"].delta(lives["first"], unit="day")
    sums = {}
    for months in ages:
        by_then = age <= _days(months)
        sums[f"orders_{months}"] = lives.count(where=by_then & lives["bought"])
        for name, column in (("revenue", "amount"), ("value", "value")):
            sums[f"{name}_{months}"] = lives[column].sum(where=by_then).cast("float64").fill_null(0.0)
    found = lives.group_by("customer_id").aggregate(first_purchase=lives["first"].max(), **sums)
    month = found["first_purchase"].year() * 12 + found["first_purchase"].month() - 1
    return found.mutate(cohort=month // cohort_months)


def aged(joined: Table, *, as_of: dt.date, ages: Sequence[int], cohort_months: int) -> pd.DataFrame:
    """Return what a customer of each cohort was worth at each age that the whole cohort has reached.

    The first cohort in the data is left out where there are others: it holds older customers as well, whose first
    purchases lie before the data.

    Parameters
    ----------
    joined
        See `members`.
    as_of
        The date of the analysis.
    ages, cohort_months
        As there.

    Returns
    -------
    pandas.DataFrame
        One row per age and cohort, the oldest first: `cohort` (its name, such as 2024 Q1), `start` (its first day),
        `age` (months), `customers`, `second` (those of them with a second order by then), `rate` (the second-order
        rate), `low` and `high` (its 95 % interval after Wilson); per customer `orders`, `revenue` and `value`; `error`
        (the standard error of `value`; NaN of a single customer) and `squares` (the sum of their squared values).

    Raises
    ------
    Unanswerable
        No cohort is old enough.
    """
    table = as_table(joined)
    sums = {"customers": table.count()}
    for months in ages:
        value = table[f"value_{months}"]
        sums |= {
            f"second_{months}": table.count(where=table[f"orders_{months}"] > 1),
            f"orders_{months}": table[f"orders_{months}"].sum(),
            f"revenue_{months}": exact_sum(table[f"revenue_{months}"]).cast("float64"),
            f"value_{months}": exact_sum(value).cast("float64"),
            f"squares_{months}": exact_sum(value * value).cast("float64"),
        }
    wide = table.group_by(period="cohort").aggregate(**sums).order_by("period").to_pandas()
    parts = []
    for months in ages:
        names = {f"{name}_{months}": name for name in ("second", "orders", "revenue", "value", "squares")}
        old = _start(wide["period"] + 1, cohort_months) + pd.Timedelta(days=_days(months) - 1) <= pd.Timestamp(as_of)
        parts.append(wide[old][["period", "customers", *names]].rename(columns=names).assign(age=months))
    found = pd.concat(parts, ignore_index=True)
    if found.empty:
        raise Unanswerable(
            f"No cohort of {cohort_months} months has been a customer for {ages[0]} months up to {as_of} as a whole,"
            " so none can be looked at."
        )
    later = found[found["period"] > found["period"].min()]
    found = with_rates(later if len(later) else found, "second", "customers").reset_index(drop=True)
    size = found["customers"]
    spread = (found["squares"] - found["value"] ** 2 / size).clip(lower=0) / (size - 1).where(size > 1)
    found = found.assign(error=np.sqrt(spread / size), start=_start(found["period"], cohort_months))
    found["cohort"] = _names(found["start"], cohort_months)
    for name in ("orders", "revenue", "value"):
        found[name] = found[name] / size
    columns = ["cohort", "start", "age", "customers", "second", "rate", "low", "high", "orders", "revenue", "value"]
    return found[[*columns, "error", "squares"]]


def latest(cohorts: pd.DataFrame, age: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cohorts that joined last and those that joined before them, at an age that both have reached.

    The cohorts of the newest year are compared with those of the same seasons one year earlier; where there are none
    of these, the newer half of the cohorts with as many before it. Both are empty where there is only one cohort.
    """
    known, year = cohorts[cohorts["age"] == age].sort_values("start"), pd.DateOffset(months=12)
    newest = known[known["start"] > known["start"].max() - year]
    earlier = known[(known["start"] + year).isin(newest["start"])]
    if len(earlier):
        return newest[newest["start"].isin(earlier["start"] + year)], earlier
    size = len(known) // 2
    return known.tail(size), known.iloc[len(known) - 2 * size : len(known) - size]


def trend(cohorts: pd.DataFrame) -> pd.DataFrame:
    """Return how the cohorts that joined last compare with those before them at equal age (see `latest`).

    Parameters
    ----------
    cohorts
        See `aged`.

    Returns
    -------
    pandas.DataFrame
        One row per age at which two cohorts or more can be compared: `age`, `latest` and `earlier` (their names), and
        of both sides `customers_…`, `rate_…` (second-order rate) and `value_…` (per customer); `rate_change`,
        `rate_low`, `rate_high` (the difference and its 95 % interval after Newcombe), `value_change`, `value_low`,
        `value_high` (the same, from the standard errors; NaN where a side has one customer).

    Raises
    ------
    Unanswerable
        There are no two cohorts of any age.
    """
    rows = []
    for age in cohorts["age"].unique():
        sides = latest(cohorts, age)
        if sides[0].empty:
            continue
        (n1, r1, v1, e1), (n0, r0, v0, e0) = (_pooled(side) for side in sides)
        rate_low, rate_high = newcombe(r1, n1, r0, n0)
        reach = Z * float(np.hypot(e1, e0))
        row = {"age": age, "latest": _span(sides[0]), "earlier": _span(sides[1])}
        row |= {"customers_latest": n1, "customers_earlier": n0, "rate_latest": r1, "rate_earlier": r0}
        row |= {"value_latest": v1, "value_earlier": v0}
        row |= {"rate_change": r1 - r0, "rate_low": rate_low, "rate_high": rate_high}
        row |= {"value_change": v1 - v0, "value_low": v1 - v0 - reach, "value_high": v1 - v0 + reach}
        rows.append(row)
    if not rows:
        raise Unanswerable("There is only one cohort to look at, so there is none to compare it with.")
    return pd.DataFrame(rows)


def _pooled(cohorts: pd.DataFrame) -> tuple[int, float, float, float]:
    """Return the customers of several cohorts, their second-order rate, value per customer and its standard error."""
    size = int(cohorts["customers"].sum())
    mean = float((cohorts["value"] * cohorts["customers"]).sum()) / size
    spread = max(float(cohorts["squares"].sum()) - size * mean**2, 0) / (size - 1) if size > 1 else float("nan")
    return size, float(cohorts["second"].sum()) / size, mean, float(np.sqrt(spread / size))


def _span(cohorts: pd.DataFrame) -> str:
    first, last = cohorts["cohort"].iloc[0], cohorts["cohort"].iloc[-1]
    return first if first == last else f"{first} to {last}"


def _days(months: int) -> int:
    """Return the days of an age: 91 of 3 months, 365 of 12."""
    return round(months * 365.25 / 12)


def _start(period: pd.Series, cohort_months: int) -> pd.Series:
    month = period.astype(int) * cohort_months
    return pd.to_datetime(pd.DataFrame({"year": month // 12, "month": month % 12 + 1, "day": 1}))


def _names(start: pd.Series, cohort_months: int) -> pd.Series:
    part = ((start.dt.month - 1) // cohort_months + 1).astype(str) if cohort_months < 12 else ""
    return start.dt.strftime("%Y") + LETTERS[cohort_months] + part
