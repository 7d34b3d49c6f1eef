"""Ways of finding customers beside hand-written SQL: who was won, who stays, what they bring, when that pays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis
import ibis.expr.types as ir
import pandas as pd
from case import Case, Tables

from crm_analysis import acquisition, customers, periods, prospects

SINCE, AS_OF = dt.date(2024, 12, 31), dt.date(2025, 12, 31)
EDGES = [dt.date(2024, 6, 30), SINCE, dt.date(2025, 6, 30), AS_OF]
WAYS = ["search", "referral", "fair", "visit"]
COSTS = pd.DataFrame({"way": WAYS, "cost_per_customer": [40.0, 60.0, 200.0, 500.0]})
PRICES = ", ".join(f"('{row.way}', {row.cost_per_customer})" for row in COSTS.itertuples())
PERIOD = " ".join(f"WHEN first_purchase <= DATE '{day}' THEN DATE '{day}'" for day in EDGES[1:])
MONTH = "((date - first_purchase) * 12) // 365"
OBSERVED = f"((DATE '{AS_OF}' - first_purchase + 1) * 12) // 365"


def table(t: Tables) -> ir.Table:
    """Return the customers table with how everybody was found, and what that cost: both follow from the id."""
    number = t["customers"]["customer_id"].substr(1).cast("int64") * 7919 % 1009
    found = ibis.cases(*((number % 5 == place, way) for place, way in enumerate(WAYS)), else_=None)
    cost = (number % 12 > 0).ifelse((number / 4.0).cast("float64"), None)
    kind = (number % 2 == 0).ifelse("company", "person")
    return t["customers"].mutate(acquired_via=found, acquisition_cost=cost, kind=kind)


CACHED: dict[str, Callable[[Tables], ir.Table]] = {  # beside the `bought` and the `summary` of the other analyses
    "acquisition_customers": table,
    "acquisition_people": lambda t: acquisition.people(t["acquisition_customers"], t["bought"], t["contacts"]),
    "acquisition_lines": lambda t: customers.transaction_lines(t["transactions"]),
    "acquisition_years": lambda t: prospects.first_years(t["acquisition_lines"], t["bought"], as_of=AS_OF),
    "acquisition_worth": lambda t: periods.by_period(t["acquisition_lines"], None, [SINCE, AS_OF]),
    "acquisition_valued": lambda t: t["summary"].mutate(lifetime_value=t["summary"]["value"] / 2),
}

CASES: list[Case] = [
    Case(
        "acquisition: everybody known, and how they were found",
        lambda t: acquisition.people(t["acquisition_customers"], t["bought"], t["contacts"]),
        """
        WITH met AS (SELECT customer_id, min(time::DATE) AS met FROM contacts GROUP BY ALL),
        firsts AS (SELECT customer_id, date AS first_purchase FROM bought WHERE number = 1),
        found AS (
            SELECT customer_id, first_purchase, if(met > first_purchase, NULL, met) AS approached,
                   nullif(trim(acquired_via), '') AS via, acquisition_cost AS cost, coalesce(kind, 'unknown') AS kind
            FROM firsts FULL JOIN met USING (customer_id) LEFT JOIN acquisition_customers USING (customer_id)),
        main AS (SELECT via, true AS named FROM found WHERE via IS NOT NULL
                 GROUP BY via ORDER BY count(*) DESC, via LIMIT 9)
        SELECT customer_id, cost, approached, first_purchase, kind,
               CASE WHEN via IS NULL THEN 'unknown' WHEN named THEN via ELSE 'other ways' END AS way
        FROM found LEFT JOIN main USING (via)""",
    ),
    Case(
        "acquisition: people approached, and won",
        lambda t: acquisition.approached(t["acquisition_people"], as_of=AS_OF, within_days=365),
        f"""
        SELECT way, kind, year(approached) AS year, count_if(early) AS people,
               count_if(early AND first_purchase - approached <= 365) AS won, count_if(NOT early) AS too_recent,
               sum(if(early, coalesce(cost, 0), 0)::DECIMAL(38, 6))::DOUBLE AS cost,
               count_if(early AND cost IS NOT NULL) AS priced
        FROM (SELECT *, approached <= DATE '{AS_OF}' - 365 AS early FROM acquisition_people)
        WHERE approached IS NOT NULL GROUP BY way, kind, year(approached) ORDER BY ALL""",
    ),
    Case(
        "acquisition: who bought in months 7 to 12",
        lambda t: acquisition.came_back(
            t["acquisition_people"], t["bought"], as_of=AS_OF, after_months=6, until_months=12
        ),
        f"""
        WITH firsts AS (SELECT * FROM acquisition_people WHERE {OBSERVED} >= 12),
        back AS (SELECT DISTINCT customer_id, true AS returned FROM bought JOIN firsts USING (customer_id)
                 WHERE date > first_purchase AND {MONTH} >= 6 AND {MONTH} < 12)
        SELECT way, kind, year(first_purchase) AS year, count(*) AS customers, count(returned) AS returned
        FROM firsts LEFT JOIN back USING (customer_id) GROUP BY way, kind, year(first_purchase) ORDER BY ALL""",
    ),
    Case(
        "acquisition: value of the first year",
        lambda t: acquisition.first_years(t["acquisition_people"], t["acquisition_years"]),
        """
        SELECT way, count(*) AS customers, sum(value::DECIMAL(38, 6))::DOUBLE / count(*) AS value,
               quantile_cont(value, .5) AS median
        FROM acquisition_years JOIN acquisition_people USING (customer_id) GROUP BY way ORDER BY ALL""",
    ),
    Case(
        "acquisition: who brings more than half of all do",
        lambda t: acquisition.above_median(t["acquisition_people"], t["acquisition_years"]),
        """
        WITH worth AS (SELECT * FROM acquisition_years JOIN acquisition_people USING (customer_id))
        SELECT way, kind, year(first_purchase) AS year, count(*) AS customers, count_if(value > median) AS returned
        FROM worth CROSS JOIN (SELECT quantile_cont(value, .5) AS median FROM worth)
        GROUP BY way, kind, year(first_purchase) ORDER BY ALL""",
    ),
    Case(
        "acquisition: cost earned back, month by month",
        lambda t: acquisition.earned_back(
            t["acquisition_people"], t["acquisition_lines"], COSTS, as_of=AS_OF, months=24
        ),
        f"""
        WITH firsts AS (
            SELECT customer_id, way, first_purchase, price, {OBSERVED} AS observed
            FROM acquisition_people JOIN (VALUES {PRICES}) costs(way, price) USING (way)
            WHERE first_purchase IS NOT NULL),
        flows AS (
            SELECT customer_id, price, {MONTH} + 1 AS month, sum(value::DECIMAL(38, 6)) AS value
            FROM acquisition_lines JOIN firsts USING (customer_id)
            WHERE date >= first_purchase AND {MONTH} + 1 <= observed GROUP BY ALL),
        so_far AS (SELECT *, sum(value) OVER (PARTITION BY customer_id ORDER BY month) AS total FROM flows),
        reached AS (SELECT customer_id, min(month) AS month FROM so_far WHERE total::DOUBLE >= price GROUP BY ALL),
        ages AS (SELECT way, observed, month AS reached_in, count(*) AS customers
                 FROM firsts LEFT JOIN reached USING (customer_id) GROUP BY ALL)
        SELECT way, m AS month, sum(customers) AS customers,
               coalesce(sum(customers) FILTER (reached_in <= m), 0) AS earned
        FROM ages JOIN range(1, 25) months(m) ON observed >= m GROUP BY way, m HAVING sum(customers) >= 30""",
    ),
    Case(
        "acquisition: lifetime values",
        lambda t: acquisition.lifetime_values(t["acquisition_people"], t["acquisition_valued"], COSTS),
        """
        SELECT way, count(*) AS customers, sum(value::DECIMAL(38, 6))::DOUBLE / count(*) AS value,
               sum(lifetime_value::DECIMAL(38, 6))::DOUBLE / count(lifetime_value) AS expected
        FROM acquisition_valued JOIN acquisition_people USING (customer_id) GROUP BY way""",
    ),
    Case(
        "acquisition: new customers by half-year",
        lambda t: acquisition.arrivals(t["acquisition_people"], EDGES),
        f"""
        SELECT way, period::VARCHAR AS period, count(*) AS new,
               (sum(count(*)) OVER (PARTITION BY period))::BIGINT AS "all"
        FROM (SELECT way, CASE {PERIOD} END AS period FROM acquisition_people
              WHERE first_purchase > DATE '{EDGES[0]}' AND first_purchase <= DATE '{AS_OF}')
        GROUP BY way, period""",
    ),
    Case(
        "acquisition: old and new customers",
        lambda t: acquisition.old_and_new(t["acquisition_people"], t["acquisition_worth"], since=SINCE, as_of=AS_OF),
        f"""
        SELECT if(first_purchase <= DATE '{SINCE}', 'old', 'new') AS "group", count_if(purchases > 0) AS customers,
               sum(value::DECIMAL(38, 6))::DOUBLE / count_if(purchases > 0) AS value
        FROM acquisition_worth JOIN acquisition_people USING (customer_id)
        WHERE first_purchase IS NOT NULL GROUP BY 1""",
    ),
    Case(
        "acquisition: first and later orders",
        lambda t: acquisition.orders(t["acquisition_lines"], t["bought"], since=SINCE, as_of=AS_OF),
        f"""
        WITH priced AS (
            SELECT customer_id, date, sum(list_amount) AS price, sum(amount) FILTER (list_amount IS NOT NULL) AS paid
            FROM acquisition_lines GROUP BY ALL),
        days AS (
            SELECT *, if(number = 1, 'first order', 'later orders') AS kind,
                   if(price > 0, 1 - paid::DOUBLE / price::DOUBLE, NULL) AS off
            FROM bought LEFT JOIN priced USING (customer_id, date) WHERE date > DATE '{SINCE}')
        SELECT kind AS "order", count(*) AS orders, sum(amount)::DOUBLE / count(*) AS amount,
               sum(value)::DOUBLE / count(*) AS value, sum(value)::DOUBLE / sum(amount)::DOUBLE AS margin,
               sum(off::DECIMAL(38, 6))::DOUBLE / count(off) AS discount
        FROM days GROUP BY kind ORDER BY kind""",
    ),
    Case(
        "acquisition: cost not earned back",
        lambda t: acquisition.not_earned_back(
            t["acquisition_people"], t["acquisition_valued"], as_of=AS_OF, known_days=90
        ),
        f"""
        SELECT customer_id, lifetime_value AS expected, p.cost - value AS shortfall, way, p.cost, value, last_purchase
        FROM acquisition_valued v JOIN acquisition_people p USING (customer_id)
        WHERE p.first_purchase <= DATE '{AS_OF}' - 90 AND p.cost > value
        ORDER BY expected DESC, shortfall DESC, customer_id""",
    ),
]
