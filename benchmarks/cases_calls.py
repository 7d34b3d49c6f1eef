"""What contacts lead to beside hand-written SQL: purchases credited, times that callers wait, who hung up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis
import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import calls, customers, periods

FIRST, SINCE, AS_OF = dt.date(2023, 1, 1), dt.date(2024, 12, 31), dt.date(2025, 12, 31)
LAST = AS_OF - dt.timedelta(days=14)
WORDS = ["hung up"]


def contacts(t: Tables) -> ir.Table:
    """Return the contacts with what a call centre records: what is random follows from a hash of the contact."""
    table = t["contacts"]
    number = table["contact_id"].substr(1).cast("int64")
    mixed = (number * 7919) % 1009
    incoming = mixed % 2 == 0
    return table.mutate(
        time=table["time"] + (mixed * 30).as_interval("s"),
        channel=(mixed % 3 == 0).ifelse("visit", "telephone"),
        direction=incoming.ifelse("in", "out"),
        agent_id=ibis.literal("A") + (mixed % 17).cast("string"),
        wait_seconds=incoming.ifelse((mixed * mixed % 397).cast("float64"), None),
        outcome=(mixed % 11 == 0).ifelse("Hung up", (mixed % 3 == 1).ifelse("solved", "order")),
    )


CACHED: dict[str, Callable[[Tables], ir.Table]] = {  # beside the `bought` of the other analyses
    "calls_contacts": contacts,
    "calls_credited": lambda t: calls.credited(
        t["calls_contacts"], t["bought"], as_of=AS_OF, since=FIRST, within_days=14
    ),
    "calls_incoming": lambda t: calls.incoming(t["calls_contacts"], service_seconds=60, hung_up=WORDS),
    "calls_worth": lambda t: periods.by_period(customers.transaction_lines(t["transactions"]), None, [SINCE, AS_OF]),
}

CASES: list[Case] = [
    Case(
        "calls: purchases credited to contacts",
        lambda t: calls.credited(t["calls_contacts"], t["bought"], as_of=AS_OF, since=FIRST, within_days=14),
        f"""
        WITH c AS (
            SELECT *, time::DATE AS date, date BETWEEN DATE '{FIRST}' AND DATE '{LAST}' AS judged,
                   row_number() OVER w AS number, lead(time::DATE) OVER w AS next_date,
                   lag(interest) OVER w AS interest_before
            FROM calls_contacts WINDOW w AS (PARTITION BY customer_id ORDER BY time, contact_id)),
        won AS (
            SELECT contact_id, count(*) AS purchases, sum(value)::DOUBLE AS value
            FROM c JOIN bought b ON c.customer_id = b.customer_id AND b.date BETWEEN c.date AND c.date + 14
                 AND (c.next_date IS NULL OR b.date < c.next_date)
            WHERE judged GROUP BY contact_id)
        SELECT contact_id, customer_id, c.date, hour(time) AS hour, purpose, channel, direction, agent_id, outcome,
               interest, interest_before, judged,
               CASE WHEN f.first < c.date THEN 'customer' WHEN number = 1 THEN 'first contact'
                    WHEN number = 2 THEN 'second contact' WHEN number = 3 THEN 'third contact'
                    ELSE 'later contact' END AS stage,
               purchases IS NOT NULL AS converted, coalesce(purchases, 0) AS purchases, coalesce(value, 0) AS value
        FROM c LEFT JOIN won USING (contact_id)
        LEFT JOIN (SELECT customer_id, date AS first FROM bought WHERE number = 1) f USING (customer_id)""",
    ),
    Case(
        "calls: contacts by agent and circumstances",
        lambda t: calls.counts(t["calls_credited"], "purpose", "channel", "direction", "stage", "agent_id"),
        """
        SELECT purpose, channel, direction, stage, agent_id, count(*) AS contacts, count_if(judged) AS judged,
               count_if(converted) AS converted, sum(purchases) AS purchases,
               sum(value::DECIMAL(38, 6))::DOUBLE AS value
        FROM calls_credited GROUP BY ALL ORDER BY ALL""",
    ),
    Case(
        "calls: what interest tells",
        lambda t: calls.before_buying(t["calls_credited"]),
        """
        SELECT purpose, stage, coalesce(interest, -1) AS interest, coalesce(interest_before, -1) AS interest_before,
               count(*) AS contacts, count_if(converted) AS converted
        FROM calls_credited WHERE judged AND stage <> 'customer' GROUP BY ALL ORDER BY ALL""",
    ),
    Case(
        "calls: waiting by hour",
        lambda t: calls.waiting(t["calls_incoming"], "hour"),
        """
        SELECT hour, count(*) AS calls, quantile_cont(wait_seconds, .5) AS median,
               quantile_cont(wait_seconds, .9) AS most, count_if(longer) AS longer, count_if(hung_up) AS hung_up
        FROM calls_incoming GROUP BY ALL ORDER BY ALL""",
    ),
    Case(
        "calls: hung up and not called back",
        lambda t: calls.not_called_back(
            t["calls_contacts"], t["calls_worth"], hung_up=WORDS, as_of=AS_OF, within_days=60
        ),
        f"""
        WITH c AS (
            SELECT *, coalesce(lower(outcome) = 'hung up', false) AND coalesce(direction <> 'out', true) AS vain
            FROM calls_contacts),
        met AS (SELECT customer_id, max((time, contact_id)) AS last FROM c WHERE NOT vain GROUP BY ALL),
        open AS (
            SELECT customer_id, count(*) AS calls, max(time)::DATE AS called,
                   arg_max(purpose, (time, contact_id)) AS purpose,
                   arg_max(coalesce(wait_seconds, -1), (time, contact_id)) AS waited
            FROM c LEFT JOIN met USING (customer_id)
            WHERE vain AND (last IS NULL OR (time, contact_id) > last) GROUP BY ALL)
        SELECT customer_id, coalesce(value, 0) AS value, called, nullif(waited, -1) AS waited, purpose, calls
        FROM open LEFT JOIN calls_worth USING (customer_id)
        WHERE called > DATE '{AS_OF}' - 60 ORDER BY value DESC, customer_id""",
    ),
]
