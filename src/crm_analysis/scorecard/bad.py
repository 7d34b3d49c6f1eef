"""Bad customers, with the evidence: never on one month or one order alone."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.scorecard.words import joined, percent

OFTEN = 3  # days with returns, or cases, from which they are more than a bad month
ACTIONS = {
    "end": "End the business unless new prices are agreed.",
    "reprice": "Agree on new prices or terms.",
    "plan": "Agree a payment plan in person.",
    "prepay": "Deliver against prepayment only.",
    "returns": "Charge for returns.",
    "care": "Have the causes removed, then see whether it pays.",
}


def bad(
    customers: Table,
    worth: Table,
    *,
    usual_margin: float | None,
    big: Table,
    late_days: int = 30,
    most_returns: float = 0.10,
    most_complaints: float = 0.5,
) -> ir.Table:
    """Return the bad customers, each with the evidence, the most money at stake first.

    A customer is bad who loses money (in the whole period, in at least half of its quarters with any business, and in
    at least two of them), who pays late as a habit (`receivables.by_customer`), who returns much (more than
    `most_returns` of sales, on at least three days) or who complains much (more than `most_complaints` cases for a
    purchase, and at least three of them in more than one month).

    Parameters
    ----------
    customers
        Accounts with criteria (see `criteria`).
    worth
        What each customer was worth in each quarter of the period (`periods.by_period`).
    usual_margin
        The company's profit for each unit of revenue; below 0 it counts as 0; None if it is not known.
    big
        The big customers, by `customer_id`; see `late_payers`.
    late_days
        With which `receivables.by_customer` was made.
    most_returns, most_complaints
        See above.

    Returns
    -------
    ibis.Table
        `customer_id`, `evidence` (in words), `action`, `at_stake` (money: profit below the usual margin, or what was
        returned where costs are not known, and what is at risk of what is owed), `revenue`, `profit` (where known);
        most at stake first. Raises `Unanswerable` if the data can show none of the four.
    """
    if not (0 <= most_returns <= 1 and most_complaints >= 0):
        raise ValueError(
            f"returns are at most a share of sales, complaints at least 0, not {most_returns} and {most_complaints}"
        )
    table, quarters = as_table(customers), as_table(worth)
    no, there = ibis.literal(False), set(table.columns)
    costs, paid, complained = ("profit" in there), ("bad_payer" in there), ("cases" in there)
    if not (costs or paid or complained) and not (table["returns"] > 0).any().fill_null(False).execute():
        raise Unanswerable("The data have no costs, payments, cases or returns, so nothing tells of a bad customer.")
    counted = quarters.group_by(of="customer_id").aggregate(
        quarters=quarters.count(), losses=quarters["value"].count(where=quarters["value"] < 0)
    )
    table = table.left_join(counted, table["customer_id"] == counted["of"]).drop("of")
    losing = (
        (table["profit"] < 0) & (table["losses"] >= 2) & (table["losses"] * 2 >= table["quarters"]) if costs else no
    )
    late = table["bad_payer"].fill_null(False) if paid else no
    returning = (table["return_days"] >= OFTEN) & (table["return_share"] > most_returns)
    complaining = (
        (table["cases"] >= OFTEN) & (table["case_months"] >= 2) & (table["complaints"] > most_complaints)
        if complained
        else no
    )
    table = table.mutate(
        losing=losing.fill_null(False),
        late_habit=late,
        returning=returning.fill_null(False),
        complaining=complaining.fill_null(False),
    )
    table = table.filter(table["losing"] | table["late_habit"] | table["returning"] | table["complaining"])
    told = [
        (
            table["returning"],
            percent(table["return_share"]) + " of sales returned on " + _text(table["return_days"]) + " days",
        )
    ]
    if costs:
        words = "loss in " + _text(table["losses"]) + " of " + _text(table["quarters"]) + " quarters"
        told.insert(0, (table["losing"], words))
    if paid:
        words = _text(table["late"]) + " of " + _text(table["invoices"]) + f" invoices over {late_days} days late"
        told.insert(costs, (table["late_habit"], words))
    if complained:
        words = _text(table["cases"]) + " complaints on " + _text(table["purchases"]) + " purchases"
        told.append((table["complaining"], words))
    stake = (
        ibis.greatest(table["revenue"] * max(usual_margin or 0.0, 0.0) - table["profit"], 0.0)
        if costs
        else table["returns"]
    )
    if paid:
        stake = stake + ibis.greatest(table["at_risk"].fill_null(0.0), 0.0)
    also = table["late_habit"] | table["returning"] | table["complaining"]
    action = ibis.cases(
        (table["losing"] & (table["losses"] == table["quarters"]) & also, ACTIONS["end"]),
        (table["losing"], ACTIONS["reprice"]),
        (table["late_habit"], _terms(table, big)),
        (table["returning"], ACTIONS["returns"]),
        else_=ACTIONS["care"],
    )
    found = table.mutate(at_stake=stake, evidence=joined(told, "; "), action=action)
    columns = ["customer_id", "evidence", "action", "at_stake", "revenue", *(["profit"] if costs else [])]
    reasons = ["losing", "late_habit", "returning", "complaining"]
    return found.order_by(ibis.desc("at_stake"), "customer_id").select(*columns, *reasons)


def late_payers(owed: Table, big: Table) -> ir.Table:
    """Return the customers who pay late as a habit, those with most at risk first.

    Parameters
    ----------
    owed
        See `receivables.by_customer`.
    big
        The big customers, by `customer_id`: with them a plan is agreed, as they are worth a talk.

    Returns
    -------
    ibis.Table
        The columns of `owed`, `size` (`big` or `small`) and `to_do`.
    """
    table = as_table(owed)
    table = table.filter(table["bad_payer"])
    table = table.mutate(size=_among(table, big).ifelse("big", "small"), to_do=_terms(table, big))
    return table.order_by(ibis.desc("at_risk"), ibis.desc("days_late"), "customer_id")


def _among(table: ir.Table, big: Table) -> ir.BooleanValue:
    return table["customer_id"].isin(as_table(big)["customer_id"])


def _terms(table: ir.Table, big: Table) -> ir.StringValue:
    return _among(table, big).ifelse(ACTIONS["plan"], ACTIONS["prepay"])


def _text(number: ir.NumericValue) -> ir.StringValue:
    return number.cast("int64").cast("string")
