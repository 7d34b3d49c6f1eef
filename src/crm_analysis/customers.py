"""One row per customer: what they bought, when, and what they are worth."""

from __future__ import annotations

import datetime as dt
import math
from typing import TypeAlias

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import numerals
from crm_analysis.errors import Unanswerable
from crm_analysis.intake import MONEY_TYPE

Table: TypeAlias = ir.Table | pd.DataFrame


def as_table(table: Table) -> ir.Table:
    """Return an Ibis table; a pandas frame is wrapped."""
    return ibis.memtable(table) if isinstance(table, pd.DataFrame) else table


def exact_sum(money: ir.NumericValue) -> ir.NumericValue:
    """Return a sum of money made of decimals, so that the order of rows does not change its last digit."""
    return money.cast("decimal(38, 6)").sum()


def transaction_lines(transactions: Table, products: Table | None = None, *, until: dt.date | None = None) -> ir.Table:
    """Return transaction lines with what each is worth.

    Parameters
    ----------
    transactions
        Clean transactions.
    products
        Their `unit_cost` times `quantity` is the cost of lines that have none of their own; one row per product.
    until
        The last date to read.

    Returns
    -------
    ibis.Table
        The columns of the transactions, dates as days and money as decimals; `cost` where costs are known (0 for a
        line without one), and `value` (amount - cost, else amount).
    """
    sold = _with_cost(_lines(transactions, "amount", "cost", "list_amount", until=until), products)
    return sold.mutate(value=sold["amount"] - sold["cost"] if "cost" in sold.columns else sold["amount"])


def purchases(transactions: Table, products: Table | None = None) -> ir.Table:
    """Return every purchase: all of a customer's lines on one day, together.

    A day on which only returns happened (net amount below 0) is no purchase; a free order (0) is one.

    Parameters
    ----------
    transactions
        Clean transactions up to the as-of date.
    products
        Where lines without a cost find it (see `transaction_lines`).

    Returns
    -------
    ibis.Table
        `customer_id`, `date`, `amount`, `value` (amount - cost where costs are known, else amount), `number` (1 for
        the first purchase), `next_date` (NULL for the last).
    """
    sold = transaction_lines(transactions, products)
    days = sold.group_by("customer_id", "date").aggregate(amount=sold["amount"].sum(), value=sold["value"].sum())
    days = days.filter(days["amount"] >= 0)
    by_customer = ibis.window(group_by="customer_id", order_by="date")
    return days.mutate(
        number=ibis.row_number().over(by_customer) + 1,
        next_date=days["date"].lead().over(by_customer),
    )


def summary(
    transactions: Table,
    products: Table | None = None,
    service_costs: Table | None = None,
    *,
    as_of: dt.date,
    unit_days: int = 7,
) -> ir.Table:
    """Return what is known of each customer at the as-of date.

    Parameters
    ----------
    transactions
        Clean transactions; those after the as-of date are not read.
    products
        Where lines without a cost find it (see `transaction_lines`).
    service_costs
        What it cost to serve each customer; those after the as-of date are not read. See
        `unassigned_service_cost` for the costs of those who have no transaction.
    as_of
        The date of the analysis.
    unit_days
        Days in one unit of `recency` and `T`: weeks of 7 days, unless 1 is given.

    Returns
    -------
    ibis.Table
        One row per customer with a transaction: `customer_id`; `first_purchase`, `last_purchase` (dates; NULL for
        those who only returned goods); `purchases`; `frequency` (purchases after the first), `recency` (first to
        last purchase) and `T` (first purchase to as-of date) as the lifetime models define them; `monetary_value`
        (average amount of the purchases after the first, 0 without one); `purchased` (amount of all purchases);
        `revenue` (that less the returns of other days); `cost` and `profit` where costs are known (profit = amount -
        cost - service cost, never clipped at 0); `value` (profit, else revenue).

    Notes
    -----
    Sums are made of decimals, so they do not depend on the order of rows, and become floats at the end.
    """
    sold = transaction_lines(transactions, products, until=as_of)
    costs = {"cost": lambda t: t["cost"].sum()} if "cost" in sold.columns else {}
    days = sold.group_by("customer_id", "date").aggregate(amount=lambda t: t["amount"].sum(), **costs)
    bought = days["amount"] >= 0
    totals = {"cost": days["cost"].sum()} if costs else {}
    customers = days.group_by("customer_id").aggregate(
        first_purchase=days["date"].min(where=bought),
        last_purchase=days["date"].max(where=bought),
        purchases=days["date"].count(where=bought),
        bought=days["amount"].sum(where=bought),
        first_amount=days["amount"].argmin(days["date"], where=bought),
        revenue=days["amount"].sum(),
        **totals,
    )
    if service_costs is not None:
        customers = _with_service(customers, _lines(service_costs, "cost", until=as_of))
        own = customers["cost"] if costs else ibis.literal(0)
        customers = customers.mutate(cost=own + customers["service"])
    if "cost" in customers.columns:
        customers = customers.mutate(profit=customers["revenue"] - customers["cost"])
    frequency = ibis.greatest(customers["purchases"] - 1, 0)
    repeated = (customers["bought"] - customers["first_amount"]).cast("float64") / frequency.nullif(0)
    money = {c: customers[c].cast("float64") for c in ("revenue", "cost", "profit") if c in customers.columns}
    return customers.select(
        "customer_id",
        "first_purchase",
        "last_purchase",
        "purchases",
        frequency=frequency,
        recency=_units(customers["first_purchase"], customers["last_purchase"], unit_days),
        T=_units(customers["first_purchase"], ibis.literal(as_of), unit_days),
        monetary_value=repeated.fill_null(0.0),
        purchased=customers["bought"].cast("float64").fill_null(0.0),
        **money,
        value=money.get("profit", money["revenue"]),
    )


def values(
    transactions: Table, products: Table | None = None, service_costs: Table | None = None, *, as_of: dt.date
) -> ir.Table:
    """Return what every customer is worth at the as-of date: the `value` of `summary`, in one sum.

    Parameters
    ----------
    transactions, products, service_costs, as_of
        See `summary`.

    Returns
    -------
    ibis.Table
        One row per customer with a transaction: `customer_id`, `value`.
    """
    sold = transaction_lines(transactions, products, until=as_of)
    worth = sold.group_by("customer_id").aggregate(value=sold["value"].sum())
    if service_costs is not None:
        worth = _with_service(worth, _lines(service_costs, "cost", until=as_of))
        worth = worth.mutate(value=worth["value"] - worth["service"])
    return worth.select("customer_id", value=worth["value"].cast("float64"))


def total_value(total: float) -> float:
    """Return a sum of values of which shares can be told; raises `Unanswerable` if it is not above 0."""
    if pd.isna(total):
        raise Unanswerable("There are no customers, so there are no shares of their value.")
    if total <= 0:
        raise Unanswerable(
            f"The customers' values sum to {numerals.number(total, 2)}; there are no shares of a total that is not "
            "above 0."
        )
    return float(total)


def gap_quantiles(bought: ir.Table, *quantiles: float) -> list[int]:
    """Return, in days, how long customers pause between two purchases: quantiles of all gaps, rounded up.

    Raises `Unanswerable` if no customer has bought twice, or at all.
    """
    gaps = bought["next_date"].delta(bought["date"], unit="day")
    asked = {f"q{i}": gaps.quantile(q) for i, q in enumerate(quantiles)}
    found = bought.aggregate(**asked, purchases=bought.count()).to_pandas().iloc[0]
    if not found.pop("purchases"):
        raise Unanswerable("Nobody has purchased anything yet.")
    if found.isna().any():
        raise Unanswerable("No customer has bought on two days, so nothing tells how long a customer usually pauses.")
    return [math.ceil(round(days, 6)) for days in found]  # 7.0000000001 days are 7


def has_costs(transactions: Table, products: Table | None = None, service_costs: Table | None = None) -> bool:
    """Whether anything is known of costs, so that profit can be told from revenue."""
    return service_costs is not None or "cost" in _with_cost(as_table(transactions), products).columns


def lines_without_cost(transactions: Table, products: Table | None = None) -> int:
    """Return how many transaction lines have no cost, although others have."""
    lines = _with_cost(as_table(transactions), products, unknown=None)
    return int(lines["cost"].isnull().sum().fill_null(0).execute()) if "cost" in lines.columns else 0


def unassigned_service_cost(transactions: Table, service_costs: Table, *, as_of: dt.date) -> float:
    """Return what it cost, by the as-of date, to serve those who have no transaction: it is in nobody's profit."""
    served = _lines(service_costs, "cost", until=as_of)
    others = served.anti_join(_lines(transactions, until=as_of), "customer_id")
    return float(others.aggregate(cost=others["cost"].sum().fill_null(0).cast("float64")).to_pandas()["cost"].iloc[0])


def _lines(table: Table, *money: str, until: dt.date | None = None) -> ir.Table:
    """Return dated lines up to a date, with days as dates and money as decimals, as clean tables have them."""
    table = as_table(table)
    exact = {column: table[column].cast(MONEY_TYPE) for column in money if column in table.columns}
    table = table.mutate(date=table["date"].cast("date"), **exact)
    return table if until is None else table.filter(table["date"] <= until)


def _with_cost(transactions: ir.Table, products: Table | None, unknown: int | None = 0) -> ir.Table:
    """Give each line its cost: its own, else quantity × unit cost; leave `cost` out where nobody knows any."""
    known = []
    if "cost" in transactions.columns:
        known.append(transactions["cost"])
    if (
        products is not None
        and "unit_cost" in products.columns
        and {"product_id", "quantity"} <= set(transactions.columns)
    ):
        prices = as_table(products).select(product="product_id", unit_cost="unit_cost")
        transactions = transactions.left_join(prices, transactions["product_id"] == prices["product"])
        known.append((transactions["quantity"] * transactions["unit_cost"].cast("float64")).cast(MONEY_TYPE))
    if not known:
        return transactions
    if unknown is not None:
        known.append(ibis.literal(unknown))
    return transactions.mutate(cost=ibis.coalesce(*known))


def _with_service(customers: ir.Table, service_costs: ir.Table) -> ir.Table:
    """Add what it cost to serve each customer: `service`, 0 of those of whom no such cost is known."""
    totals = service_costs.group_by(served_id="customer_id").aggregate(service=service_costs["cost"].sum())
    joined = customers.left_join(totals, customers["customer_id"] == totals["served_id"]).drop("served_id")
    return joined.mutate(service=joined["service"].fill_null(0))


def _units(start: ir.DateValue, end: ir.DateValue, unit_days: int) -> ir.FloatingValue:
    return end.delta(start, unit="day").cast("float64") / unit_days
