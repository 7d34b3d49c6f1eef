"""Run each analysis beside hand-written DuckDB SQL for the same result, on the same simulated log, in one run.

The log is simulated in DuckDB: a million people who buy 20 million lines of 400 products in 12 categories over three
years, at rates that differ (exponentially) and for lifetimes that differ, each order of one to four lines, one in 40 a
return; a fifth as many prospects; contacts and cases. Clean tables are DuckDB tables, as in a dataset's cache.

ours     Median seconds of the analysis, from the clean tables to its result: a table in the engine, or the small frame
         that a page shows.
SQL      The same for SQL written by hand for DuckDB, run as it is.
ratio    ours : SQL, medians of the same run; the two take turns.
rows     Of the result. The two results are compared, floats to nine digits: a difference is an error.
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import pandas as pd
import typer
from ibis.backends.duckdb import Backend
from models import machine, show, timed

from crm_analysis import customers, lifecycle, pareto, pyramid

PACKAGES = ("crm-analysis", "duckdb", "ibis-framework", "pandas")
START, AS_OF = dt.date(2023, 1, 1), dt.date(2025, 12, 31)
Result = ir.Table | pd.DataFrame | float


class Case(NamedTuple):
    """One analysis: what is asked of ours, and the SQL that asks the same."""

    name: str
    ours: Callable[[dict[str, ir.Table]], Result]
    sql: str


def main(people: int = 1_000_000, repeats: int = 3, only: str = "") -> None:
    """Print the table. `--people`: customers in the log; 20 lines each. `--only`: analyses whose names contain this."""
    print(machine(PACKAGES))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        engine = ibis.duckdb.connect(Path(folder) / "log.duckdb")
        tables = simulate(engine, people)
        for case in CASES:
            if only not in case.name:
                continue
            print(case.name, file=sys.stderr)
            ours, sql = [], []
            for _ in range(repeats):
                seconds, found = timed(lambda case=case: materialised(engine, case.ours(tables)))
                ours.append(seconds)
                seconds, expected = timed(lambda case=case, found=found: by_hand(engine, case.sql, found))
                sql.append(seconds)
            count = same(engine, case.name, found, expected)
            ratio = median(ours) / median(sql)
            rows.append([case.name, f"{median(ours):.2f}", f"{median(sql):.2f}", f"{ratio:.2f}", f"{count:,}"])
        lines = tables["transactions"].count().execute()
    show(f"{people:,} customers, {lines:,} lines", ["analysis", "ours, s", "SQL, s", "ratio", "rows"], rows)


def simulate(engine: Backend, people: int) -> dict[str, ir.Table]:
    """Write the clean tables; what is random follows from hashes, so every run has the same."""
    u = "(hash({0}) / 18446744073709551616.0)".format
    for name, sql in {
        "products": f"""
            SELECT 'P' || lpad(i::VARCHAR, 3, '0') AS product_id, 'Product ' || i AS name,
                   'Category ' || (i % 12) AS category, (2 + 40 * {u("i, 1")})::DECIMAL(18, 6) AS unit_cost
            FROM range(400) t(i)""",
        "people": f"""
            SELECT i, 'C' || lpad(i::VARCHAR, 7, '0') AS customer_id, (1095 * {u("i, 2")})::INT AS joined,
                   1 + floor(-9 * ln(1 - {u("i, 3")}))::INT AS orders, -500 * ln(1 - {u("i, 4")}) AS life,
                   exp(1.2 * sqrt(-2 * ln(1 - {u("i, 5")})) * cos(6.283185 * {u("i, 6")})) AS spend
            FROM range({people}) t(i)""",
        "orders": f"""
            SELECT i, customer_id, spend, n, DATE '{START}' + (joined
                       + floor(({u("i, n, 7")} * least(life, 1095 - joined)))::INT * (n > 0)::INT)::INT AS date
            FROM people, unnest(range(orders)) o(n)""",
        "transactions": f"""
            SELECT customer_id, date, (price * if({u("i, n, k, 8")} < .025, -1, 1))::DECIMAL(18, 6) AS amount,
                   'O' || i || '-' || n AS order_id,
                   'P' || lpad(floor(400 * pow({u("i, n, k, 9")}, 2))::INT::VARCHAR, 3, '0') AS product_id,
                   1.0 + floor(3 * {u("i, n, k, 10")}) AS quantity,
                   (.7 * price)::DECIMAL(18, 6) AS cost,
                   (price * if({u("i, n, 11")} < .2, 1.15, 1))::DECIMAL(18, 6) AS list_amount,
                   date + 7 AS promised, date + 4 + floor(4.3 * {u("i, n, 12")})::INT AS delivered
            FROM (SELECT *, round(20 * spend * (.2 + {u("i, n, k, 13")}), 2) AS price
                  FROM orders, unnest(range(1 + (hash(i, n) % 4)::BIGINT)) l(k))
            ORDER BY order_id""",
        "customers": f"""
            SELECT customer_id, if(i % 6 = 5, 'prospect', 'customer') AS status FROM people
            UNION ALL SELECT 'X' || i, if(i % 3 = 0, 'target', 'prospect') FROM range({people // 5}) t(i)""",
        "contacts": f"""
            SELECT 'K' || i AS contact_id, if(i % 2 = 0, 'X' || (i // 2 % {people // 5}), customer_id) AS customer_id,
                   TIMESTAMP '{START} 09:00' + to_days((1095 * {u("i, 14")})::INT) AS time,
                   ['market', 'prospecting', 'sales', 'service'][1 + i % 4] AS purpose, (i % 4)::BIGINT AS interest
            FROM range({people}) t(i) JOIN people USING (i)""",
        "cases": f"""
            SELECT 'T' || i AS case_id, customer_id,
                   TIMESTAMP '{START} 10:00' + to_days((joined + 300 * {u("i, 15")})::INT) AS opened,
                   ['late delivery', 'damaged goods', 'invoice'][1 + i % 3] AS cause
            FROM people WHERE i % 8 = 0""",
    }.items():
        engine.raw_sql(f"CREATE TABLE {name} AS {sql}").fetchall()
    engine.raw_sql("DROP TABLE orders").fetchall()
    names = ("transactions", "products", "customers", "contacts", "cases")
    tables = {name: engine.table(name) for name in names}
    summary = customers.summary(tables["transactions"], as_of=AS_OF)
    return tables | {"summary": engine.create_table("summary", summary)}


def materialised(engine: Backend, result: Result) -> ir.Table | pd.DataFrame:
    """Compute a lazy result into a table, as `cache` does in a notebook."""
    if isinstance(result, ir.Table):
        return engine.create_table("ours", result, overwrite=True)
    return result if isinstance(result, pd.DataFrame) else pd.DataFrame({"value": [result]})


def by_hand(engine: Backend, sql: str, like: ir.Table | pd.DataFrame) -> ir.Table | pd.DataFrame:
    if isinstance(like, pd.DataFrame):
        return engine.con.sql(sql).df()
    engine.raw_sql(f"CREATE OR REPLACE TABLE by_hand AS {sql}").fetchall()
    return engine.table("by_hand")


def same(engine: Backend, name: str, ours: ir.Table | pd.DataFrame, hand: ir.Table | pd.DataFrame) -> int:
    """Return the number of rows; raise if the two differ in a column that both have."""
    if isinstance(ours, pd.DataFrame):
        columns = [column for column in hand.columns if column in ours.columns]
        assert columns, f"{name}: no common columns"
        plain = [
            frame[columns].assign(**{c: frame[c].astype(str) for c in columns if frame[c].dtype.kind not in "iuf"})
            for frame in (ours, hand)
        ]
        ordered = [frame.sort_values(columns, ignore_index=True) for frame in plain]
        pd.testing.assert_frame_equal(*ordered, check_dtype=False, rtol=1e-9, obj=name)
        return len(ours)
    columns = [column for column in hand.columns if column in ours.columns]
    rounded = ", ".join(f"round({c}, 6) {c}" if ours[c].type().is_floating() else c for c in columns)
    for one, other in (("ours", "by_hand"), ("by_hand", "ours")):
        query = f"SELECT count(*) FROM (SELECT {rounded} FROM {one} EXCEPT ALL SELECT {rounded} FROM {other})"
        assert (differ := engine.con.sql(query).fetchall()[0][0]) == 0, (
            f"{name}: {differ:,} rows of {one} are not in {other}"
        )
    return int(ours.count().execute())


PURCHASES = """
    SELECT customer_id, date, sum(amount) AS amount FROM transactions GROUP BY ALL HAVING sum(amount) >= 0"""
NUMBERED = f"""
    SELECT *, row_number() OVER w AS number, lead(date) OVER w AS next_date
    FROM ({PURCHASES}) WINDOW w AS (PARTITION BY customer_id ORDER BY date)"""
RULES = lifecycle.Rules(dormant_after=60, lost_after=180, loyal_from=4)
ENDS = lifecycle.month_ends(START, AS_OF)
STAGES = f"""
    SELECT customer_id, fin AS date, number AS purchases, fin - date AS silence,
           CASE WHEN fin - date > 180 THEN 'lost' WHEN fin - date > 60 THEN 'dormant' WHEN number = 1 THEN 'first-time'
                WHEN number < 4 THEN 'repeat' ELSE 'loyal' END AS stage
    FROM ({NUMBERED}) p JOIN (SELECT unnest(?) AS fin) e
      ON p.date <= e.fin AND coalesce(p.next_date, DATE '9999-12-31') > e.fin""".replace(
    "?", "[" + ", ".join(f"DATE '{end}'" for end in ENDS) + "]"
)
TIERS = """
    SELECT *, CASE WHEN more < n * .01 - 1e-6 THEN 'important' WHEN more < n * .2 - 1e-6 THEN 'major'
                   WHEN more < n * .5 - 1e-6 THEN 'ordinary' ELSE 'small' END AS tier
    FROM (SELECT *, rank() OVER (ORDER BY value DESC) - 1 AS more, count(*) OVER () AS n FROM summary)"""

CASES = (
    Case(
        "customers: summary",
        lambda t: customers.summary(t["transactions"], as_of=AS_OF),
        f"""
        SELECT customer_id, min(date) FILTER (a >= 0) AS first_purchase, max(date) FILTER (a >= 0) AS last_purchase,
               count(*) FILTER (a >= 0) AS purchases, sum(a)::DOUBLE AS revenue, (sum(a) - sum(c))::DOUBLE AS value
        FROM (SELECT customer_id, date, sum(amount) AS a, sum(cost) AS c FROM transactions
              WHERE date <= DATE '{AS_OF}' GROUP BY ALL) GROUP BY ALL""",
    ),
    Case(
        "pareto: concentration",
        lambda t: pareto.concentration(t["summary"]),
        """
        SELECT 0 AS customers, 0.0 AS value UNION ALL
        SELECT r, running::DOUBLE FROM (
            SELECT row_number() OVER w AS r, count(*) OVER () AS n, sum(value::DECIMAL(38, 6)) OVER w AS running
            FROM summary WINDOW w AS (ORDER BY value DESC, customer_id))
        WHERE r * 1000 // n > (r - 1) * 1000 // n""",
    ),
    Case(
        "pareto: Gini coefficient",
        lambda t: pareto.gini(t["summary"]),
        """
        SELECT 2 * sum(running)::DOUBLE / (count(*) * max(total)::DOUBLE) - (count(*) + 1) / count(*) AS value FROM (
            SELECT sum(value::DECIMAL(38, 6)) OVER (ORDER BY value DESC, customer_id) AS running,
                   sum(value::DECIMAL(38, 6)) OVER () AS total FROM summary)""",
    ),
    Case("pyramid: tiers", lambda t: pyramid.tiers(t["summary"]), f"SELECT * EXCLUDE (more, n) FROM ({TIERS})"),
    Case(
        "pyramid: sizes",
        lambda t: pyramid.sizes(pyramid.tiers(t["summary"])),
        f"SELECT tier, count(*) AS customers, sum(value::DECIMAL(38, 6))::DOUBLE AS value FROM ({TIERS}) GROUP BY ALL",
    ),
    Case(
        "lifecycle: rules",
        lambda t: pd.DataFrame([vars(lifecycle.rules(t["transactions"]))]),
        f"""
        SELECT ceil(quantile_cont(next_date - date, .8))::INT AS dormant_after,
               ceil(quantile_cont(next_date - date, .95))::INT AS lost_after FROM ({NUMBERED})""",
    ),
    Case(
        "lifecycle: stages at 36 ends of months",
        lambda t: lifecycle.stages(t["transactions"], ENDS, RULES),
        STAGES,
    ),
    Case(
        "lifecycle: transitions",
        lambda t: lifecycle.transitions(lifecycle.stages(t["transactions"], ENDS, RULES)),
        f"""
        SELECT date::TIMESTAMP AS date, coalesce(before, 'non-customer') AS stage_before, stage AS stage_now,
               count(*) AS customers
        FROM (SELECT *, lag(stage) OVER (PARTITION BY customer_id ORDER BY date) AS before FROM ({STAGES}))
        WHERE date > DATE '{ENDS[0]}' GROUP BY ALL""",
    ),
)

if __name__ == "__main__":
    typer.run(main)
