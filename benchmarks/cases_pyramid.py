"""The pyramid over time: values at a date, why customers moved between tiers, and the tiers of three years."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import customers, periods, pyramid

EDGES = [dt.date(2022, 12, 31), dt.date(2023, 12, 31), dt.date(2024, 12, 31), dt.date(2025, 12, 31)]
BEFORE, NOW = EDGES[2:]


def then(t: Tables) -> ir.Table:
    return pyramid.tiers(customers.values(t["transactions"], as_of=BEFORE))


def caused(t: Tables) -> ir.Table:
    return pyramid.causes(t["year_changed"], pyramid.least(t["tiered_then"]))


CACHED: dict[str, Callable[[Tables], ir.Table]] = {
    "tiered_then": then,
    "tiered_now": lambda t: pyramid.tiers(customers.values(t["transactions"], as_of=NOW)),
    "year_changed": lambda t: pyramid.changes(t["tiered_then"], t["tiered_now"]),
    "caused": caused,
    "yearly": lambda t: periods.by_period(customers.transaction_lines(t["transactions"]), None, EDGES),
    "placed": lambda t: pyramid.placed(t["yearly"]),
    "years_explained": lambda t: pyramid.explained(t["placed"], BEFORE, NOW),
}

TIER = """
    CASE WHEN more < n * .01 - 1e-6 THEN 'important' WHEN more < n * .2 - 1e-6 THEN 'major'
         WHEN more < n * .5 - 1e-6 THEN 'ordinary' ELSE 'small' END"""
VALUES = (
    "SELECT customer_id, sum(amount - cost)::DOUBLE AS value FROM transactions WHERE date <= DATE '{}' GROUP BY ALL"
)
THEN = f"""
    SELECT customer_id, value, {TIER} AS tier
    FROM (SELECT *, rank() OVER (ORDER BY value DESC) - 1 AS more, count(*) OVER () AS n
          FROM ({VALUES.format(BEFORE)}))"""
PLACE = (
    "CASE {} WHEN 'important' THEN 0 WHEN 'major' THEN 1 WHEN 'ordinary' THEN 2 WHEN 'small' THEN 3 ELSE 4 END".format
)
SUMS = ", ".join(
    f"(sum({name}::DECIMAL(38, 6)))::DOUBLE AS {name}"
    for name in ("value_before", "value_now", "change", "by_orders", "by_amount", "by_margin")
)
DIGIT = "CASE tier WHEN 'important' THEN 1 WHEN 'major' THEN 2 WHEN 'ordinary' THEN 3 WHEN 'small' THEN 4 ELSE 0 END"


def steps_in_sql() -> str:
    """Count the paths through the three years, and from them the steps from year to year."""
    names = "['no purchase', 'important', 'major', 'ordinary', 'small']"
    steps = " UNION ALL ".join(
        f"""SELECT DATE '{EDGES[at]}' AS period_before, DATE '{EDGES[at + 1]}' AS period,
                   {names}[1 + y{at}] AS tier_before, {names}[1 + y{at + 1}] AS tier_now, customers
            FROM paths WHERE y{at} + y{at + 1} > 0"""
        for at in (1, 2)
    )
    years = ", ".join(f"sum(d) FILTER (period = DATE '{EDGES[at]}') AS y{at}" for at in (1, 2, 3))
    filled = ", ".join(f"coalesce(y{at}, 0)::INT AS y{at}" for at in (1, 2, 3))
    return f"""
        WITH paths AS (
            SELECT {filled}, count(*) AS customers FROM (
                SELECT customer_id, {years} FROM (SELECT *, {DIGIT} AS d FROM placed) GROUP BY ALL) GROUP BY ALL)
        SELECT period_before::VARCHAR AS period_before, period::VARCHAR AS period, tier_before, tier_now,
               sum(customers)::BIGINT AS customers FROM ({steps}) GROUP BY ALL"""


def sides_in_sql() -> str:
    """Set the last two years side by side, with their tiers."""
    columns = ", ".join(
        f"coalesce(sum({name}) FILTER (period = DATE '{end}'), 0) AS {name}_{side}"
        for side, end in (("before", BEFORE), ("now", NOW))
        for name in ("purchases", "revenue", "value")
    )
    tiers = ", ".join(
        f"coalesce(max(tier) FILTER (period = DATE '{end}'), 'no purchase') AS tier_{side}"
        for side, end in (("before", BEFORE), ("now", NOW))
    )
    return f"""
        SELECT customer_id, {columns}, {tiers} FROM placed WHERE period IN (DATE '{BEFORE}', DATE '{NOW}')
        GROUP BY ALL"""


EXPLAINED = f"""
    WITH sides AS (
        SELECT *, {PLACE("tier_before")} AS were, {PLACE("tier_now")} AS are, value_now - value_before AS change,
               purchases_before AS o0, purchases_now AS o1, revenue_before / nullif(purchases_before, 0) AS a0,
               revenue_now / nullif(purchases_now, 0) AS a1, value_before / nullif(revenue_before, 0) AS m0,
               value_now / nullif(revenue_now, 0) AS m1, purchases_before > 0 AND purchases_now > 0
                   AND revenue_before > 0 AND revenue_now > 0 AS both_bought
        FROM ({sides_in_sql()})),
    parts AS (
        SELECT *, round(if(both_bought, (a1 - a0) * ((o0 * m0 + o1 * m1) / 3 + (o0 * m1 + o1 * m0) / 6), 0), 6)
            AS by_amount,
               round(if(both_bought, (m1 - m0) * ((o0 * a0 + o1 * a1) / 3 + (o0 * a1 + o1 * a0) / 6), 0), 6)
                   AS by_margin,
               CASE WHEN were = 4 AND are = 4 THEN 'no purchase' WHEN were = 4 THEN 'joined' WHEN are = 4 THEN 'left'
                    WHEN are < were THEN 'rose' WHEN are > were THEN 'fell' ELSE 'stayed' END AS direction FROM sides)
    SELECT * EXCLUDE (were, are, o0, o1, a0, a1, m0, m1, both_bought),
           round(change - by_amount - by_margin, 6) AS by_orders,
           CASE direction
           WHEN 'left' THEN 'no more purchases'
           WHEN 'rose' THEN CASE WHEN change <= 0 THEN 'others fell'
               WHEN o1 > o0 AND by_orders >= by_amount AND by_orders >= by_margin THEN 'more purchases'
               WHEN a1 > a0 AND by_amount > by_orders AND by_amount >= by_margin THEN 'larger purchases'
               ELSE 'higher margin' END
           WHEN 'fell' THEN CASE WHEN change >= 0 THEN 'overtaken'
               WHEN o1 < o0 AND by_orders <= by_amount AND by_orders <= by_margin THEN 'fewer purchases'
               WHEN a1 < a0 AND by_amount < by_orders AND by_amount <= by_margin THEN 'smaller purchases'
               ELSE 'lower margin' END END AS cause
    FROM parts"""

CASES = [
    Case("customers: values", lambda t: customers.values(t["transactions"], as_of=BEFORE), VALUES.format(BEFORE)),
    Case(
        "pyramid: causes of moves",
        caused,
        f"""
        WITH cuts AS (SELECT min(value) FILTER (tier = 'important') AS c0, min(value) FILTER (tier = 'major') AS c1,
                             min(value) FILTER (tier = 'ordinary') AS c2 FROM tiered_then),
        moved AS (
            SELECT y.*, {PLACE("tier_before")} AS were, {PLACE("tier_now")} AS are, are > were AS down,
                   CASE WHEN value_now >= c0 THEN 0 WHEN value_now >= c1 THEN 1 WHEN value_now >= c2 THEN 2 ELSE 3 END
                       AS would
            FROM year_changed y, cuts WHERE tier_before <> 'not yet a customer' AND tier_before <> tier_now)
        SELECT * EXCLUDE (were, are, down, would), if(down, 'fell', 'rose') AS direction,
               CASE WHEN if(down, would <= were, would >= were) THEN 'cut-off'
                    WHEN if(down, would >= are, would <= are) THEN 'own value' ELSE 'both' END AS cause,
               value_now - value_before AS growth, if(cause = 'cut-off', value_now, abs(growth)) AS at_stake
        FROM moved""",
    ),
    Case(
        "pyramid: moves by cause",
        lambda t: pyramid.by_cause(t["caused"]),
        """
        SELECT direction, cause, coalesce(customers, 0) AS customers, coalesce(growth, 0) AS growth,
               coalesce(at_stake, 0) AS at_stake
        FROM (SELECT unnest(['fell', 'rose']) AS direction) CROSS JOIN
             (SELECT unnest(['own value', 'both', 'cut-off']) AS cause)
        LEFT JOIN (SELECT direction, cause, count(*) AS customers, sum(growth::DECIMAL(38, 6))::DOUBLE AS growth,
                          sum(at_stake::DECIMAL(38, 6))::DOUBLE AS at_stake FROM caused GROUP BY ALL)
            USING (direction, cause)""",
    ),
    Case(
        "pyramid: tiers of three years",
        lambda t: pyramid.placed(t["yearly"]),
        f"""
        SELECT * EXCLUDE (more, n), if(purchases > 0, {TIER}, 'no purchase') AS tier
        FROM (SELECT *, rank() OVER (w ORDER BY value DESC) - 1 AS more, count(*) OVER w AS n FROM yearly
              WINDOW w AS (PARTITION BY period, purchases > 0))""",
    ),
    Case(
        "pyramid: steps from year to year",
        lambda t: pyramid.steps(t["placed"], EDGES[1:]),
        steps_in_sql(),
    ),
    Case("pyramid: two years explained", lambda t: pyramid.explained(t["placed"], BEFORE, NOW), EXPLAINED),
    Case(
        "pyramid: changes by direction",
        lambda t: pyramid.by_direction(t["years_explained"]),
        f"""
        SELECT direction, count(*) AS customers, {SUMS} FROM years_explained GROUP BY ALL""",
    ),
    Case(
        "pyramid: key customers who fell",
        lambda t: pyramid.fallers(t["years_explained"]),
        """
        SELECT *, CASE cause WHEN 'no more purchases' THEN 'call, and ask why they have stopped'
                             WHEN 'fewer purchases' THEN 'call, and ask who supplies the rest'
                             WHEN 'smaller purchases' THEN 'offer what they no longer buy'
                             WHEN 'lower margin' THEN 'look at discounts, returns and service'
                             ELSE 'develop or accept' END AS to_do
        FROM years_explained WHERE direction IN ('fell', 'left') AND tier_before IN ('important', 'major')
        ORDER BY change, customer_id""",
    ),
]
