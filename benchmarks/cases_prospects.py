"""Leads at decision dates beside hand-written SQL: the panel, those who are no leads any more, and first years."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import pairwise

import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import customers, prospects

START, AS_OF = dt.date(2023, 1, 1), dt.date(2025, 12, 31)
DATES = prospects.decision_dates(START, AS_OF)
DAYS = ", ".join(f"(DATE '{day}')" for day in DATES)

CACHED: dict[str, Callable[[Tables], ir.Table]] = {
    "prospects_bought": lambda t: customers.purchases(t["transactions"]),
    "prospects_lines": lambda t: customers.transaction_lines(t["transactions"]),
    "prospects_panel": lambda t: prospects.panel(t["contacts"], t["prospects_bought"], dates=DATES),
}


def banded(days: str, starts: tuple[int, ...]) -> str:
    steps = " ".join(
        f"WHEN {days} < {high} THEN '{low if high - low == 1 else f'{low}–{high - 1}'}'"
        for low, high in pairwise(starts)
    )
    return f"CASE {steps} ELSE '{starts[-1]} or more' END"


SPOKEN = """
    SELECT customer_id, max(time::DATE) AS date, bool_or(interest >= 2) AS wants FROM contacts
    GROUP BY customer_id, time::DATE"""
FIRST = "SELECT customer_id, date AS first FROM prospects_bought WHERE number = 1"

CASES = [
    Case(
        "prospects: leads at decision dates",
        lambda t: prospects.panel(t["contacts"], t["prospects_bought"], dates=DATES),
        f"""
        WITH talks AS (
            SELECT customer_id, time::DATE AS date, interest, row_number() OVER w AS contacts,
                   min(time::DATE) OVER w AS met, lead(time::DATE) OVER w AS following,
                   max(interest) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier,
                   max((interest >= 2)::INT) OVER w AS wants
            FROM contacts WINDOW w AS (PARTITION BY customer_id ORDER BY time, contact_id)),
        states AS (SELECT *, least(following, (date + INTERVAL 90 DAY)::DATE) AS until FROM talks
                   WHERE following IS NULL OR following > date)
        SELECT customer_id, day AS "at", if(wants = 1, 'target', 'prospect') AS stage, contacts, date AS last_contact,
               {banded("contacts", (1, 2, 3, 4, 5, 6, 7, 8))} AS contacts_so_far,
               {banded("(day - date)", (0, 7, 14, 30, 60))} AS last_contact_days,
               {banded("(day - met)", (0, 30, 90, 180, 365))} AS known_days,
               coalesce(interest::VARCHAR, 'not recorded') AS last_interest,
               coalesce(earlier::VARCHAR, 'not recorded') AS earlier_interest,
               coalesce(first <= day + INTERVAL 90 DAY, false) AS converted
        FROM states JOIN (VALUES {DAYS}) days(day) ON date <= day AND until > day
        LEFT JOIN ({FIRST}) USING (customer_id) WHERE first IS NULL OR first > day""",
    ),
    Case(
        "prospects: distinct leads",
        lambda t: (
            t["prospects_panel"]
            .group_by(prospects.features(t["prospects_panel"]))
            .aggregate(leads=lambda p: p.count(), buyers=lambda p: p["converted"].cast("int64").sum())
        ),
        """
        SELECT contacts_so_far, last_contact_days, known_days, last_interest, earlier_interest,
               count(*) AS leads, sum(converted::BIGINT) AS buyers
        FROM prospects_panel GROUP BY ALL""",
    ),
    Case(
        "prospects: leads who fell silent",
        lambda t: prospects.fallen_silent(t["contacts"], t["prospects_bought"], as_of=AS_OF),
        f"""
        SELECT customer_id, since, if(wanted, 'target', 'prospect') AS stage, date AS last_contact,
               following AS next_contact, first AS first_purchase
        FROM (SELECT customer_id, date, bool_or(wants) OVER w AS wanted, lead(date) OVER w AS following,
                     (date + INTERVAL 90 DAY)::DATE AS since
              FROM ({SPOKEN}) WINDOW w AS (PARTITION BY customer_id ORDER BY date))
        LEFT JOIN ({FIRST}) USING (customer_id)
        WHERE since <= DATE '{AS_OF}'
          AND (following IS NULL OR following > since) AND (first IS NULL OR first >= since)""",
    ),
    Case(
        "prospects: first years",
        lambda t: prospects.first_years(t["prospects_lines"], t["prospects_bought"], as_of=AS_OF),
        f"""
        SELECT customer_id, sum(value)::DOUBLE AS value
        FROM prospects_lines JOIN ({FIRST}) USING (customer_id)
        WHERE first <= DATE '{AS_OF}' - 365 AND date - first BETWEEN 0 AND 364 GROUP BY customer_id""",
    ),
]
