"""Changes of account managers, birthdays and records beside hand-written SQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis
import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import continuity, loyalty, pyramid

AS_OF = dt.date(2025, 12, 31)
FIELDS = ["kind", "region", "birthday"]


def assignments(t: Tables) -> ir.Table:
    """Assign every fourth customer to one of 200 managers; some change on a day of their own, those of two on one."""
    people = t["summary"].select("customer_id", "first_purchase").filter(ibis._["customer_id"].hash() % 4 == 0)
    spread = people["customer_id"].hash().abs() // 4
    manager = (spread % 200).cast("string")
    changes = (spread % 200 < 2).ifelse(
        ibis.date(2024, 6, 30),
        (spread // 200 % 8 == 0).ifelse(
            (ibis.date(2024, 1, 1).cast("timestamp") + (spread % 500).as_interval("D")).cast("date"), None
        ),
    )
    first = people.select("customer_id", account_manager_id=manager, start="first_purchase", end=changes)
    first = first.filter(first["end"].isnull() | (first["end"] >= first["start"])).cache()
    other = first.filter(first["end"].notnull()).select(
        "customer_id",
        account_manager_id=(first["account_manager_id"].cast("int64") + 7).cast("string"),
        start=(first["end"].cast("timestamp") + ibis.interval(days=1)).cast("date"),
        end=ibis.null("date"),
    )
    return first.union(other)


def people(t: Tables) -> ir.Table:
    """Make a customers table with gaps."""
    number = t["summary"]["customer_id"].hash().abs()
    born = (ibis.date(1950, 1, 1).cast("timestamp") + (number % 18000).as_interval("D")).cast("date")
    return t["summary"].select(
        "customer_id",
        kind=(number % 2 == 0).ifelse("person", "company"),
        region=(number % 5 == 0).ifelse("-", "North"),
        birthday=(number % 3 == 0).ifelse(None, born),
    )


CACHED: dict[str, Callable[[Tables], ir.Table]] = {  # beside the `summary` and the `bought` of the other analyses
    "assignments": assignments,
    "people": people,
    "spells": lambda t: continuity.spells(t["assignments"], as_of=AS_OF),
    "departures": lambda t: continuity.departures(t["spells"]),
    "changes": lambda t: continuity.changes(t["spells"], t["departures"], as_of=AS_OF),
    "continuity_tiers": lambda t: pyramid.tiers(t["summary"]),
}

CASES: list[Case] = [
    Case(
        "continuity: who looked after whom",
        lambda t: continuity.spells(t["assignments"], as_of=AS_OF),
        f"""
        WITH a AS (
            SELECT customer_id, account_manager_id AS m, start, if("end" < DATE '{AS_OF}', "end", NULL) AS stop
            FROM assignments WHERE start <= DATE '{AS_OF}'),
        turns AS (SELECT customer_id, start AS d FROM a UNION
                  SELECT customer_id, stop + 1 FROM a WHERE stop IS NOT NULL),
        held AS (
            SELECT t.customer_id, d, m FROM turns t LEFT JOIN a
              ON a.customer_id = t.customer_id AND start <= d AND coalesce(stop, DATE '9999-12-31') >= d
            QUALIFY row_number() OVER (PARTITION BY t.customer_id, d ORDER BY start DESC, m) = 1),
        turned AS (
            SELECT * FROM held
            QUALIFY coalesce(m, '') <> coalesce(lag(m) OVER (PARTITION BY customer_id ORDER BY d), ''))
        SELECT customer_id, m AS account_manager_id, d AS start, "end"
        FROM (SELECT *, lead(d) OVER (PARTITION BY customer_id ORDER BY d) - 1 AS "end" FROM turned)
        WHERE m IS NOT NULL""",
    ),
    Case(
        "continuity: customers lost with their manager",
        lambda t: continuity.lost_with_manager(t["bought"], t["changes"], as_of=AS_OF),
        f"""
        WITH lives AS (
            SELECT c.customer_id, from_manager, to_manager, changed, kind,
                   count(*) FILTER (b.date < changed) - 1 AS k, min(b.date) FILTER (b.date < changed) AS first,
                   max(b.date) FILTER (b.date < changed) AS last, max(b.date) AS last_purchase,
                   coalesce(sum(value) FILTER (b.date < changed AND b.date >= changed - 365), 0)::DOUBLE AS value_before
            FROM changes c JOIN bought b USING (customer_id)
            GROUP BY c.customer_id, from_manager, to_manager, changed, kind),
        each AS (
            SELECT *, (changed - first)::DOUBLE AS known,
                   DATE '{AS_OF}' - greatest(changed, last_purchase) AS quiet FROM lives),
        judged AS (
            SELECT *, if(last_purchase < changed + 14, pow(known / (known + quiet), k), 1) AS chance
            FROM each WHERE k >= 2 AND pow((last - first) / (changed - first), k) >= .05),
        ranked AS (SELECT *, chance <= .05 * rank() OVER (ORDER BY chance) / count(*) OVER () AS passes FROM judged)
        SELECT customer_id, value_before, from_manager, to_manager, changed, kind, last_purchase,
               known / k AS usual_gap, quiet * k / known AS missed, chance
        FROM ranked
        WHERE chance <= (SELECT max(chance) FROM ranked WHERE passes) AND chance < 1 AND quiet * k / known >= 3
        QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY changed, from_manager) = 1""",
    ),
    Case(
        "loyalty: birthdays",
        lambda t: loyalty.occasions(t["people"], "birthday", as_of=AS_OF, days=30, every=10),
        """
        SELECT customer_id, make_date(2026, 1, day(birthday)) AS date, 2026 - year(birthday) AS years,
               years > 0 AND years % 10 = 0 AND years <= 110 AS round
        FROM people WHERE month(birthday) = 1 AND day(birthday) <= 30""",
    ),
    Case(
        "loyalty: records",
        lambda t: loyalty.records(t["continuity_tiers"], t["people"], FIELDS, [3, 2, 1], of_companies=["region"]).drop(
            "has_kind", "has_region", "has_birthday"
        ),
        """
        SELECT customer_id, tier, value, filled / asked AS score, filled, asked,
               concat_ws(', ', if(kind IS NULL, 'kind', NULL), if(region = '-' AND kind <> 'person', 'region', NULL),
                         if(birthday IS NULL, 'birthday', NULL)) AS missing
        FROM (SELECT *, if(kind IS NULL, 0., 3.)::DOUBLE + if(kind <> 'person' AND region <> '-', 2, 0)
                     + if(birthday IS NULL, 0, 1) AS filled, if(kind = 'person', 4., 6.)::DOUBLE AS asked
              FROM continuity_tiers JOIN people USING (customer_id))""",
    ),
]
