"""Run each analysis beside hand-written DuckDB SQL for the same result, on the same simulated log, in one run.

The log is simulated in DuckDB: a million people who buy 24 million lines of 400 products in 12 categories over three
years, at rates that differ (exponentially) and for lifetimes that differ, each order of one to four lines, one in 40 a
return, one order in 500 twenty times as large; a fifth as many prospects; contacts and cases. The clean tables are
DuckDB tables, as in a dataset's cache. What notebooks cache (`CACHED`) is computed before anything is timed.

ours     Median seconds of the analysis, from those tables to its result: a temporary table, as `cache` makes in a
         notebook, or the small frame that a page shows.
SQL      The same for SQL written by hand for DuckDB, run as it is.
ratio    ours : SQL, medians of the same run; the two take turns.
rows     Of the result. The two results are compared, floats to six decimals: a difference is an error. A table has the
         same columns in both; of a frame, shares and intervals that pandas adds in the end are not in the SQL.
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import cases_acquisition
import cases_audit
import cases_call_list
import cases_calls
import cases_continuity
import cases_profit
import cases_prospects
import cases_pyramid
import cases_scorecard
import cases_service
import cases_treatment
import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import typer
from case import Case, Result, Tables
from ibis.backends.duckdb import Backend
from models import machine, show, timed

from crm_analysis import analogy, clusters, customers, lifecycle, pareto, pyramid, ranking, retention, rfm
from crm_analysis.lifecycle.forecast import GONE, moves_between, placed_in_states

PACKAGES = ("crm-analysis", "duckdb", "ibis-framework", "pandas")
START, AS_OF = dt.date(2023, 1, 1), dt.date(2025, 12, 31)
EARLIER = dt.date(2024, 12, 31)
RULES = lifecycle.Rules(dormant_after=60, lost_after=180, loyal_from=4)
ENDS = lifecycle.month_ends(START, AS_OF)
WEIGHTS = {"last_purchase": 0.35, "purchases": 0.2, "purchased": 0.2, "largest_purchase": 0.1, "products": 0.15}
CENTRES = ((20, 25, 40), (35, 5, 0), (45, 20, -20), (60, 8, 15), (65, 0, -10))  # silence, purchases, amount: steps
SCALE = (12.0, 10.0, 11.0)
MODULES = (
    *(cases_profit, cases_pyramid, cases_treatment, cases_scorecard, cases_audit),
    *(cases_prospects, cases_calls, cases_call_list, cases_acquisition, cases_service, cases_continuity),
)
CLUSTERS = clusters.Clusters(pd.DataFrame(), pd.DataFrame(), 100.0, np.array(CENTRES), np.array(SCALE))


def main(people: int = 1_000_000, repeats: int = 3, only: str = "") -> None:
    """Print the table. `--people`: customers in the log; 24 lines each. `--only`: analyses whose names contain this."""
    print(machine(PACKAGES))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        engine = ibis.duckdb.connect(Path(folder) / "log.duckdb")
        tables = cached(engine, simulate(engine, people), CACHED)
        for before, cases in ({}, CASES), *((part.CACHED, part.CASES) for part in MODULES):
            chosen = [case for case in cases if only in case.name]
            known = cached(engine, tables, before) if chosen else tables
            for case in chosen:
                print(case.name, file=sys.stderr)
                ours, sql = [], []
                for _ in range(repeats):
                    seconds, found = timed(lambda case=case, known=known: materialised(engine, case.ours(known)))
                    ours.append(seconds)
                    seconds, expected = timed(lambda case=case, found=found: by_hand(engine, case.sql, found))
                    sql.append(seconds)
                count = same(engine, case.name, found, expected)
                ratio = median(ours) / median(sql)
                rows.append([case.name, f"{median(ours):.2f}", f"{median(sql):.2f}", f"{ratio:.2f}", f"{count:,}"])
            for name in known.keys() - tables.keys():
                engine.drop_table(name)
        lines = tables["transactions"].count().execute()
    show(f"{people:,} customers, {lines:,} lines", ["analysis", "ours, s", "SQL, s", "ratio", "rows"], rows)


def simulate(engine: Backend, people: int) -> Tables:
    """Write the clean tables; what is random follows from hashes, so every run has the same."""
    u = "(hash({1} * 32 + {0}) / 18446744073709551616.0)".format  # from 0 to 1; for each use a salt of its own
    for name, sql in {
        "products": f"""
            SELECT 'P' || lpad(i::VARCHAR, 3, '0') AS product_id, 'Product ' || i AS name,
                   'Category ' || (i % 12) AS category, (2 + 40 * {u(1, "i")})::DECIMAL(18, 6) AS unit_cost
            FROM range(400) t(i)""",
        "people": f"""
            SELECT i, 'C' || lpad(i::VARCHAR, 7, '0') AS customer_id, (1095 * {u(2, "i")})::INT AS joined,
                   1 + floor(-9 * ln(1 - {u(3, "i")}))::INT AS orders, -500 * ln(1 - {u(4, "i")}) AS life,
                   exp(1.2 * sqrt(-2 * ln(1 - {u(5, "i")})) * cos(6.283185 * {u(6, "i")})) AS spend
            FROM range({people}) t(i)""",
        "orders": f"""
            SELECT i * 256 + n AS order_no, customer_id, spend * if({u(16, "order_no")} < .002, 20, 1) AS spend,
                   DATE '{START}' + joined + if(n = 0, 0, {u(7, "order_no")} * least(life, 1095 - joined))::INT AS date
            FROM people, unnest(range(orders)) o(n)""",
        "transactions": f"""
            SELECT customer_id, date, (price * if({u(8, "line_no")} < .025, -1, 1))::DECIMAL(18, 6) AS amount,
                   'O' || order_no AS order_id,
                   'P' || lpad(floor(400 * pow({u(9, "line_no")}, 2))::INT::VARCHAR, 3, '0') AS product_id,
                   1.0::DOUBLE + floor(3 * {u(10, "line_no")}) AS quantity,
                   (.7 * amount)::DECIMAL(18, 6) AS cost,
                   (price * if({u(11, "order_no")} < .2, 1.15, 1))::DECIMAL(18, 6) AS list_amount,
                   date + 7 AS promised, if(came > DATE '{AS_OF}', NULL, came) AS delivered
            FROM (SELECT *, order_no * 4 + k AS line_no, round(20 * spend * (.2 + {u(13, "line_no")}), 2) AS price,
                         date + 4 + floor(4.3 * {u(12, "order_no")})::INT AS came
                  FROM orders, unnest(range(1 + floor(4 * {u(17, "order_no")})::BIGINT)) l(k))
            ORDER BY order_id""",
        "customers": f"""
            SELECT customer_id, if(i % 6 = 5, 'prospect', 'customer') AS status,
                   ['North', 'East', 'South', 'West'][1 + i % 4] AS region,
                   ['search', 'referral', 'fair'][1 + i % 3] AS acquired_via FROM people
            UNION ALL
            SELECT 'X' || i, if(i % 3 = 0, 'target', 'prospect'), 'North', NULL FROM range({people // 5}) t(i)""",
        "contacts": f"""
            SELECT 'K' || i AS contact_id, if(i % 2 = 0, 'X' || (i // 2 % {people // 5}), customer_id) AS customer_id,
                   TIMESTAMP '{START} 09:00' + to_days((1095 * {u(14, "i")})::INT) AS time,
                   ['market', 'prospecting', 'sales', 'service'][1 + i % 4] AS purpose, (i % 4)::BIGINT AS interest
            FROM range({people}) t(i) JOIN people USING (i)""",
        "cases": f"""
            SELECT 'T' || i AS case_id, customer_id,
                   TIMESTAMP '{START} 10:00' + to_days((joined + 300 * {u(15, "i")})::INT) AS opened,
                   ['late delivery', 'damaged goods', 'Invoice'][1 + i % 3] AS cause
            FROM people WHERE i % 8 = 0""",
    }.items():
        engine.raw_sql(f"CREATE TABLE {name} AS {sql}").fetchall()
    engine.raw_sql("DROP TABLE orders").fetchall()
    return {name: engine.table(name) for name in ("transactions", "products", "customers", "contacts", "cases")}


def cached(engine: Backend, tables: Tables, before: dict[str, Callable[[Tables], ir.Table]]) -> Tables:
    """Add what notebooks cache and pass on."""
    for name, compute in before.items():
        tables = tables | {name: engine.create_table(name, compute(tables), temp=True)}
    return tables


def materialised(engine: Backend, result: Result) -> ir.Table | pd.DataFrame:
    """Compute a lazy result into a table, as `cache` does in a notebook."""
    if isinstance(result, ir.Table):
        engine.raw_sql("DROP TABLE IF EXISTS ours").fetchall()
        return engine.create_table("ours", result, temp=True)
    return result if isinstance(result, pd.DataFrame) else pd.DataFrame({"value": [result]})


def by_hand(engine: Backend, sql: str, like: ir.Table | pd.DataFrame) -> list[str] | pd.DataFrame:
    """Run the SQL: into a table, of which the columns are returned, or into a frame."""
    if isinstance(like, pd.DataFrame):
        return engine.con.sql(sql).df()
    engine.raw_sql(f"CREATE OR REPLACE TEMP TABLE by_hand AS {sql}").fetchall()
    return engine.con.sql("FROM by_hand").columns


def same(engine: Backend, name: str, ours: ir.Table | pd.DataFrame, hand: list[str] | pd.DataFrame) -> int:
    """Return the number of rows; raise if the two differ."""
    if isinstance(ours, pd.DataFrame):
        columns = list(hand.columns)
        plain = [
            frame[columns].astype({c: float if hand[c].dtype.kind in "iuf" else str for c in columns})
            for frame in (ours, hand)
        ]
        ordered = [frame.sort_values(columns, ignore_index=True) for frame in plain]
        pd.testing.assert_frame_equal(*ordered, check_dtype=False, rtol=1e-9, obj=name)
        return len(ours)
    assert set(hand) == set(ours.columns), f"{name}: other columns, {set(hand) ^ set(ours.columns)}"
    rounded = ", ".join(f"round({c}, 6) {c}" if ours[c].type().is_floating() else f'"{c}"' for c in hand)
    for one, other in (("ours", "by_hand"), ("by_hand", "ours")):
        query = f"SELECT count(*) FROM (SELECT {rounded} FROM {one} EXCEPT ALL SELECT {rounded} FROM {other})"
        assert (differ := engine.con.sql(query).fetchall()[0][0]) == 0, (
            f"{name}: {differ:,} rows of {one} are not in {other}"
        )
    return int(ours.count().execute())


CACHED: dict[str, Callable[[Tables], ir.Table]] = {
    "summary": lambda t: customers.summary(t["transactions"], as_of=AS_OF),
    "bought": lambda t: customers.purchases(t["transactions"]),
    "one_offs": lambda t: pareto.one_off(t["bought"]),
    "listed": lambda t: ranking.active(t["summary"], AS_OF, days=180),
    "measured": lambda t: ranking.criteria(t["listed"], t["bought"], t["transactions"]),
    "worth": lambda t: ranking.by_category(t["transactions"], t["products"].drop("unit_cost")),
    "in_category": lambda t: ranking.key_in_category(t["worth"], t["summary"], 0.2),
    "tiered": lambda t: pyramid.tiers(t["summary"]),
    "changed": lambda t: changed(t),
    "habits": lambda t: rfm.habits(t["bought"], t["summary"], as_of=AS_OF, dormant_after=60),
    "segmented": lambda t: rfm.segments(t["habits"], lost_after=180),
    "leads": lambda t: lifecycle.leads(t["contacts"]),
    "staged": lambda t: lifecycle.stages(t["bought"], ENDS, RULES, t["leads"]),
    "experienced": lambda t: experienced(t),
}


def changed(t: Tables) -> ir.Table:
    return pyramid.changes(pyramid.tiers(customers.values(t["transactions"], as_of=EARLIER)), t["tiered"])


def experienced(t: Tables) -> ir.Table:
    return retention.experiences(
        t["bought"],
        t["transactions"],
        t["cases"],
        as_of=AS_OF,
        complaint_days=60,
        discount_from=0.05,
        not_complaints=["invoice"],
    )


def summary_in_sql(until: dt.date, cost: str = "cost", lines: str = "transactions") -> str:
    return f"""
        SELECT customer_id, min(date) FILTER (a >= 0) AS first_purchase, max(date) FILTER (a >= 0) AS last_purchase,
               count(*) FILTER (a >= 0) AS purchases, greatest(purchases - 1, 0) AS frequency,
               (last_purchase - first_purchase) / 7 AS recency, (DATE '{until}' - first_purchase) / 7 AS T,
               coalesce((sum(a) FILTER (a >= 0) - arg_min(a, date) FILTER (a >= 0))::DOUBLE / nullif(frequency, 0), 0)
                   AS monetary_value,
               coalesce((sum(a) FILTER (a >= 0))::DOUBLE, 0) AS purchased, sum(a)::DOUBLE AS revenue,
               sum(c)::DOUBLE AS cost, (sum(a) - sum(c))::DOUBLE AS profit, profit AS value
        FROM (SELECT customer_id, date, sum(amount) AS a, sum({cost}) AS c FROM {lines}
              WHERE date <= DATE '{until}' GROUP BY ALL) GROUP BY customer_id"""


DAYS = """
    SELECT customer_id, date, sum(amount) AS amount, sum(amount) - sum(cost) AS value
    FROM transactions GROUP BY ALL HAVING sum(amount) >= 0"""
PURCHASES = f"""
    SELECT *, row_number() OVER w AS number, lead(date) OVER w AS next_date
    FROM ({DAYS}) WINDOW w AS (PARTITION BY customer_id ORDER BY date)"""
SCORE = " + ".join(f"percent_rank() OVER (ORDER BY {name}) * {weight}" for name, weight in WEIGHTS.items())
CURVE = """
    SELECT row_number() OVER w AS r, sum(value::DECIMAL(38, 6)) OVER w AS running, count(*) OVER () AS n,
           sum(value::DECIMAL(38, 6)) OVER () AS total
    FROM summary WINDOW w AS (ORDER BY value DESC ROWS UNBOUNDED PRECEDING)"""
STAGE = """
    CASE WHEN fin - date > 180 THEN 'lost' WHEN fin - date > 60 THEN 'dormant' WHEN number = 1 THEN 'first-time'
         WHEN number < 4 THEN 'repeat' ELSE 'loyal' END"""
MONTHS = "(SELECT unnest([" + ", ".join(f"DATE '{end}'" for end in ENDS) + "]) AS fin)"
STAGES = f"""
    SELECT customer_id, fin AS date, {STAGE} AS stage, number AS purchases, fin - date AS silence
    FROM bought JOIN {MONTHS} ON date <= fin AND coalesce(next_date, DATE '9999-12-31') > fin
    UNION ALL
    SELECT l.customer_id, fin, stage, 0, NULL
    FROM leads l JOIN {MONTHS} ON l.date <= fin AND until > fin
    LEFT JOIN (SELECT customer_id, date AS first FROM bought WHERE number = 1) USING (customer_id)
    WHERE coalesce(first > fin, true)"""


def moves_in_sql(staged: str, nowhere: str) -> str:
    return f"""
        WITH counted AS (
            SELECT date, if(since = date_trunc('month', date)::DATE - 1, before, NULL) AS before, now, count(*) AS n
            FROM (SELECT *, lag(now) OVER life AS before, lag(date) OVER life AS since FROM ({staged})
                  WINDOW life AS (PARTITION BY customer_id ORDER BY date)) GROUP BY ALL)
        SELECT date::TIMESTAMP AS date, coalesce(before, {nowhere}) AS before, now, n AS customers
        FROM counted WHERE date > (SELECT min(date) FROM counted)
        UNION ALL
        SELECT last_day(date + 1), now, {nowhere}, here - coalesce(stayed, 0)
        FROM (SELECT date, now, sum(n) AS here FROM counted GROUP BY ALL)
        LEFT JOIN (SELECT date_trunc('month', date)::DATE - 1 AS date, before AS now, sum(n) AS stayed
                   FROM counted GROUP BY ALL) USING (date, now)
        WHERE date < (SELECT max(date) FROM counted) AND here > coalesce(stayed, 0)"""


FAR = ", ".join(
    " + ".join(
        f"({name} - {x}) / {sd} * (({name} - {x}) / {sd})" for name, x, sd in zip("spa", centre, SCALE, strict=True)
    )
    + f" AS d{i}"
    for i, centre in enumerate(CENTRES, 1)
)
PARTS = (60, 85, 111, 136, 162, 187, 212, 238, 263, 289, 314, 340, 365)
LATER = ", ".join(
    f"coalesce((sum(v) FILTER (day >= {start} AND day < {end}))::DOUBLE, 0) AS later_{i}"
    for i, (start, end) in enumerate(pairwise(PARTS), 1)
)
FIRST_DAYS = f"""
    WITH days AS (
        SELECT customer_id, date, sum(amount) AS a, sum(amount) - sum(cost) AS v,
               -sum(amount) FILTER (amount < 0) AS back, sum(list_amount) FILTER (amount >= 0) AS listed,
               sum(amount) FILTER (amount >= 0 AND list_amount IS NOT NULL) AS paid
        FROM transactions WHERE date <= DATE '{AS_OF}' GROUP BY ALL),
    first AS (
        SELECT customer_id, min(date) AS first_purchase, DATE '{AS_OF}' - first_purchase AS age
        FROM days WHERE a >= 0 GROUP BY ALL HAVING age >= 60),
    life AS (
        SELECT customer_id, any_value(first_purchase) AS first_purchase, any_value(age) AS age,
               count(*) FILTER (day < 60 AND a >= 0) AS purchases,
               coalesce((sum(a) FILTER (day < 60))::DOUBLE, 0) AS amount,
               (max(a) FILTER (day < 60))::DOUBLE AS largest,
               coalesce(min(day) FILTER (day BETWEEN 1 AND 59 AND a >= 0), 60) AS second_after,
               coalesce((sum(back) FILTER (day < 60))::DOUBLE, 0) AS gone, gone / nullif(amount + gone, 0) AS returned,
               1 - coalesce((sum(paid) FILTER (day < 60))::DOUBLE, 0)
                   / nullif((sum(listed) FILTER (day < 60))::DOUBLE, 0) AS discount,
               coalesce((sum(v) FILTER (day < 60))::DOUBLE, 0) AS early, early / nullif(amount, 0) AS margin,
               sum(v)::DOUBLE AS so_far, {LATER}
        FROM (SELECT *, date - first_purchase AS day FROM days JOIN first USING (customer_id))
        WHERE day BETWEEN 0 AND 364 GROUP BY customer_id),
    breadth AS (
        SELECT customer_id, count(DISTINCT product_id) AS products, count(DISTINCT category) AS categories
        FROM transactions JOIN first USING (customer_id) LEFT JOIN products USING (product_id)
        WHERE amount >= 0 AND date - first_purchase BETWEEN 0 AND 59 GROUP BY ALL)
    SELECT * EXCLUDE (gone, products, categories),
           coalesce(products, 0) AS products, coalesce(categories, 0) AS categories
    FROM life LEFT JOIN breadth USING (customer_id)
    LEFT JOIN (SELECT customer_id, region, acquired_via FROM customers) USING (customer_id)"""


def tiers_in_sql(table: str) -> str:
    return f"""
        SELECT * EXCLUDE (more, n),
               CASE WHEN more < n * .01 - 1e-6 THEN 'important' WHEN more < n * .2 - 1e-6 THEN 'major'
                    WHEN more < n * .5 - 1e-6 THEN 'ordinary' ELSE 'small' END AS tier
        FROM (SELECT *, rank() OVER (ORDER BY value DESC) - 1 AS more, count(*) OVER () AS n FROM {table})"""


CASES = (
    Case("customers: summary", lambda t: customers.summary(t["transactions"], as_of=AS_OF), summary_in_sql(AS_OF)),
    Case(
        "customers: summary, costs of products",
        lambda t: customers.summary(t["transactions"].drop("cost"), t["products"], as_of=AS_OF),
        summary_in_sql(
            AS_OF,
            "coalesce((quantity * unit_cost::DOUBLE)::DECIMAL(18, 6), 0)",
            "transactions LEFT JOIN products USING (product_id)",
        ),
    ),
    Case("customers: purchases", lambda t: customers.purchases(t["transactions"]), PURCHASES),
    Case(
        "pareto: concentration",
        lambda t: pareto.concentration(t["summary"], 0.2),
        f"""
        SELECT 0 AS customers, 0.0 AS value UNION ALL
        SELECT r, running::DOUBLE FROM ({CURVE})
        WHERE r * 1000 // n > (r - 1) * 1000 // n OR r = ceil(n * .2 - 1e-6)""",
    ),
    Case(
        "pareto: customers for 80 % of value",
        lambda t: pareto.customers_for(t["summary"], 0.8),
        f"""
        SELECT min(r) FILTER (running::DOUBLE >= total::DOUBLE * (.8 - 1e-12)) / count(*) AS value FROM ({CURVE})""",
    ),
    Case(
        "pareto: Gini coefficient",
        lambda t: pareto.gini(t["summary"]),
        """
        SELECT 1 + (1 - 2 * sum((value * r)::DECIMAL(38, 6))::DOUBLE / sum(value::DECIMAL(38, 6))::DOUBLE) / count(*)
                   AS value
        FROM (SELECT value, row_number() OVER (ORDER BY value DESC) AS r FROM summary)""",
    ),
    Case(
        "pareto: best 1 %",
        lambda t: pareto.best(t["summary"], 0.01),
        """
        SELECT * EXCLUDE total, value / total AS value_share
        FROM summary, (SELECT sum(value::DECIMAL(38, 6))::DOUBLE AS total FROM summary)
        QUALIFY rank() OVER (ORDER BY value DESC) - 1 < count(*) OVER () * .01 - 1e-6
        ORDER BY value DESC, customer_id""",
    ),
    Case(
        "pareto: second screening",
        lambda t: pareto.best(pareto.best(t["summary"], 0.2), 0.2),
        """
        WITH key AS (SELECT * FROM summary
                     QUALIFY rank() OVER (ORDER BY value DESC) - 1 < count(*) OVER () * .2 - 1e-6)
        SELECT * EXCLUDE total, value / total AS value_share
        FROM key, (SELECT sum(value::DECIMAL(38, 6))::DOUBLE AS total FROM key)
        QUALIFY rank() OVER (ORDER BY value DESC) - 1 < count(*) OVER () * .2 - 1e-6
        ORDER BY value DESC, customer_id""",
    ),
    Case(
        "pareto: one-off purchases",
        lambda t: pareto.one_off(customers.purchases(t["transactions"])),
        f"""
        WITH largest AS (
            SELECT customer_id, arg_max(date, amount) AS date, max(amount)::DOUBLE AS amount,
                   arg_max(value, amount)::DOUBLE AS value, quantile_cont(amount::DOUBLE, .5) AS median,
                   sum(amount)::DOUBLE AS total, count(*) AS n
            FROM ({DAYS}) GROUP BY customer_id)
        SELECT customer_id, date, amount, value, if(n > 2, median, greatest(total - amount, typical)) AS usual
        FROM largest, (SELECT quantile_cont(median, .95) AS typical, quantile_cont(amount, .95) AS large FROM largest)
        WHERE amount >= usual * 5 - 1e-6 AND amount > total * .5 + 1e-6 AND amount >= large - 1e-6""",
    ),
    Case(
        "pareto: ranks without one-off purchases",
        lambda t: pareto.reranked(pareto.without(t["summary"], t["one_offs"]), 0.2),
        """
        SELECT * EXCLUDE n, rank_with <= ceil(n * .2 - 1e-6) AS top_with,
               rank_without <= ceil(n * .2 - 1e-6) AS top_without
        FROM (SELECT *, rank() OVER (ORDER BY value_with DESC) AS rank_with,
                     rank() OVER (ORDER BY value_without DESC) AS rank_without, count(*) OVER () AS n
              FROM (SELECT customer_id, date, o.amount, usual, s.value AS value_with,
                           s.value - least(coalesce(o.value, 0), greatest(s.value, 0)) AS value_without
                    FROM summary s LEFT JOIN one_offs o USING (customer_id)))
        WHERE date IS NOT NULL ORDER BY value_with - value_without DESC, customer_id""",
    ),
    Case(
        "ranking: active list",
        lambda t: pd.DataFrame([ranking.active_share(t["summary"], ranking.active(t["summary"], AS_OF, days=180))]),
        f"""
        SELECT count(*) FILTER (a) AS customers, count(*) AS of,
               (sum(v) FILTER (a))::DOUBLE AS value, value / sum(v)::DOUBLE AS value_share
        FROM (SELECT value::DECIMAL(38, 6) AS v,
                     last_purchase >= DATE '{AS_OF}' - 180 AND purchases >= 1 AND purchased >= 0 AS a FROM summary)""",
    ),
    Case(
        "ranking: best not active",
        lambda t: ranking.best_not_active(t["summary"], t["listed"], AS_OF, 0.2),
        f"""
        SELECT customer_id, value, value / total AS value_share, purchases, purchased, last_purchase,
               DATE '{AS_OF}' - last_purchase AS silence
        FROM (SELECT * FROM summary QUALIFY rank() OVER (ORDER BY value DESC) - 1 < count(*) OVER () * .2 - 1e-6)
        ANTI JOIN listed USING (customer_id), (SELECT sum(value::DECIMAL(38, 6))::DOUBLE AS total FROM summary)
        ORDER BY value DESC, customer_id""",
    ),
    Case(
        "ranking: criteria",
        lambda t: ranking.criteria(t["listed"], t["bought"], t["transactions"]),
        """
        SELECT l.*, largest_purchase, products FROM listed l
        LEFT JOIN (SELECT customer_id, max(amount)::DOUBLE AS largest_purchase FROM bought GROUP BY ALL)
            USING (customer_id)
        LEFT JOIN (SELECT customer_id, count(DISTINCT product_id) FILTER (amount >= 0) AS products
                   FROM transactions SEMI JOIN listed USING (customer_id) GROUP BY ALL) USING (customer_id)""",
    ),
    Case(
        "ranking: by all criteria",
        lambda t: ranking.composite(t["measured"], WEIGHTS, 0.2),
        f"""
        SELECT * EXCLUDE n, rank <= ceil(n * .2 - 1e-6) AS key, value_rank <= ceil(n * .2 - 1e-6) AS key_by_value
        FROM (SELECT *, rank() OVER (ORDER BY score DESC, last_purchase DESC) AS rank,
                     rank() OVER (ORDER BY value DESC) AS value_rank, count(*) OVER () AS n
              FROM (SELECT *, round({SCORE}, 9) AS score FROM measured))
        ORDER BY rank, customer_id""",
    ),
    Case(
        "ranking: by category",
        lambda t: ranking.by_category(t["transactions"], t["products"].drop("unit_cost")),
        """
        SELECT customer_id, category, (sum(amount) - sum(cost))::DOUBLE AS value
        FROM transactions JOIN products USING (product_id) GROUP BY ALL""",
    ),
    Case(
        "ranking: key customers of categories",
        lambda t: ranking.key_in_category(t["worth"], t["summary"], 0.2),
        """
        SELECT k.*, overall_value, overall_rank, overall_key
        FROM (SELECT * EXCLUDE total, value / total AS value_share,
                     rank - 1 < count(*) OVER (PARTITION BY category) * .2 - 1e-6 AS second_screening
              FROM (SELECT *, rank() OVER (PARTITION BY category ORDER BY value DESC) AS rank FROM worth
                    QUALIFY rank - 1 < count(*) OVER (PARTITION BY category) * .2 - 1e-6)
              JOIN (SELECT category, sum(value::DECIMAL(38, 6))::DOUBLE AS total FROM worth GROUP BY ALL)
                  USING (category)) k
        JOIN (SELECT customer_id, value AS overall_value, rank() OVER (ORDER BY value DESC) AS overall_rank,
                     overall_rank - 1 < count(*) OVER () * .2 - 1e-6 AS overall_key FROM summary) USING (customer_id)
        WHERE value > 0 ORDER BY value DESC, category, customer_id""",
    ),
    Case(
        "ranking: categories",
        lambda t: ranking.categories(t["worth"], t["in_category"]),
        """
        SELECT * FROM (SELECT category, count(*) AS customers, sum(value::DECIMAL(38, 6))::DOUBLE AS value
                       FROM worth GROUP BY ALL)
        JOIN (SELECT category, count(*) AS key_customers, sum(value::DECIMAL(38, 6))::DOUBLE AS key_value,
                     count(*) FILTER (NOT overall_key) AS only_here,
                     count(*) FILTER (second_screening) AS second_screening
              FROM in_category GROUP BY ALL) USING (category)""",
    ),
    Case(
        "ranking: main category of each",
        lambda t: ranking.main_category(t["in_category"].filter(~t["in_category"]["overall_key"])),
        """
        SELECT *, count(*) OVER (PARTITION BY customer_id) AS categories FROM in_category WHERE NOT overall_key
        QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY value DESC, category) = 1
        ORDER BY value DESC, customer_id""",
    ),
    Case("pyramid: tiers", lambda t: pyramid.tiers(t["summary"]), tiers_in_sql("summary")),
    Case(
        "pyramid: sizes",
        lambda t: pyramid.sizes(t["tiered"]),
        """
        SELECT tier, count(*) AS customers, sum(value::DECIMAL(38, 6))::DOUBLE AS value, min(value) AS least
        FROM tiered GROUP BY ALL""",
    ),
    Case(
        "pyramid: changes in a year",
        changed,
        f"""
        WITH earlier AS (SELECT customer_id, (sum(amount) - sum(cost))::DOUBLE AS value FROM transactions
                         WHERE date <= DATE '{EARLIER}' GROUP BY ALL)
        SELECT customer_id, n.tier AS tier_now, n.value AS value_now,
               coalesce(b.tier, 'not yet a customer') AS tier_before, coalesce(b.value, 0) AS value_before
        FROM tiered n LEFT JOIN ({tiers_in_sql("earlier")}) b USING (customer_id)""",
    ),
    Case(
        "pyramid: moves",
        lambda t: pyramid.moves(t["changed"]),
        """
        SELECT tier_before, tier_now, count(*) AS customers, sum(value_now::DECIMAL(38, 6))::DOUBLE AS value_now
        FROM changed GROUP BY ALL""",
    ),
    Case(
        "rfm: habits",
        lambda t: rfm.habits(customers.purchases(t["transactions"]), t["summary"], as_of=AS_OF, dormant_after=60),
        f"""
        SELECT customer_id, h.first_purchase, h.last_purchase, h.purchases, previous_amount, total_amount, value,
               DATE '{AS_OF}' - h.last_purchase AS silence, usual_gap, longest_gap, pauses + 1 AS spells,
               active / spells AS active_days, dormant / nullif(pauses, 0) AS dormant_days,
               if(silence > 60, 'dormant', 'active') AS state, silence / usual_gap AS times_usual_gap,
               coalesce(h.purchases >= 3 AND silence > longest_gap AND silence >= 2 * usual_gap, false) AS quiet,
               DATE '{AS_OF}' - h.first_purchase <= 60 AS new
        FROM (SELECT customer_id, min(date) AS first_purchase, max(date) AS last_purchase, count(*) AS purchases,
                     arg_max(amount, date)::DOUBLE AS previous_amount, sum(amount)::DOUBLE AS total_amount,
                     median(gap) AS usual_gap, max(gap) AS longest_gap, count(*) FILTER (gap > 60) AS pauses,
                     coalesce(sum(gap) FILTER (gap <= 60), 0) AS active, sum(gap) FILTER (gap > 60) AS dormant
              FROM (SELECT *, lead(date) OVER (PARTITION BY customer_id ORDER BY date) - date AS gap FROM ({DAYS}))
              GROUP BY customer_id) h JOIN summary USING (customer_id)""",
    ),
    Case(
        "rfm: segments",
        lambda t: rfm.segments(t["habits"], lost_after=180),
        """
        SELECT *, CASE WHEN value < 0 THEN 'loss-making' WHEN M = 5 AND quiet AND silence <= 180 THEN 'cannot lose'
                       WHEN M >= 4 AND (quiet OR R <= 2) THEN 'at risk'
                       WHEN state = 'active' AND R >= 4 AND F >= 4 AND M >= 4 THEN 'champions'
                       WHEN state = 'active' AND R >= 4 AND M >= 4 THEN 'promising' WHEN M >= 4 THEN 'needs attention'
                       WHEN new THEN 'new' WHEN state = 'active' AND R >= 3 AND F >= 4 THEN 'loyal'
                       WHEN R >= 3 THEN 'occasional' ELSE 'hibernating' END AS segment
        FROM (SELECT *, (rank() OVER (ORDER BY last_purchase) - 1) * 5 // count(*) OVER () + 1 AS R,
                     (rank() OVER (ORDER BY purchases) - 1) * 5 // count(*) OVER () + 1 AS F,
                     (rank() OVER (ORDER BY value) - 1) * 5 // count(*) OVER () + 1 AS M FROM habits)""",
    ),
    Case(
        "rfm: sizes of segments",
        lambda t: rfm.sizes(t["segmented"]),
        """
        SELECT segment, count(*) AS customers, sum(value::DECIMAL(38, 6))::DOUBLE AS value, median(silence) AS silence
        FROM segmented GROUP BY ALL""",
    ),
    Case(
        "rfm: grid",
        lambda t: rfm.grid(t["segmented"]),
        """
        SELECT "R", "F", count(*) AS customers, sum(value::DECIMAL(38, 6))::DOUBLE AS value
        FROM segmented GROUP BY ALL""",
    ),
    Case(
        "rfm: cycles",
        lambda t: rfm.cycles(t["segmented"]),
        """
        SELECT if(s = 5, '5+', s::VARCHAR) AS spells, customers, active_days, dormant_days, dormant_now
        FROM (SELECT least(spells, 5) AS s, count(*) AS customers, avg(active_days) AS active_days,
                     avg(dormant_days) AS dormant_days, avg((state = 'dormant')::INT) AS dormant_now
              FROM segmented GROUP BY ALL)""",
    ),
    Case(
        "clusters: the nearest of five centres",
        lambda t: clusters.assign(t["segmented"], CLUSTERS),
        f"""
        SELECT * EXCLUDE (s, p, a, d1, d2, d3, d4, d5, near),
               CASE near WHEN d1 THEN 1 WHEN d2 THEN 2 WHEN d3 THEN 3 WHEN d4 THEN 4 ELSE 5 END AS cluster
        FROM (SELECT *, floor(ln(silence + 1) / .1 + .5) AS s, floor(ln(purchases) / .1 + .5) AS p,
                     floor(ln(greatest(total_amount / purchases / 100, .01)) / .1 + .5) AS a, {FAR},
                     least(d1, d2, d3, d4, d5) AS near FROM segmented)""",
    ),
    Case(
        "lifecycle: rules",
        lambda t: pd.DataFrame([vars(lifecycle.rules(t["bought"]))]),
        """
        SELECT ceil(quantile_cont(next_date - date, .8))::INT AS dormant_after,
               ceil(quantile_cont(next_date - date, .95))::INT AS lost_after FROM bought""",
    ),
    Case(
        "lifecycle: leads",
        lambda t: lifecycle.leads(t["contacts"]),
        """
        SELECT customer_id, date, least(lead(date) OVER life, date + 90) AS until,
               if(bool_or(wants) OVER life, 'target', 'prospect') AS stage
        FROM (SELECT customer_id, time::DATE AS date, bool_or(interest >= 2) AS wants FROM contacts GROUP BY ALL)
        WINDOW life AS (PARTITION BY customer_id ORDER BY date)""",
    ),
    Case(
        "lifecycle: stages at 36 ends of months",
        lambda t: lifecycle.stages(t["bought"], ENDS, RULES, t["leads"]),
        STAGES,
    ),
    Case(
        "lifecycle: counts",
        lambda t: lifecycle.counts(t["staged"]),
        """
        SELECT date::TIMESTAMP AS date, stage, coalesce(customers, 0) AS customers
        FROM (SELECT DISTINCT date FROM staged) CROSS JOIN (SELECT DISTINCT stage FROM staged)
        LEFT JOIN (SELECT date, stage, count(*) AS customers FROM staged GROUP BY ALL) USING (date, stage)""",
    ),
    Case(
        "lifecycle: transitions",
        lambda t: lifecycle.transitions(t["staged"]),
        f"""
        SELECT * RENAME (before AS stage_before, now AS stage_now)
        FROM ({moves_in_sql("SELECT customer_id, date, stage AS now FROM staged", "'non-customer'")})""",
    ),
    Case(
        "lifecycle: moves of the last year, for the forecast",
        lambda t: moves_between(
            placed_in_states(t["staged"].filter(t["staged"]["date"] >= ENDS[-13]), 365.25 / 12), GONE
        ),
        moves_in_sql(
            f"""
            SELECT customer_id, date, (list_position({[*lifecycle.LEADS, *lifecycle.STAGES]}, stage) - 1) * 78
                   + CASE WHEN purchases < 2 THEN 0 WHEN purchases < 4 THEN 13 WHEN purchases < 8 THEN 26
                          WHEN purchases < 16 THEN 39 WHEN purchases < 32 THEN 52 ELSE 65 END
                   + coalesce(least(floor(silence / (365.25 / 12)), 12)::INT, 0) AS now
            FROM staged WHERE date >= DATE '{ENDS[-13]}'""",
            str(GONE),
        ),
    ),
    Case(
        "retention: conversions",
        lambda t: retention.conversions(t["bought"], t["leads"], as_of=AS_OF, within_days=365),
        f"""
        WITH people AS (
            SELECT met, interested, f.date AS first FROM (
                SELECT customer_id, min(date) AS met, min(date) FILTER (stage = 'target') AS interested
                FROM leads GROUP BY ALL) LEFT JOIN (SELECT customer_id, date FROM bought WHERE number = 1) f
                USING (customer_id)
            WHERE met >= (SELECT min(date) FROM bought)),
        moves AS (
            SELECT 'prospect to target' AS step, met AS since, if(coalesce(first >= interested, true), interested, NULL)
                AS reached FROM people WHERE coalesce(first >= met, true)
            UNION ALL SELECT 'prospect to first purchase', met, first FROM people WHERE coalesce(first >= met, true)
            UNION ALL SELECT 'target to first purchase', interested, first FROM people
                      WHERE coalesce(first >= interested, true)
            UNION ALL SELECT if(number = 1, 'first to second purchase', 'second to third purchase'), date, next_date
                      FROM bought WHERE number <= 2)
        SELECT step, count(*) FILTER (early) AS entered,
               count(*) FILTER (early AND reached - since BETWEEN 0 AND 365) AS converted,
               count(*) FILTER (NOT early) AS too_recent
        FROM (SELECT *, since <= DATE '{AS_OF}' - 365 AS early FROM moves) GROUP BY ALL""",
    ),
    Case(
        "retention: cohorts",
        lambda t: retention.cohorts(t["bought"], as_of=AS_OF, cohort_months=3),
        f"""
        WITH first AS (SELECT customer_id, date AS first, date_trunc('quarter', date)::DATE AS start
                       FROM bought WHERE number = 1)
        SELECT start::TIMESTAMP AS start, age, customers, coalesce(returned, 0) AS returned
        FROM (SELECT start, count(*) AS customers,
                     unnest(range(1, (DATE '{AS_OF}' - (start + INTERVAL 3 MONTHS)::DATE + 1) // 91 + 1)) AS age
              FROM first GROUP BY start)
        LEFT JOIN (SELECT start, (date - first - 1) // 91 + 1 AS age, count(*) AS returned
                   FROM bought JOIN first USING (customer_id)
                   WHERE number > 1 AND coalesce((next_date - first - 1) // 91 > (date - first - 1) // 91, true)
                   GROUP BY ALL) USING (start, age)""",
    ),
    Case(
        "retention: win-backs",
        lambda t: retention.win_backs(t["bought"], as_of=AS_OF, dormant_after=60, within_days=365, cohort_months=3),
        f"""
        WITH spells AS (
            SELECT date, next_date, value, coalesce(next_date, DATE '{AS_OF}') - date > 60 AS pause,
                   max(if(pause, date, NULL)) OVER (PARTITION BY customer_id ORDER BY date
                                                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS after
            FROM bought)
        SELECT date_trunc('quarter', date + 61)::TIMESTAMP AS start, sum(fell)::BIGINT AS pauses,
               sum(back)::BIGINT AS ended, coalesce(sum(brought), 0)::DOUBLE AS value
        FROM (SELECT date, count(*) AS fell, count(*) FILTER (next_date - date <= 426) AS back FROM spells
              WHERE pause GROUP BY ALL)
        LEFT JOIN (SELECT after AS date, sum(value) AS brought FROM spells WHERE date - after <= 426 GROUP BY ALL)
            USING (date)
        WHERE date_trunc('quarter', date + 61) + INTERVAL 3 MONTHS <= DATE '{AS_OF}' - 364 GROUP BY start""",
    ),
    Case(
        "retention: usual wait",
        lambda t: retention.usual_wait(t["bought"], 0.5, as_of=AS_OF, within_days=365),
        f"""
        SELECT ceil(quantile_cont(next_date - date, .5))::INT AS value FROM bought
        WHERE number = 1 AND date <= DATE '{AS_OF}' - 365 AND next_date - date <= 365""",
    ),
    Case(
        "retention: value after the first purchase",
        lambda t: retention.value_after(t["bought"], as_of=AS_OF, within_days=365, silent_for=30),
        f"""
        SELECT (sum(value) FILTER (number > 1))::DOUBLE / (sum(b.amount) FILTER (number = 1))::DOUBLE AS value
        FROM bought b JOIN (SELECT customer_id, date AS first FROM bought
                            WHERE number = 1 AND date <= DATE '{AS_OF}' - 395 AND coalesce(next_date - date > 30, true))
            USING (customer_id)
        WHERE date - first <= 395""",
    ),
    Case(
        "retention: slipping away",
        lambda t: retention.slipping_away(t["bought"], as_of=AS_OF, after=30, dormant_after=60),
        f"""
        SELECT customer_id, amount::DOUBLE AS first_amount, date AS first_purchase,
               DATE '{AS_OF}' - date AS silence, 60 - silence AS days_left
        FROM bought WHERE number = 1 AND next_date IS NULL AND DATE '{AS_OF}' - date BETWEEN 31 AND 60
        ORDER BY amount DESC, customer_id""",
    ),
    Case(
        "retention: experiences",
        experienced,
        f"""
        WITH first AS (SELECT * EXCLUDE number FROM bought WHERE number = 1),
        complained AS (
            SELECT customer_id FROM cases JOIN first USING (customer_id)
            WHERE lower(cause) <> 'invoice' AND opened::DATE - date BETWEEN 0 AND 60
              AND coalesce(opened::DATE <= next_date, true))
        SELECT first.*, late, discount, customer_id IN (FROM complained) AS complaint
        FROM first JOIN (
            SELECT customer_id,
                   bool_or(coalesce(delivered > promised, if(promised < DATE '{AS_OF}', true, NULL))) AS late,
                   1 - (sum(t.amount) FILTER (list_amount IS NOT NULL))::DOUBLE / nullif(sum(list_amount)::DOUBLE, 0)
                       >= .05 - 1e-9 AS discount
            FROM transactions t JOIN first USING (customer_id, date) GROUP BY ALL) USING (customer_id)""",
    ),
    Case(
        "retention: groups by experience",
        lambda t: retention.experience_groups(t["experienced"], as_of=AS_OF, within_days=365, complaint_days=60),
        f"""
        SELECT late, complaint, discount, coalesce(next_date - date <= 60, false) AS early, count(*) AS customers,
               count(*) FILTER (next_date - date <= 365) AS returned
        FROM experienced WHERE date <= DATE '{AS_OF}' - 365 GROUP BY ALL""",
    ),
    Case(
        "retention: to make up for",
        lambda t: retention.to_make_up(t["experienced"], as_of=AS_OF, recent_days=180),
        f"""
        SELECT customer_id, amount::DOUBLE AS first_amount, date AS first_purchase, DATE '{AS_OF}' - date AS silence,
               CASE WHEN late AND complaint THEN 'late delivery and complaint' WHEN late THEN 'late delivery'
                    ELSE 'complaint' END AS experience
        FROM experienced WHERE next_date IS NULL AND date >= DATE '{AS_OF}' - 180 AND (late OR complaint)
        ORDER BY amount DESC, customer_id""",
    ),
    Case(
        "analogy: first days",
        lambda t: analogy.first_days(
            t["transactions"],
            t["products"].drop("unit_cost"),
            t["customers"],
            as_of=AS_OF,
            early_days=60,
            horizon_days=365,
        ),
        FIRST_DAYS,
    ),
)

if __name__ == "__main__":
    typer.run(main)
