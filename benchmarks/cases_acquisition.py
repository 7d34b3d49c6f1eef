"""Ways of finding customers beside hand-written SQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis
import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import acquisition

AS_OF = dt.date(2025, 12, 31)
SINCE = dt.date(2024, 12, 31)
WAYS = ["visit", "meeting", "referral", "fair", "telephone", "web"]


def found(t: Tables) -> ir.Table:
    """Make a customers table: six ways, and a cost that is not known of every tenth."""
    number = t["summary"]["customer_id"].hash().abs()
    way = ibis.cases(*((number % 6 == place, way) for place, way in enumerate(WAYS)))
    cost = (number // 6 % 10 == 0).ifelse(None, (number // 60 % 20000 / 100).cast("float64"))
    kind = (number // 7 % 2 == 0).ifelse("person", "company")
    return t["summary"].select("customer_id", acquired_via=way, acquisition_cost=cost, kind=kind)


def met(t: Tables) -> ir.Table:
    """Make two contacts for each customer, the first of them up to half a year before the first purchase."""
    number = t["summary"]["customer_id"].hash().abs()
    first = t["summary"].mutate(day=t["summary"]["first_purchase"].cast("timestamp"), number=number)
    before = first.select("customer_id", time=first["day"] - (first["number"] % 180).as_interval("D"))
    after = first.select("customer_id", time=first["day"] + (first["number"] % 180).as_interval("D"))
    return before.union(after)


CACHED: dict[str, Callable[[Tables], ir.Table]] = {  # beside the `summary` and the `bought` of the other analyses
    "found": found,
    "met": met,
    "people": lambda t: acquisition.people(t["found"], t["bought"], t["met"]),
}

CASES: list[Case] = [
    Case(
        "acquisition: how everybody was found",
        lambda t: acquisition.people(t["found"], t["bought"], t["met"]),
        """
        WITH first AS (SELECT customer_id, date AS first_purchase FROM bought WHERE number = 1),
        talks AS (SELECT customer_id, min(time)::DATE AS met FROM met GROUP BY customer_id)
        SELECT customer_id, acquisition_cost AS cost, if(met > first_purchase, NULL, met) AS approached, first_purchase,
               coalesce(acquired_via, 'unknown') AS way, coalesce(kind, 'unknown') AS kind
        FROM first FULL JOIN talks USING (customer_id) LEFT JOIN found USING (customer_id)""",
    ),
    Case(
        "acquisition: people approached and won",
        lambda t: acquisition.approached(t["people"], as_of=AS_OF, within_days=365),
        f"""
        SELECT way, kind, year(approached) AS year, count(*) FILTER (early) AS people,
               count(*) FILTER (early AND first_purchase - approached <= 365) AS won,
               count(*) FILTER (NOT early) AS too_recent, coalesce(sum(cost) FILTER (early), 0) AS cost,
               count(cost) FILTER (early) AS priced
        FROM (SELECT *, approached <= DATE '{AS_OF}' - 365 AS early FROM people WHERE approached IS NOT NULL)
        GROUP BY ALL ORDER BY ALL""",
    ),
    Case(
        "acquisition: who came back",
        lambda t: acquisition.came_back(t["people"], t["bought"], as_of=AS_OF, after_months=6, until_months=12),
        f"""
        WITH first AS (
            SELECT * FROM people WHERE (DATE '{AS_OF}' - first_purchase + 1) * 12 // 365 >= 12),
        back AS (
            SELECT DISTINCT b.customer_id FROM bought b JOIN first f USING (customer_id)
            WHERE date > first_purchase AND (date - first_purchase) * 12 // 365 BETWEEN 6 AND 11)
        SELECT way, kind, year(first_purchase) AS year, count(*) AS customers, count(back.customer_id) AS returned
        FROM first LEFT JOIN back USING (customer_id) GROUP BY ALL ORDER BY ALL""",
    ),
]
