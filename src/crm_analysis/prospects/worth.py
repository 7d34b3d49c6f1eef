"""What leads are worth before they buy: what customers who came the same way have brought, times the propensity."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.periods import served
from crm_analysis.prospects.panel import UNKNOWN

YEAR = 365
ALIKE = ("kind", "acquired_via")
WORTH = ["customers", "value", "weight", "value_if_won"]


def first_years(lines: Table, bought: Table, service_costs: Table | None = None, *, as_of: dt.date) -> ir.Table:
    """Return what each customer brought in the 365 days from the first purchase on, that day included.

    Only customers of whom all these days have passed. Returns count on their day, service costs on theirs, and what
    somebody cost before the first transaction on the day of that (see `periods.served`).

    Parameters
    ----------
    lines
        Transaction lines with their value (`customers.transaction_lines`).
    bought
        Every purchase (see `customers.purchases`).
    service_costs
        What it cost to serve each customer.
    as_of
        The date of the analysis.

    Returns
    -------
    ibis.Table
        `customer_id`, `value`.
    """
    lines, purchases = as_table(lines), as_table(bought)
    first = purchases.filter(purchases["number"] == 1, purchases["date"] <= as_of - dt.timedelta(days=YEAR))
    first = first.select(buyer_id="customer_id", first="date")
    flows = lines.select("customer_id", "date", value=lines["value"].cast("decimal(38, 6)"))
    if service_costs is not None:
        costs = served(service_costs, lines)
        flows = flows.union(costs.select("customer_id", "date", value=-costs["cost"].cast("decimal(38, 6)")))
    flows = flows.inner_join(first, [("customer_id", "buyer_id")])
    day = flows["date"].delta(flows["first"], unit="day")
    flows = flows.filter((day >= 0) & (day < YEAR))
    return flows.group_by("customer_id").aggregate(value=flows["value"].sum().cast("float64"))


def similar(years: Table, customers: Table | None = None, *, alike: Sequence[str] = ALIKE) -> pd.DataFrame:
    """Return what a customer brings in the first year, by kind and by the way the customer was found.

    The fewer customers there are of a sort, and the more they differ among themselves, the more their mean is drawn to
    that of all (Bühlmann's credibility): the best estimate from few that neither ignores nor overrates them.

    Parameters
    ----------
    years
        The first years of customers (see `first_years`).
    customers
        The customers table.
    alike
        Its columns in which customers are similar; those that are not there are left out.

    Returns
    -------
    pandas.DataFrame
        One row per sort: the columns, `customers`, `value` (their mean), `weight` (of that mean, 0 to 1; the rest is
        the mean of all) and `value_if_won`. The last row, of any other sort, has no columns and the mean of all.

    Raises
    ------
    Unanswerable
        Nobody has been a customer for a year.

    Notes
    -----
    Bühlmann, H. and Straub, E. (1970). Glaubwürdigkeit für Schadensätze.
    """
    table = as_table(years)
    told = [name for name in alike if customers is not None and name in as_table(customers).columns]
    if told:
        table = table.left_join(_sorts(customers, told), [("customer_id", "person_id")])
        table = table.mutate(**{name: table[name].fill_null(UNKNOWN) for name in told})
    value = table["value"]
    grouped = table.group_by(told) if told else table
    sums = {"total": exact_sum(value).cast("float64"), "squares": exact_sum(value * value).cast("float64")}
    groups = grouped.aggregate(customers=table.count(), **sums).order_by(told or ["customers"]).to_pandas()
    n = groups["customers"].sum()
    if not n:
        raise Unanswerable(f"Nobody has been a customer for {YEAR} days, so nothing tells what a new one brings.")
    mean = groups["total"].sum() / n
    groups = groups.assign(value=groups["total"] / groups["customers"], weight=0.0)
    within = (groups["squares"] - groups["customers"] * groups["value"] ** 2).sum() / max(n - len(groups), 1)
    size = n - (groups["customers"] ** 2).sum() / n
    between = (groups["customers"] * (groups["value"] - mean) ** 2).sum() - (len(groups) - 1) * within
    if size > 0 and between > 0:
        groups["weight"] = groups["customers"] / (groups["customers"] + within * size / between)
    groups["value_if_won"] = groups["weight"] * groups["value"] + (1 - groups["weight"]) * mean
    rest = pd.DataFrame({"customers": [int(n)], "value": [mean], "weight": [0.0], "value_if_won": [mean]})
    return pd.concat([groups, rest])[[*told, *WORTH]].reset_index(drop=True) if told else rest


def with_value(leads: Table, worth: pd.DataFrame, customers: Table | None = None) -> ir.Table:
    """Return leads with their `value_if_won` and `expected_value`, which is that times the propensity."""
    table = as_table(leads)
    told = [name for name in worth.columns if name not in WORTH]
    mean = float(worth["value_if_won"].iloc[-1])
    if told and customers is not None:
        sorts = _sorts(customers, told)
        own = ibis.memtable(worth.iloc[:-1][[*told, "value_if_won"]])
        valued = sorts.inner_join(own, told).select("person_id", "value_if_won")
        table = table.left_join(valued, [("customer_id", "person_id")]).drop("person_id")
        table = table.mutate(value_if_won=table["value_if_won"].fill_null(mean))
    else:
        table = table.mutate(value_if_won=ibis.literal(mean, "float64"))
    return table.mutate(expected_value=table["propensity"] * table["value_if_won"])


def _sorts(customers: Table | None, told: Sequence[str]) -> ir.Table:
    people = as_table(customers)
    return people.select(
        person_id="customer_id", **{name: people[name].cast("string").fill_null(UNKNOWN) for name in told}
    )
