"""From list price to profit: what each customer leaves of what is charged, and what takes the rest."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import periods
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

# What is taken from the list price on the way to profit, in this order.
DEDUCTIONS = {"discounts": "discounts", "returns": "returns", "cost": "cost of goods", "service": "cost to serve"}
FIRST = {"list_amount": "list price", "gross": "sales"}  # what it is taken from
MONEY = "decimal(38, 6)"


def accounts(lines: Table, service_costs: Table | None, start: dt.date, end: dt.date) -> ir.Table:
    """Return each customer's way from list price to profit, after `start` and up to `end`.

    Parameters
    ----------
    lines
        Transaction lines (`customers.transaction_lines`).
    service_costs
        What it cost to serve each customer, if it is known (see `periods.served`).
    start, end
        The day before the first one, and the last day.

    Returns
    -------
    ibis.Table
        One row per customer to whom something happened: `customer_id`, `purchases`, `return_days` (days on which
        something came back); `list_amount` and `discounts` where the lines have list amounts (a line without one
        counts as sold at list price; more than the list price is a negative discount); `gross` (sales), `returns`,
        `revenue`; `cost` and `service` where they are known; with one of these `profit`, and `margin` (profit for
        each unit of revenue; NULL unless there is revenue). Money in floats, from exact sums, all deductions
        positive: list_amount - discounts - returns = revenue, and revenue - cost - service = profit.
    """
    sold = as_table(lines)
    sold = sold.filter(sold["date"] <= end)
    within = sold.filter(sold["date"] > start)
    sale, amount = within["amount"] >= 0, within["amount"]
    parts = {"gross": sale.ifelse(amount, 0), "returns": sale.ifelse(0, -amount)}
    if "list_amount" in within.columns:
        parts["list_amount"] = sale.ifelse(within["list_amount"].fill_null(amount), 0)
    if "cost" in within.columns:
        parts["cost"] = within["cost"]
    days = within.group_by("customer_id", "date").aggregate(
        **{name: part.sum().cast(MONEY) for name, part in parts.items()}
    )
    days = days.mutate(bought=days["gross"] >= days["returns"])
    if service_costs is not None:
        served = periods.served(service_costs, sold)
        served = served.filter(served["date"] > start, served["date"] <= end)
        nothing = dict.fromkeys(parts, ibis.literal(0).cast(MONEY))
        days = days.mutate(service=nothing["gross"]).union(
            served.select(
                "customer_id", "date", **nothing, bought=ibis.literal(False), service=served["cost"].cast(MONEY)
            )
        )
        parts["service"] = served["cost"]
    found = days.group_by("customer_id").aggregate(
        purchases=days["bought"].cast("int64").sum(),
        return_days=days["date"].count(where=days["returns"] > 0),
        **{name: days[name].sum() for name in parts},
    )
    return _with_results(found)


def totals(accounts: Table) -> dict[str, float]:
    """Return the sums of all money in accounts, and the number of `customers`."""
    table = as_table(accounts)
    names = [name for name in ("list_amount", *DEDUCTIONS, "gross", "revenue", "profit") if name in table.columns]
    sums = {name: exact_sum(table[name]).cast("float64").fill_null(0.0) for name in names}
    found = table.aggregate(customers=table.count(), **sums).to_pandas().iloc[0]
    return {name: float(value) for name, value in found.items()}


def usual_margin(totals: dict[str, float]) -> float:
    """Return the profit that the company makes of each unit of revenue.

    Raises `Unanswerable` if nothing is known of costs, or if there is no revenue.
    """
    if "profit" not in totals:
        raise Unanswerable("The data have no costs, so nothing tells which customers earn the company money.")
    if totals["revenue"] <= 0:
        raise Unanswerable("There is no revenue in this period, so there is no usual margin to compare with.")
    return totals["profit"] / totals["revenue"]


def waterfall(totals: dict[str, float]) -> pd.DataFrame:
    """Return the steps from list price to profit.

    Parameters
    ----------
    totals
        The sums of some customers' accounts (see `totals`).

    Returns
    -------
    pandas.DataFrame
        `step` (`list price`, else `sales`; what is taken; `profit`, else `revenue`), `amount` (deductions below 0, so
        that all but the last sum to the last), `share` of the first.

    Raises
    ------
    Unanswerable
        Nothing is taken that is known, or there are no sales to take it from.
    """
    first, last = ("list_amount" if "list_amount" in totals else "gross"), "profit" if "profit" in totals else "revenue"
    taken = [name for name in DEDUCTIONS if totals.get(name)]
    if not taken:
        raise Unanswerable("The data have no list prices, returns or costs, so nothing tells what takes the revenue.")
    if totals[first] <= 0:
        raise Unanswerable("There are no sales in this period from which anything could be taken.")
    frame = pd.DataFrame(
        {
            "step": [
                FIRST[first],
                *(DEDUCTIONS[name] for name in taken),
                last,
            ],
            "amount": [totals[first], *(-totals[name] for name in taken), totals[last]],
        }
    )
    return frame.assign(share=frame["amount"] / totals[first])


def _with_results(sums: ir.Table) -> ir.Table:
    """Add what follows from the sums; all of it exact, and floats in the end."""
    money = {
        name: sums[name] for name in ("list_amount", "gross", "returns", "cost", "service") if name in sums.columns
    }
    money["revenue"] = sums["gross"] - sums["returns"]
    if "list_amount" in money:
        money["discounts"] = sums["list_amount"] - sums["gross"]
    spent = [sums[name] for name in ("cost", "service") if name in money]
    if spent:
        money["profit"] = sum((-cost for cost in spent), money["revenue"])
    order = ["list_amount", "discounts", "gross", "returns", "revenue", "cost", "service", "profit"]
    found = sums.select(
        *("customer_id", "purchases", "return_days"),
        **{name: money[name].cast("float64") for name in order if name in money},
    )
    if not spent:
        return found
    return found.mutate(margin=(found["revenue"] > 0).ifelse(found["profit"] / found["revenue"].nullif(0), None))
