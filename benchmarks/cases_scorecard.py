"""Cases of the scorecard and of receivables: what is asked of ours, and the SQL that asks the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis
import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import customers, periods, receivables, scorecard

START, AS_OF = dt.date(2024, 12, 31), dt.date(2025, 12, 31)
HALVES = [START, dt.date(2025, 6, 30), AS_OF]
FACTORS = [0.9, 1.0, 1.1] * 4
WEIGHTS = {"profit": 0.4, "margin": 0.3, "discount_share": 0.1, "return_share": 0.1, "growth": 0.1}


def _payments(tables: Tables) -> ir.Table:
    """Return an invoice for each order, due after 30 days; one in 16 is not paid, others up to a month late."""
    lines = tables["transactions"]
    orders = lines.group_by("order_id", "customer_id").aggregate(amount=lines["amount"].sum(), date=lines["date"].max())
    number = orders["order_id"].substr(1).cast("int64")
    due = (orders["date"] + ibis.interval(days=30)).cast("date")
    paid = ibis.cases((number % 16 == 3, ibis.null("date")), else_=(due + ibis.interval(days=4)).cast("date"))
    return orders.select("order_id", "customer_id", "amount", due=due, paid=paid).filter(lambda t: t["due"] <= AS_OF)


CACHED: dict[str, Callable[[Tables], ir.Table]] = {
    "scorecard_lines": lambda t: customers.transaction_lines(t["transactions"]),
    "scorecard_payments": _payments,
    "scorecard_invoices": lambda t: receivables.invoices(t["scorecard_payments"], AS_OF),
    "scorecard_accounts": lambda t: scorecard.accounts(t["scorecard_lines"], None, START, AS_OF),
    "scorecard_months": lambda t: scorecard.months_of(t["scorecard_lines"], AS_OF),
    "scorecard_trends": lambda t: scorecard.trends(t["scorecard_months"], FACTORS, 12),
    "scorecard_measured": lambda t: scorecard.criteria(
        t["scorecard_accounts"], trends=t["scorecard_trends"], start=START, end=AS_OF
    ),
    "scorecard_scored": lambda t: scorecard.scored(t["scorecard_measured"], WEIGHTS),
    "scorecard_placed": lambda t: scorecard.placed(t["scorecard_scored"], 0.2, 0.1),
    "scorecard_worth": lambda t: periods.by_period(t["scorecard_lines"], None, HALVES),
}


def _points(name: str, way: str) -> str:
    """Return the share of those known who do worse and half of those who do as well, in SQL."""
    window = f"(PARTITION BY {name} IS NULL ORDER BY {name} {way})"
    others = f"nullif(count({name}) OVER () - 1, 0)"
    upto = f"(cume_dist() OVER {window} * count({name}) OVER () - 1) / {others}"
    return f"if({name} IS NULL, 0, coalesce((percent_rank() OVER {window} + {upto}) / 2, .5))"


WAYS = {"profit": "", "margin": "", "discount_share": "DESC", "return_share": "DESC", "growth": ""}
POINTS = " + ".join(f"{WEIGHTS[name]} * {_points(name, way)}" for name, way in WAYS.items())
WEIGHED = " + ".join(f"if({name} IS NULL, 0, {weight})" for name, weight in WEIGHTS.items())
FACTOR = f"[{', '.join(map(str, FACTORS))}][1 + month % 12]"
CUTS = " ".join(f"WHEN better < {(place + 1) / 5} - 1e-9 THEN '{grade}'" for place, grade in enumerate("ABCD"))

CASES: list[Case] = [
    Case(
        "scorecard: accounts",
        lambda t: scorecard.accounts(t["scorecard_lines"], None, START, AS_OF),
        f"""
        WITH days AS (
            SELECT customer_id, date,
                   coalesce(sum(amount) FILTER (amount >= 0), 0) AS gross,
                   coalesce(-sum(amount) FILTER (amount < 0), 0) AS returns,
                   coalesce(sum(coalesce(list_amount, amount)) FILTER (amount >= 0), 0) AS list_amount,
                   sum(cost) AS cost
            FROM scorecard_lines WHERE date > DATE '{START}' AND date <= DATE '{AS_OF}' GROUP BY ALL),
        sums AS (
            SELECT customer_id, count(*) FILTER (gross >= returns) AS purchases,
                   count(*) FILTER (returns > 0) AS return_days, sum(list_amount) AS list_amount, sum(gross) AS gross,
                   sum(returns) AS returns, sum(cost) AS cost FROM days GROUP BY ALL)
        SELECT customer_id, purchases, return_days, list_amount::DOUBLE AS list_amount,
               (list_amount - gross)::DOUBLE AS discounts, gross::DOUBLE AS gross, returns::DOUBLE AS returns,
               (gross - returns)::DOUBLE AS revenue, cost::DOUBLE AS cost, (gross - returns - cost)::DOUBLE AS profit,
               if(gross > returns, (gross - returns - cost)::DOUBLE / (gross - returns)::DOUBLE, NULL) AS margin
        FROM sums""",
    ),
    Case(
        "scorecard: months of customers",
        lambda t: scorecard.months_of(t["scorecard_lines"], AS_OF),
        f"""
        SELECT customer_id, (DATE '{AS_OF}' - date) * 48 // 1461 AS month, sum(amount)::DOUBLE AS revenue
        FROM scorecard_lines WHERE date <= DATE '{AS_OF}' GROUP BY ALL""",
    ),
    Case(
        "scorecard: trends",
        lambda t: scorecard.trends(t["scorecard_months"], FACTORS, 12).drop("low", "high"),
        f"""
        WITH freed AS (
            SELECT *, if(month < 24, revenue / {FACTOR}, 0) AS y, if(month < 24, revenue, 0) AS own
            FROM scorecard_months),
        sums AS (
            SELECT customer_id, max(month) AS first, arg_max(y, month) AS first_y, count(*) FILTER (own > 0) AS bought,
                   sum(y::DECIMAL(38, 6))::DOUBLE AS y, sum((-month * y)::DECIMAL(38, 6))::DOUBLE AS xy,
                   sum((y * y)::DECIMAL(38, 6))::DOUBLE AS yy,
                   sum(if(month < 3, y, 0)::DECIMAL(38, 6))::DOUBLE AS last,
                   sum(if(month < 12, own, 0)::DECIMAL(38, 6))::DOUBLE AS revenue,
                   sum(own::DECIMAL(38, 6))::DOUBLE AS whole
            FROM freed GROUP BY ALL),
        without AS (
            SELECT * REPLACE (bought - (gone > 0)::INT AS bought, y - gone AS y, xy + gone * first AS xy,
                              yy - gone * gone AS yy)
            FROM (SELECT *, least(first, 24) AS known, if(first < 24, first_y, 0) AS gone FROM sums)),
        fitted AS (
            SELECT *, known::DOUBLE AS n, n * (n * n - 1) / 12 AS spread, (xy + (n - 1) / 2 * y) / spread AS slope,
                   yy - y * y / n AS total, greatest(total - slope * slope * spread, yy * 1e-9) AS rest,
                   sqrt(rest / (n - 2) / spread) AS error,
                   total - (last * last / 3 + (y - last) * (y - last) / (n - 3) - y * y / n) AS within,
                   (last / 3 - (y - last) / (n - 3))
                   / sqrt(greatest(within, yy * 1e-9) / (n - 2) * (1 / (n - 3) + 1 / 3)) AS break_t
            FROM without WHERE known >= 12 AND bought >= 4)
        SELECT customer_id, known, bought, revenue, whole - revenue AS revenue_before, slope * 144 AS change,
               if(error > 0, slope / error, 0) AS t, last * 4 AS pace, coalesce(break_t, 0) AS break_t
        FROM fitted""",
    ),
    Case(
        "scorecard: scored",
        lambda t: scorecard.scored(t["scorecard_measured"], WEIGHTS).select("customer_id", "score", "grade"),
        f"""
        SELECT customer_id, score, CASE WHEN score IS NULL THEN NULL {CUTS} ELSE 'E' END AS grade
        FROM (SELECT *, percent_rank() OVER (PARTITION BY score IS NULL ORDER BY score DESC) AS better
              FROM (SELECT customer_id, round(({POINTS}) / nullif({WEIGHED}, 0), 9) AS score FROM scorecard_measured))
        """,
    ),
    Case(
        "scorecard: placed",
        lambda t: scorecard.placed(t["scorecard_scored"], 0.2, 0.1).select("customer_id", "quadrant"),
        """
        SELECT customer_id, if(big, 'big', 'small') || if(good, ' and good', ', not good') AS quadrant
        FROM (SELECT customer_id, profit >= greatest(revenue * .1, 0) AS good,
                     rank() OVER (ORDER BY revenue DESC) - 1 < count(*) OVER () * .2 - 1e-6 AS big
              FROM scorecard_scored)""",
    ),
    Case(
        "scorecard: quadrants",
        lambda t: scorecard.quadrants(t["scorecard_placed"]),
        """
        SELECT quadrant, count(customer_id) AS customers,
               coalesce(sum(revenue::DECIMAL(38, 6)), 0)::DOUBLE AS revenue,
               coalesce(sum(profit::DECIMAL(38, 6)), 0)::DOUBLE AS profit
        FROM (VALUES ('big and good'), ('big, not good'), ('small and good'), ('small, not good')) q(quadrant)
        LEFT JOIN scorecard_placed USING (quadrant) GROUP BY ALL""",
    ),
    Case(
        "scorecard: dependence",
        lambda t: scorecard.dependence(t["scorecard_worth"]),
        """
        SELECT strftime(period, '%Y-%m-%d') AS period, count(*) AS customers, sum(v)::DOUBLE AS value,
               sum(v)::DOUBLE ^ 2 / sum((value * value)::DECIMAL(38, 6))::DOUBLE AS effective_customers,
               sum(v) FILTER (place <= 1)::DOUBLE / sum(v)::DOUBLE AS top_1,
               sum(v) FILTER (place <= 5)::DOUBLE / sum(v)::DOUBLE AS top_5,
               sum(v) FILTER (place <= 10)::DOUBLE / sum(v)::DOUBLE AS top_10,
               sum(v) FILTER (place <= 20)::DOUBLE / sum(v)::DOUBLE AS top_20
        FROM (SELECT period, value, value::DECIMAL(38, 6) AS v,
                     row_number() OVER (PARTITION BY period ORDER BY value DESC) AS place FROM scorecard_worth)
        GROUP BY period""",
    ),
    Case(
        "receivables: by customer",
        lambda t: receivables.by_customer(t["scorecard_invoices"], since=START),
        f"""
        SELECT customer_id, coalesce(sum(amount) FILTER (overdue), 0)::DOUBLE AS owed,
               sum((amount * CASE age WHEN '1 to 30 days' THEN .02 WHEN '31 to 60 days' THEN .1
                    WHEN '61 to 90 days' THEN .25 WHEN 'over 90 days' THEN .5 ELSE 0 END)::DECIMAL(38, 6))::DOUBLE
                   AS at_risk,
               max(days_late) FILTER (overdue AND amount > 0) AS oldest,
               count(DISTINCT order_id) FILTER (judged) AS invoices,
               count(DISTINCT order_id) FILTER (judged AND days_late > 30) AS late,
               count(DISTINCT year(due) * 12 + month(due)) FILTER (judged) AS months,
               sum(amount * days_late) FILTER (judged)::DOUBLE / nullif(sum(amount) FILTER (judged), 0)::DOUBLE
                   AS days_late,
               months >= 3 AND late * 2 >= invoices AS bad_payer
        FROM (SELECT *, age IS NOT NULL AS overdue, (due > DATE '{START}' OR overdue) AND amount > 0 AS judged
              FROM scorecard_invoices) GROUP BY ALL""",
    ),
    Case(
        "receivables: aged",
        lambda t: receivables.aged(t["scorecard_invoices"]),
        """
        SELECT age, count(DISTINCT order_id) AS invoices, count(DISTINCT customer_id) AS customers,
               sum(amount::DECIMAL(38, 6))::DOUBLE AS owed
        FROM scorecard_invoices WHERE age IS NOT NULL GROUP BY ALL""",
    ),
]
