"""Where the profit comes from: contribution, the comparison of two years, product levels and orders at a loss."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis
import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import customers, margins, periods, profit

EDGES = [dt.date(2023, 12, 31), dt.date(2024, 12, 31), dt.date(2025, 12, 31)]
SOLD = ("customer_id", "date", "amount", "order_id", "product_id", "cost")


def lines(t: Tables) -> ir.Table:
    """Return the lines of the last year; the log has no salespeople, so the last digit of the customer id is one."""
    sold = customers.transaction_lines(t["transactions"].select(*SOLD))
    return sold.filter(sold["date"] > ibis.literal(EDGES[1])).mutate(salesperson_id=sold["customer_id"].right(1))


CACHED: dict[str, Callable[[Tables], ir.Table]] = {
    "compared": lambda t: periods.compare(
        periods.by_period(customers.transaction_lines(t["transactions"]), None, EDGES), *EDGES[1:]
    ),
    "side_by_side": lambda t: profit.ranked(t["compared"]),
    "levelled": lambda t: margins.products(lines(t), t["products"].drop("unit_cost")),
}

LINES = f"(SELECT *, amount - cost AS value FROM transactions WHERE date > DATE '{EDGES[1]}')"
SUMS = """
    sum(amount)::DOUBLE AS revenue, sum(cost)::DOUBLE AS cost, sum(value)::DOUBLE AS contribution,
    if(sum(amount) > 0, sum(value)::DOUBLE / sum(amount)::DOUBLE, NULL) AS margin,
    count(DISTINCT customer_id) FILTER (amount >= 0) AS customers,
    count(DISTINCT {'c': customer_id, 'o': order_id}) FILTER (amount >= 0) AS orders,
    count(*) FILTER (amount >= 0 AND cost = 0) AS lines_without_cost"""


def placed_in_sql(side: str) -> str:
    """Rank the customers of a period, and put them into tiers."""
    return f"""
        SELECT customer_id, r AS rank_{side}, CASE WHEN r - 1 < n * .01 - 1e-6 THEN 'important'
               WHEN r - 1 < n * .2 - 1e-6 THEN 'major' WHEN r - 1 < n * .5 - 1e-6 THEN 'ordinary' ELSE 'small' END
                   AS tier_{side}
        FROM (SELECT customer_id, rank() OVER (ORDER BY value_{side} DESC) AS r, count(*) OVER () AS n
              FROM compared WHERE purchases_{side} > 0)"""


RANKED = f"""
    SELECT c.*, rank_before, tier_before, rank_now, tier_now, rank_before - rank_now AS rank_change
    FROM (SELECT * EXCLUDE (total, running), value_now - value_before AS change,
                 value_now / nullif(greatest(total, 0), 0) AS share,
                 running / nullif(greatest(total, 0), 0) AS cumulated
          FROM (SELECT *, (sum(value_now::DECIMAL(38, 6)) OVER ())::DOUBLE AS total,
                       (sum(value_now::DECIMAL(38, 6)) OVER (ORDER BY value_now DESC))::DOUBLE AS running
                FROM compared)) c
    LEFT JOIN ({placed_in_sql("before")}) USING (customer_id) LEFT JOIN ({placed_in_sql("now")}) USING (customer_id)"""

TO_DO = " ".join(f"WHEN '{cause}' THEN '{to_do}'" for cause, to_do in profit.TO_DO.items())
FALLEN = f"""
    SELECT * EXCLUDE (o0, o1, a0, a1, m0, m1, "both"), round(change - by_amount - by_margin, 6) AS by_orders,
           CASE WHEN purchases_before > 0 AND purchases_now = 0 THEN 'no more purchases'
                WHEN purchases_now = 0 THEN 'returns or service without a purchase'
                WHEN purchases_before = 0 AND revenue_now >= 0 THEN 'purchases and service at a loss'
                WHEN revenue_now <= 0 THEN 'no revenue left after returns'
                WHEN revenue_before <= 0 THEN 'purchases and service at a loss'
                WHEN by_margin <= by_orders AND by_margin <= by_amount THEN 'lower margin'
                WHEN by_amount <= by_orders AND a1 < a0 THEN 'smaller purchases'
                WHEN by_amount <= by_orders THEN 'larger purchases and service at a loss'
                WHEN o1 < o0 THEN 'fewer purchases' ELSE 'more purchases and service at a loss' END AS cause,
           CASE cause {TO_DO} END AS to_do
    FROM (SELECT *, round(if("both", (a1 - a0) * ((o0 * m0 + o1 * m1) / 3 + (o0 * m1 + o1 * m0) / 6), 0), 6)
                     AS by_amount,
                 round(if("both", (m1 - m0) * ((o0 * a0 + o1 * a1) / 3 + (o0 * a1 + o1 * a0) / 6), 0), 6)
                     AS by_margin
          FROM (SELECT *, purchases_before AS o0, purchases_now AS o1,
                       revenue_before / nullif(purchases_before, 0) AS a0, revenue_now / nullif(purchases_now, 0) AS a1,
                       value_before / nullif(revenue_before, 0) AS m0, value_now / nullif(revenue_now, 0) AS m1,
                       least(purchases_before, revenue_before, purchases_now, revenue_now) > 0 AS "both"
                FROM side_by_side WHERE change < 0))
    ORDER BY change, customer_id"""
LEVELLED = f"""
    SELECT *, CASE WHEN revenue <= 0 OR lines_without_cost > 0 THEN NULL
              WHEN margin >= .6 THEN 'A' WHEN margin >= .3 THEN 'B'
              WHEN margin >= .05 THEN 'C' ELSE 'D' END AS level, customers < 30 AS few
    FROM (SELECT product_id, {SUMS} FROM {LINES} WHERE product_id IS NOT NULL GROUP BY ALL)
    LEFT JOIN (SELECT product_id, name FROM products) USING (product_id)"""

CASES: list[Case] = [
    Case(
        "profit: contribution of products by month",
        lambda t: profit.contribution(lines(t), "product_id", "month"),
        f"SELECT product_id, date_trunc('month', date)::DATE AS month, {SUMS} FROM {LINES} GROUP BY ALL",
    ),
    Case(
        "profit: contribution of customers",
        lambda t: profit.contribution(lines(t), "customer_id"),
        f"SELECT customer_id, {SUMS} FROM {LINES} GROUP BY ALL",
    ),
    Case("profit: two years side by side", lambda t: profit.ranked(t["compared"]), RANKED),
    Case("profit: whose profit fell, and why", lambda t: profit.fallen(t["side_by_side"]), FALLEN),
    Case(
        "profit: what all customers did",
        lambda t: profit.totals(t["compared"]).astype(float),
        " UNION ALL ".join(
            f"""
        SELECT count(*) FILTER (purchases_{side} > 0) AS customers, sum(purchases_{side}) AS purchases,
               sum(revenue_{side}::DECIMAL(38, 6))::DOUBLE AS revenue,
               sum(value_{side}::DECIMAL(38, 6))::DOUBLE AS value
        FROM compared"""
            for side in ("before", "now")
        ),
    ),
    Case(
        "profit: orders at a loss",
        lambda t: profit.losing_orders(lines(t)),
        f"""
        SELECT customer_id, count(*) AS orders, count(*) FILTER (v < 0) AS losing_orders,
               coalesce(sum(v) FILTER (v < 0), 0)::DOUBLE AS loss, sum(v)::DOUBLE AS contribution
        FROM (SELECT customer_id, sum(amount) AS a, sum(value) AS v FROM {LINES} GROUP BY customer_id, order_id)
        WHERE a >= 0 GROUP BY customer_id ORDER BY loss, customer_id""",
    ),
    Case("profit: products by margin", lambda t: margins.products(lines(t), t["products"]), LEVELLED),
    Case(
        "profit: commissions",
        lambda t: margins.commission(lines(t), t["levelled"], margins.rates()),
        f"""
        SELECT *, revenue * CASE WHEN level = 'A' THEN .06 WHEN level = 'B' THEN .03 WHEN level = 'C' THEN .005
                                 ELSE 0 END AS commission
        FROM (SELECT right(customer_id, 1) AS salesperson_id, level, sum(amount)::DOUBLE AS revenue,
                     sum(value)::DOUBLE AS contribution
              FROM {LINES} LEFT JOIN (SELECT product_id, level FROM levelled) USING (product_id) GROUP BY ALL)""",
    ),
]
