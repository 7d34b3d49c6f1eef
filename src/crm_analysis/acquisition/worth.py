"""What customers found in each way bring, whether they stay, and when they have earned back what they cost."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.acquisition.ratios import ratios
from crm_analysis.acquisition.ways import OTHER, UNKNOWN
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.periods import served
from crm_analysis.rates import FEW, few, with_rates


def came_back(people: Table, bought: Table, *, as_of: dt.date, after_months: int, until_months: int) -> pd.DataFrame:
    """Return how many customers bought again at an age: more than `after_months` and up to `until_months` months old.

    A month is a twelfth of 365 days, the day of the first purchase being the first of them. Only customers of whom all
    these months have passed.

    Parameters
    ----------
    people
        See `people`.
    bought
        Every purchase by the as-of date.
    as_of
        The date of the analysis.
    after_months, until_months
        6 and 12: who bought in the second half of the first year.

    Returns
    -------
    pandas.DataFrame
        By `way`, `kind` and `year` (of the first purchase): `customers`, `returned` (of them).

    Raises
    ------
    Unanswerable
        Nobody has been a customer for so long.
    """
    if not 0 <= after_months < until_months:
        raise ValueError(f"customers come back between two ages, not between {after_months} and {until_months} months")
    first = _aged(people, as_of)
    first = first.filter(first["observed"] >= until_months)
    days = as_table(bought).select(buyer_id="customer_id", date="date")
    later = days.inner_join(first, days["buyer_id"] == first["customer_id"])
    month = _month(later["date"].delta(later["first_purchase"], unit="day"))
    later = later.filter((later["date"] > later["first_purchase"]) & (month >= after_months) & (month < until_months))
    back = later.select(back_id="customer_id").distinct()
    told = first.left_join(back, first["customer_id"] == back["back_id"])
    return _cells(told, told["back_id"].notnull(), f"has been a customer for {until_months} months")


def first_years(people: Table, years: Table) -> pd.DataFrame:
    """Return what customers found in each way bring in their first year.

    Few customers bring most of the money, so that a mean may rest on one of them: the interval tells how sure it is,
    and only roughly where customers are few. The median is what half of the customers exceed.

    Parameters
    ----------
    people
        See `people`.
    years
        Customers' first years, `customer_id` and `value` (see `prospects.first_years`).

    Returns
    -------
    pandas.DataFrame
        `way`, `customers`, `value` (mean), its 95 % interval `value_low` and `value_high` (NaN for one customer), and
        `median`.
    """
    table, worth = (
        as_table(people).select("customer_id", "way"),
        as_table(years).select(of="customer_id", value="value"),
    )
    each = worth.inner_join(table, worth["of"] == table["customer_id"])
    middle = each.group_by("way").aggregate(customers=each.count(), median=each["value"].quantile(0.5)).to_pandas()
    means = ratios(each.select("way", "value", one=ibis.literal(1.0)), "way", value=("value", "one"))
    return middle.merge(means, on="way")[["way", "customers", "value", "value_low", "value_high", "median"]]


def above_median(people: Table, years: Table) -> pd.DataFrame:
    """Return how many customers brought more in their first year than half of all customers did.

    A single large customer, who may decide the mean of a way, counts as one here. By `way`, `kind` and `year` of the
    first purchase: `customers`, `returned` (those above the median of all).
    """
    worth = as_table(years).select(of="customer_id", value="value")
    table = as_table(people)
    each = worth.inner_join(table, worth["of"] == table["customer_id"])
    median = each["value"].quantile(0.5).as_scalar()
    return _cells(each, each["value"] > median, "has been a customer for a year")


def earned_back(
    people: Table,
    lines: Table,
    costs: pd.DataFrame,
    service_costs: Table | None = None,
    *,
    as_of: dt.date,
    months: int,
) -> pd.DataFrame:
    """Return which share of customers have brought what a customer won in the same way cost, month by month.

    A customer has earned it back in the first month by which the value so far is as high. Each month rests on all
    customers of whom it has passed as a whole; a month is a twelfth of 365 days, the day of the first purchase being
    the first of them.

    Parameters
    ----------
    people
        See `people`.
    lines
        Transaction lines with their value (`customers.transaction_lines`).
    costs
        `way` and `cost_per_customer` (see `costs`, `own_costs`); ways without it are left out.
    service_costs
        What it cost to serve customers (see `periods.served`).
    as_of
        The date of the analysis.
    months
        The most months to be told.

    Returns
    -------
    pandas.DataFrame
        `way`, `month` (from 1 on), `customers`, `earned` (of them), `rate`, `low`, `high` (see `rates.with_rates`).
        Months of which fewer than 30 customers are known are left out, and so are ways that have none.

    Raises
    ------
    Unanswerable
        Of no way is it known what a customer cost.
    """
    if months < 1:
        raise ValueError(f"there is at least 1 month, not {months}")
    known = costs.dropna(subset="cost_per_customer")
    if known.empty:
        raise Unanswerable("Nothing tells what it cost to win a customer, so nothing tells when that is earned back.")
    first = _aged(people, as_of)
    price = ibis.cases(*((first["way"] == row.way, float(row.cost_per_customer)) for row in known.itertuples()))
    first = first.mutate(price=price).filter(lambda t: t["price"].notnull())
    sold = as_table(lines)
    flows = sold.select("customer_id", "date", value=sold["value"].cast("decimal(38, 6)"))
    if service_costs is not None:
        paid = served(service_costs, lines)
        flows = flows.union(paid.select("customer_id", "date", value=-paid["cost"].cast("decimal(38, 6)")))
    own = first.select("way", "first_purchase", "observed", "price", buyer_id="customer_id")
    flows = flows.inner_join(own, [("customer_id", "buyer_id")])
    flows = flows.mutate(day=flows["date"].delta(flows["first_purchase"], unit="day"))
    flows = flows.filter(flows["day"] >= 0).mutate(month=lambda t: _month(t["day"]) + 1)
    flows = flows.filter(flows["month"] <= flows["observed"])
    each = flows.group_by("customer_id", "price", "month").aggregate(value=flows["value"].sum())
    so_far = each["value"].sum().over(group_by="customer_id", order_by="month", rows=(None, 0))
    reached = each.mutate(so_far=so_far.cast("float64")).filter(lambda t: t["so_far"] >= t["price"])
    reached = reached.group_by(back_id="customer_id").aggregate(month=reached["month"].min())
    told = first.left_join(reached, [("customer_id", "back_id")])
    ages = told.group_by("way", "observed", "month").aggregate(customers=told.count()).to_pandas()
    rows = [
        (way, month, passed["customers"].sum(), passed.loc[passed["month"] <= month, "customers"].sum())
        for way, own in ages.groupby("way")
        for month in range(1, months + 1)
        for passed in [own[own["observed"] >= month]]
    ]
    frame = pd.DataFrame(rows, columns=["way", "month", "customers", "earned"])
    return with_rates(frame[~few(frame["customers"])].reset_index(drop=True), "earned", "customers")


def half_by(curve: pd.DataFrame) -> pd.Series:
    """Return the month by which half of each way's customers have earned back what one cost (see `earned_back`).

    NaN where it takes longer than is known.
    """
    half = curve[curve["rate"] >= 0.5].groupby("way")["month"].min()
    return half.reindex(curve["way"].unique()).astype(float)


def lifetime_values(people: Table, valued: Table, costs: pd.DataFrame) -> pd.DataFrame:
    """Return what customers won in each way have brought and will bring, beside what it cost to win them.

    Parameters
    ----------
    people
        See `people`.
    valued
        One row per customer with `value` so far and, where a model tells it, the `lifetime_value` expected (see
        `lifetime.value`).
    costs
        `way` and `cost_per_customer`.

    Returns
    -------
    pandas.DataFrame
        The best net value first, ways of few customers and unknown ones last: `way`, `customers`, means for a customer
        (`value` so far, `expected`, NaN where nothing is foretold; `total` of both and its 95 % interval, `total_low`
        and `total_high`, which takes what is foretold as certain), `cost`, `net` (total less cost) and `times` (total
        for each unit of cost; NaN where there is no cost).
    """
    table, worth = as_table(people).select("way", person="customer_id"), as_table(valued)
    expected = worth["lifetime_value"] if "lifetime_value" in worth.columns else ibis.null("float64")
    worth = worth.select("customer_id", value=worth["value"], expected=expected)
    each = worth.inner_join(table, worth["customer_id"] == table["person"])
    each = each.select("way", "value", "expected", one=ibis.literal(1.0))
    each = each.mutate(total=each["value"] + each["expected"].fill_null(0.0))
    sums = each.group_by("way").aggregate(
        customers=each.count(), expected=(exact_sum(each["expected"]).cast("float64") / each["expected"].count())
    )
    frame = sums.to_pandas().merge(ratios(each, "way", value=("value", "one"), total=("total", "one")), on="way")
    frame = frame.merge(costs[["way", "cost_per_customer"]].rename(columns={"cost_per_customer": "cost"}), how="left")
    frame = frame.assign(
        net=frame["total"] - frame["cost"],
        times=frame["total"] / frame["cost"].where(frame["cost"] > 0),
        last=(frame["customers"] < FEW) | frame["way"].isin([OTHER, UNKNOWN]),
    ).sort_values(["last", "net", "total", "way"], ascending=[True, False, False, True], ignore_index=True)
    names = ["way", "customers", "value", "expected", "total", "total_low", "total_high", "cost", "net", "times"]
    return frame[names].astype({"expected": float})


def _month(days: ir.IntegerValue) -> ir.IntegerValue:
    """Return in which month, from 0 on, of a year of 365 days in twelve months a day lies."""
    return (days * 12) // 365


def _aged(people: Table, as_of: dt.date) -> ir.Table:
    """Return those who have bought, with `observed`: how many months since the first purchase have passed whole."""
    table = as_table(people)
    table = table.filter(table["first_purchase"].notnull())
    return table.mutate(observed=_month(ibis.literal(as_of).delta(table["first_purchase"], unit="day") + 1))


def _cells(customers: ir.Table, returned: ir.BooleanValue, asked: str) -> pd.DataFrame:
    """Count customers, and those of whom something is so, by way, kind and year of the first purchase.

    Raises `Unanswerable` if there are none, and so nobody of whom that which was `asked` is true.
    """
    found = customers.group_by("way", "kind", year=customers["first_purchase"].year()).aggregate(
        customers=customers.count(), returned=customers.count(where=returned)
    )
    frame = found.order_by("way", "kind", "year").to_pandas()
    if frame.empty:
        raise Unanswerable(f"Nobody {asked} yet, so the ways cannot be compared in this.")
    return frame
