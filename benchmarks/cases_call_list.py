"""The call list beside hand-written SQL: who gives a reason, who calls whom, and what became of a list."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis
import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import call_list, customers, periods, treatment

SINCE, THEN, AS_OF = dt.date(2024, 12, 31), dt.date(2025, 6, 30), dt.date(2025, 12, 31)
CREW = [f"S{number:02}" for number in range(40)]
LIMITS = {"calls_a_day": 40, "days": 5, "min_days_between": 14}


def tiered(t: Tables) -> ir.Table:
    """Return everybody's tier by the last year's value."""
    lines = customers.transaction_lines(t["transactions"])
    return treatment.tiered(t["summary"], periods.by_period(lines, None, [SINCE, AS_OF]))


def quotes(t: Tables) -> ir.Table:
    """Return a quote of the day after each line of the last weeks."""
    table = t["transactions"].filter(ibis._["date"] > dt.date(2025, 11, 20))
    return table.select("customer_id", "product_id", date=table["date"] + ibis.interval(days=1), unit_price="amount")


def managers(t: Tables) -> ir.Table:
    """Return an account manager for half of the customers."""
    table, number = t["customers"], t["customers"]["customer_id"].right(2)
    table = table.filter(number < "50")
    return table.select("customer_id", account_manager_id=ibis.literal("S").concat(table["customer_id"].right(2)))


def candidates(t: Tables) -> ir.Table:
    return call_list.candidates(
        t["call_tiered"],
        t["bought"],
        as_of=AS_OF,
        contacts=t["contacts"],
        quotes=t["call_quotes"],
        lines=t["transactions"],
    )


def placed(t: Tables) -> ir.Table:
    return call_list.placed(t["call_candidates"], CREW, t["call_managers"], as_of=AS_OF, **LIMITS)


CACHED: dict[str, Callable[[Tables], ir.Table]] = {  # beside the `summary` and the `bought` of the other analyses
    "call_tiered": tiered,
    "call_quotes": quotes,
    "call_managers": managers,
    "call_candidates": candidates,
    "call_placed": placed,
    "call_listed": lambda t: t["call_placed"].filter(ibis._["agent_id"].notnull()).select("customer_id", "worth"),
    "call_worth": lambda t: periods.by_period(customers.transaction_lines(t["transactions"]), None, [THEN, AS_OF]),
}


def in_days(number: str) -> str:
    return f"{number} || if({number} = 1, ' day', ' days')"


QUIET = f"""
    SELECT customer_id, 'silent for ' || {in_days("silence")} || ', usual pause ' || round(usual)::BIGINT AS said
    FROM (SELECT customer_id, count(*) AS n, DATE '{AS_OF}' - max(date) AS silence, median(next_date - date) AS usual,
                 max(next_date - date) AS longest FROM bought GROUP BY ALL)
    WHERE n >= 3 AND silence > longest AND silence >= 2 * usual"""
QUOTED = f"""
    SELECT customer_id, if(n > 1, n || ' quotes, the last ', 'quote ') || {in_days("ago")} || ' ago, not ordered'
               || if(n > 1, ' (unit prices together ', ' (unit price ') || total || ')' AS said
    FROM (SELECT customer_id, count(*) AS n, DATE '{AS_OF}' - max(q.date)::DATE AS ago,
                 round(sum(unit_price))::BIGINT AS total
          FROM call_quotes q
          LEFT JOIN (SELECT customer_id, product_id, max(date) AS sold FROM transactions WHERE amount > 0
                     GROUP BY ALL) s USING (customer_id, product_id)
          WHERE q.date > DATE '{AS_OF}' - 30 AND (sold IS NULL OR sold < q.date) GROUP BY ALL)"""
DUE = f"""
    SELECT customer_id, if(last IS NULL, 'never contacted in ' || {in_days("since")},
               {in_days("since")} || ' since our last contact') || ', due every ' || cadence AS said
    FROM (SELECT customer_id, last, DATE '{AS_OF}' - coalesce(last, first_purchase) AS since,
                 CASE tier WHEN 'important' THEN 30 WHEN 'major' THEN 60 WHEN 'ordinary' THEN 180 ELSE 0 END AS cadence
          FROM call_tiered LEFT JOIN (SELECT customer_id, max(time)::DATE AS last FROM contacts
                                      WHERE purpose <> 'market' GROUP BY ALL) USING (customer_id))
    WHERE cadence > 0 AND since > cadence"""

CASES: list[Case] = [
    Case(
        "call list: candidates",
        candidates,
        f"""
        SELECT customer_id, CASE WHEN q.said IS NOT NULL THEN 'quote' WHEN s.said IS NOT NULL THEN 'silent'
                                 ELSE 'visit due' END AS kind,
               concat_ws('; ', q.said, s.said, d.said) AS reason, 'sales' AS purpose, value AS worth, last_contact,
               CASE tier WHEN 'important' THEN 30 WHEN 'major' THEN 60 WHEN 'ordinary' THEN 180 END AS again_after
        FROM call_tiered LEFT JOIN ({QUOTED}) q USING (customer_id) LEFT JOIN ({QUIET}) s USING (customer_id)
        LEFT JOIN ({DUE}) d USING (customer_id)
        LEFT JOIN (SELECT customer_id, max(time)::DATE AS last_contact FROM contacts GROUP BY ALL) USING (customer_id)
        WHERE coalesce(q.said, s.said, d.said) IS NOT NULL
        ORDER BY worth DESC, customer_id""",
    ),
    Case(
        "call list: who calls whom",
        placed,
        f"""
        WITH crew AS (SELECT 'S' || lpad(i::VARCHAR, 2, '0') AS agent FROM range(40) t(i)),
        mayor AS (SELECT c.*, agent AS manager,
                         CASE WHEN DATE '{AS_OF}' - last_contact < 14 THEN 'too soon' WHEN worth > 0 THEN 'waiting'
                              ELSE 'worth nothing' END AS standing
                  FROM call_candidates c LEFT JOIN call_managers USING (customer_id)
                  LEFT JOIN crew ON account_manager_id = agent),
        chosen AS (SELECT *, row_number() OVER (PARTITION BY manager IS NULL ORDER BY worth DESC, customer_id) AS number
                   FROM (SELECT * FROM mayor WHERE standing = 'waiting'
                         QUALIFY manager IS NULL
                              OR row_number() OVER (PARTITION BY manager ORDER BY worth DESC, customer_id) <= 200)
                   QUALIFY row_number() OVER (ORDER BY worth DESC, customer_id) <= 8000),
        places AS (SELECT agent, row_number() OVER (ORDER BY place, agent) AS number
                   FROM (SELECT agent, generate_series AS place FROM crew, generate_series(1, 200))
                   LEFT JOIN (SELECT manager, count(*) AS taken FROM chosen GROUP BY ALL) ON manager = agent
                   WHERE place > coalesce(taken, 0)),
        given AS (SELECT customer_id, coalesce(manager, agent) AS agent_id
                  FROM chosen LEFT JOIN places ON manager IS NULL AND chosen.number = places.number)
        SELECT mayor.* EXCLUDE (manager, standing), if(agent_id IS NULL, standing, 'on the list') AS state, agent_id
        FROM mayor LEFT JOIN given USING (customer_id) ORDER BY worth DESC, customer_id""",
    ),
    Case(
        "call list: what became of a list",
        lambda t: call_list.outcomes(
            t["call_listed"], t["call_placed"], t["call_worth"], t["contacts"], since=THEN, as_of=AS_OF
        ),
        f"""
        SELECT customer_id, worth, listed, kind, coalesce(value, 0) AS value, coalesce(purchases > 0, false) AS bought,
               (rank() OVER (ORDER BY worth DESC) - 1) * 5 // count(*) OVER () AS band,
               customer_id IN (SELECT customer_id FROM contacts WHERE purpose <> 'market'
                               AND time::DATE > DATE '{THEN}' AND time::DATE <= DATE '{AS_OF}') AS called
        FROM (SELECT customer_id, kind, worth, agent_id IS NOT NULL AS listed FROM call_placed
              WHERE state IN ('on the list', 'waiting', 'too soon'))
        LEFT JOIN call_worth USING (customer_id)""",
    ),
]
