"""The leads of today: how probable it is that each buys soon, why, and what is to be expected of each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.prospects.panel import ATTRIBUTES, decision_dates, features, panel
from crm_analysis.prospects.propensity import Propensity, reasons
from crm_analysis.prospects.validation import Validation, validate
from crm_analysis.prospects.worth import first_years, similar, with_value
from crm_analysis.rates import FEW

SCORED = ["customer_id", "stage", "contacts", "last_contact", "propensity"]


@dataclass(frozen=True)
class Learnt:
    """What the past tells about who buys.

    Attributes
    ----------
    base_rate
        Share of the leads at past dates who bought within the horizon.
    model
        What tells them apart, or None where no model beats the base rate on dates that it has not seen.
    validation
        How it did on those, or None where the history is too short to tell.
    why
        Why there is no model; empty if there is one.
    """

    base_rate: float
    model: Propensity | None
    validation: Validation | None
    why: str = ""

    def effects(self) -> pd.DataFrame:
        """Return what each category adds (see `Propensity.effects`); raises `Unanswerable` without a model."""
        if self.model is None or self.validation is None:
            raise Unanswerable(self.why)
        return self.model.effects(self.validation.repeated)


def learn(past: Table, *, horizon_days: int = 90) -> Learnt:
    """Return what leads at past dates tell about who buys; all of them are learnt from once the model is validated.

    Parameters
    ----------
    past
        Leads at past dates whose horizon has ended (see `panel`); cached, because it is read several times.
    horizon_days
        Days after a date in which they were to buy.

    Raises
    ------
    Unanswerable
        There were fewer than 30.
    """
    table = as_table(past)
    found = table.aggregate(leads=table.count(), rate=table["converted"].cast("float64").mean()).to_pandas().iloc[0]
    if found["leads"] < FEW:
        raise Unanswerable(
            f"What became of leads is known of {numerals.count(found['leads'])}; {FEW} are needed to tell how many "
            "of them buy."
        )
    try:
        validation = validate(table, horizon_days=horizon_days)
    except Unanswerable as reason:
        return Learnt(float(found["rate"]), None, None, str(reason))
    if not validation.useful:
        why = "On dates that it had not seen, the model was not clearly better than the base rate."
        return Learnt(float(found["rate"]), None, validation, why)
    return Learnt(float(found["rate"]), Propensity(features(table)).fit(table), validation)


def judged(now: Table, learnt: Learnt) -> ir.Table:
    """Return the leads of one date with their `propensity` and the `reasons` for it.

    Parameters
    ----------
    now
        Leads at the as-of date (see `panel`).
    learnt
        What the past tells. Without a model everybody has the base rate, and no reasons.

    Returns
    -------
    ibis.Table
        `customer_id`, `stage`, `contacts`, `last_contact`, `propensity`, `reasons` (see `propensity.reasons`).
    """
    table = as_table(now)
    rows = learnt.model.distinct(table) if learnt.model else pd.DataFrame()
    if learnt.model is None or rows.empty:
        table = table.mutate(propensity=ibis.literal(learnt.base_rate, "float64"), reasons=ibis.literal(""))
        return table.select(*SCORED, "reasons")
    rows = rows.assign(reasons=reasons(rows, learnt.effects()).astype("string"))
    return learnt.model.joined(table, rows, "propensity", "reasons").select(*SCORED, "reasons")


def scored(
    contacts: Table,
    bought: Table,
    lines: Table,
    customers: Table | None = None,
    service_costs: Table | None = None,
    *,
    as_of: dt.date,
    horizon_days: int = 90,
    lead_days: int = 90,
    attributes: Sequence[str] = ATTRIBUTES,
) -> ir.Table:
    """Return every lead at the as-of date with what is to be expected of it: all of this package in one call.

    Parameters
    ----------
    contacts, bought, lines, customers, service_costs
        Contacts, every purchase (`customers.purchases`), transaction lines with their value
        (`customers.transaction_lines`) and, where they are there, the customers table and service costs. What
        happened after the as-of date is not read.
    as_of
        The date of the analysis.
    horizon_days, lead_days, attributes
        See `panel`.

    Returns
    -------
    ibis.Table
        The highest expected value first: `customer_id`, `stage` (`prospect` or `target`), `contacts`, `last_contact`,
        `propensity` (to buy within the horizon), `value_if_won` (of the first year), `expected_value`, `reasons`.

    Raises
    ------
    Unanswerable
        There is too little history (see `decision_dates`, `learn` and `similar`).
    """
    contacts, bought, lines = (
        table.filter(table[date].cast("date") <= as_of)
        for table, date in ((as_table(contacts), "time"), (as_table(bought), "date"), (as_table(lines), "date"))
    )
    if service_costs is not None:
        service_costs = as_table(service_costs).filter(lambda t: t["date"].cast("date") <= as_of)
    rules = {"horizon_days": horizon_days, "lead_days": lead_days}
    first = lines.aggregate(first=lines["date"].min()).to_pandas()["first"].iloc[0]
    dates = decision_dates(pd.Timestamp(first).date(), as_of, **rules)
    past = panel(contacts, bought, customers, dates=dates, attributes=attributes, **rules).cache()
    learnt = learn(past, horizon_days=horizon_days)
    now = panel(contacts, bought, customers, dates=[as_of], attributes=attributes, **rules)
    worth = similar(first_years(lines, bought, service_costs, as_of=as_of), customers)
    return ranked(with_value(judged(now, learnt), worth, customers))


def ranked(leads: Table) -> ir.Table:
    """Put leads into order, the highest expected value first."""
    table = as_table(leads).relocate("reasons", after="expected_value")
    return table.order_by(ibis.desc("expected_value"), ibis.asc("customer_id"))
