"""Service beside hand-written SQL: times with open cases, cases per 100 orders, what follows them, and quotes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis
import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import customers, service

AS_OF, EDGES = dt.date(2025, 12, 31), [dt.date(2023, 12, 31), dt.date(2024, 12, 31), dt.date(2025, 12, 31)]
CASE_DAYS, WITHIN_DAYS = 30, 365


def raw_cases(t: Tables) -> ir.Table:
    """Return cases with times and ratings: the log's own have none."""
    number = t["cases"]["case_id"].substr(1).cast("int64")
    spread = ((number * 7919) % 1000 + 1).cast("float64") / 1000
    hours = (-(spread.ln()) * 60).ceil().cast("int64")
    opened = t["cases"]["opened"].cast("timestamp")
    closed = opened + hours.as_interval("h")
    done = closed < ibis.literal(dt.datetime(2026, 1, 1))
    answered = (number % 5 < 3) & done
    return t["cases"].mutate(
        first_response=ibis.null("timestamp"),
        closed=done.ifelse(closed, None),
        satisfaction=answered.ifelse(1 + (number * 31) % 5, None),
        reopened=done.ifelse(number % 11 == 0, None),
    )


def raw_quotes(t: Tables) -> ir.Table:
    """Return a quote for every fifth line."""
    lines = t["transactions"].mutate(no=lambda x: x["order_id"].substr(1).cast("int64"))
    lines = lines.filter((lines["no"] % 5 == 0) & (lines["amount"] > 0))
    quote = lines["order_id"] + lines["product_id"]
    return lines.group_by("customer_id", "product_id", "date", quote_id=quote).aggregate(
        unit_price=lambda x: (x["amount"].sum() / x["quantity"].sum()).cast("decimal(18, 6)"),
        salesperson_id=lambda x: (x["no"].min() % 40).cast("string"),
    )


CACHED: dict[str, Callable[[Tables], ir.Table]] = {  # beside the `bought` of the other analyses
    "service_cases": raw_cases,
    "service_quotes": raw_quotes,
    "service_handled": lambda t: service.handled(t["service_cases"], as_of=AS_OF, not_complaints=["question"]),
    "service_orders": lambda t: service.orders(t["bought"], t["service_handled"], case_days=CASE_DAYS),
}

DAYS_OPEN = "(epoch(coalesce({}, TIMESTAMP '2026-01-01')) - epoch(opened)) // 1 / 86400.0"

CASES: list[Case] = [
    Case(
        "service: handled cases",
        lambda t: service.handled(t["service_cases"], as_of=AS_OF, not_complaints=["question"]),
        f"""
        SELECT case_id, customer_id, cause, 'complaint' AS kind, opened::DATE AS opened, closed::DATE AS closed,
               greatest({DAYS_OPEN.format("coalesce(first_response, closed)")}, 0) AS response,
               coalesce(first_response, closed) IS NOT NULL AS responded,
               greatest({DAYS_OPEN.format("closed")}, 0) AS resolution, closed IS NOT NULL AS resolved,
               satisfaction, reopened
        FROM service_cases""",
    ),
    Case(
        "service: times with open cases",
        lambda t: service.waiting_times(t["service_handled"], "resolution", "cause").drop(columns=["low", "high"]),
        """
        WITH steps AS (SELECT cause, resolution AS time, count(*) AS n, count(*) FILTER (resolved) AS d
                       FROM service_handled GROUP BY ALL),
        risk AS (SELECT *, sum(n) OVER (PARTITION BY cause ORDER BY time DESC) AS r FROM steps),
        curve AS (SELECT *, d = r AS gone, sum(ln((r - d) / r)) FILTER (d < r)
                         OVER (PARTITION BY cause ORDER BY time) AS s FROM risk)
        SELECT cause, sum(n) AS cases, sum(n - d) AS open, max(time) FILTER (n > d) AS oldest,
               min(time) FILTER (gone OR coalesce(s, 0) <= ln(.5) + 1e-9) AS median,
               min(time) FILTER (gone OR coalesce(s, 0) <= ln(1 - .9) + 1e-9) AS most
        FROM curve GROUP BY cause""",
    ),
    Case(
        "service: cases per 100 orders",
        lambda t: service.per_100_orders(t["service_handled"], t["bought"], EDGES, "kind", "cause")[
            ["kind", "cause", "cases", "cases_before", "per_100"]
        ],
        f"""
        SELECT kind, cause, count(*) FILTER (opened > DATE '{EDGES[1]}') AS cases,
               count(*) FILTER (opened <= DATE '{EDGES[1]}') AS cases_before, 100 * cases / any_value(now) AS per_100
        FROM service_handled,
             (SELECT count(*) AS now FROM bought WHERE date > DATE '{EDGES[1]}' AND date <= DATE '{AS_OF}')
        WHERE opened > DATE '{EDGES[0]}' AND opened <= DATE '{AS_OF}' GROUP BY ALL""",
    ),
    Case(
        "service: ratings",
        lambda t: service.pleased(t["service_handled"], "cause")[["cause", "closed", "rated", "satisfied", "reopened"]],
        """
        SELECT cause, count(*) AS closed, count(satisfaction) AS rated,
               count(*) FILTER (satisfaction >= 4) AS satisfied, count(*) FILTER (reopened) AS reopened
        FROM service_handled WHERE resolved GROUP BY ALL""",
    ),
    Case(
        "service: orders and the cases that followed",
        lambda t: service.orders(t["bought"], t["service_handled"], case_days=CASE_DAYS),
        f"""
        WITH b AS (SELECT *, date - lag(date) OVER (PARTITION BY customer_id ORDER BY date) AS pause FROM bought),
        f AS (SELECT b.customer_id, b.date, bool_or(kind = 'complaint') AS complaint,
                     bool_or(kind = 'inquiry') AS inquiry
              FROM service_handled h JOIN b ON h.customer_id = b.customer_id AND opened >= date
                   AND opened - date <= {CASE_DAYS} AND (next_date IS NULL OR opened < next_date) GROUP BY ALL)
        SELECT b.customer_id, b.date, next_date, coalesce(complaint, false) AS complaint,
               coalesce(inquiry, false) AS inquiry,
               CASE WHEN number <= 1 THEN '1' WHEN number <= 3 THEN '2–3' ELSE '4+' END AS "order",
               if(amount::DOUBLE > usual, 'larger', 'smaller') AS size,
               CASE WHEN pause IS NULL THEN 'first' WHEN pause > between_ THEN 'slow' ELSE 'quick' END AS rhythm,
               '' AS kind
        FROM b
        CROSS JOIN (SELECT quantile_cont(amount::DOUBLE, .5) AS usual, quantile_cont(pause, .5) AS between_ FROM b)
        LEFT JOIN f USING (customer_id, date)""",
    ),
    Case(
        "service: repurchase after complaints",
        lambda t: service.after_orders(
            t["service_orders"], "complaint", as_of=AS_OF, within_days=WITHIN_DAYS, case_days=CASE_DAYS
        ),
        f"""
        SELECT complaint, "order", kind, size, rhythm, sum(n) AS customers, sum(x) AS returned,
               sum(x * x) - 2 * returned / customers * sum(x * n) + pow(returned / customers, 2) * sum(n * n) AS spread
        FROM (SELECT customer_id, complaint, "order", kind, size, rhythm, count(*) AS n,
                     count(*) FILTER (next_date - date <= {WITHIN_DAYS}) AS x
              FROM service_orders WHERE date <= DATE '{AS_OF}' - {WITHIN_DAYS}
                   AND (next_date IS NULL OR next_date - date > {CASE_DAYS}) GROUP BY ALL) GROUP BY ALL""",
    ),
    Case(
        "service: closed complaints",
        lambda t: service.settled(
            t["service_handled"], t["bought"], as_of=AS_OF, within_days=WITHIN_DAYS, quick_days=3.0
        ),
        f"""
        SELECT case_id, h.customer_id, closed, resolution > 3 AS slow,
               CASE WHEN satisfaction <= 2 THEN true WHEN satisfaction >= 4 THEN false END AS dissatisfied,
               reopened, back,
               CASE WHEN n <= 1 THEN '1' WHEN n <= 3 THEN '2–3' ELSE '4+' END AS "order", '' AS kind
        FROM service_handled h JOIN (
            SELECT case_id, count(*) FILTER (date <= closed) AS n,
                   bool_or(date > closed AND date - closed <= {WITHIN_DAYS}) AS back
            FROM service_handled JOIN bought USING (customer_id)
            WHERE closed <= DATE '{AS_OF}' - {WITHIN_DAYS} AND kind = 'complaint' GROUP BY ALL) USING (case_id)
        WHERE n > 0""",
    ),
    Case(
        "service: what customers with a case are worth",
        lambda t: service.worth(t["service_handled"], customers.transaction_lines(t["transactions"])),
        """
        SELECT h.*, coalesce(v, 0) AS value FROM service_handled h LEFT JOIN (
            SELECT case_id, (sum(amount) - sum(cost))::DOUBLE AS v
            FROM service_handled JOIN transactions USING (customer_id)
            WHERE date <= opened AND opened - date < 365 GROUP BY ALL) USING (case_id)""",
    ),
    Case(
        "service: contradicting quotes",
        lambda t: service.contradictions(t["service_quotes"], t["transactions"], quote_days=14, tolerance=0.1),
        """
        WITH q AS (SELECT *, unit_price::DOUBLE AS p FROM service_quotes WHERE unit_price > 0),
        pairs AS (SELECT a.customer_id, a.product_id, a.p AS first_price, b.p AS second_price, a.date AS first_date,
                         b.date AS second_date, a.quote_id AS first_quote, b.quote_id AS second_quote,
                         a.salesperson_id || ' / ' || b.salesperson_id AS salespeople
                  FROM q a JOIN q b ON a.customer_id = b.customer_id AND a.product_id = b.product_id
                  WHERE a.date <= b.date AND b.date - a.date <= 14 AND (a.date < b.date OR a.quote_id < b.quote_id)
                        AND greatest(a.p, b.p) > least(a.p, b.p) * (1.1 + 1e-9))
        SELECT pairs.*, coalesce(own, usual, 1) AS quantity,
               round(abs(first_price - second_price) * quantity, 6) AS at_stake
        FROM pairs
        LEFT JOIN (SELECT customer_id, product_id, quantile_cont(quantity, .5) AS own FROM transactions
                   WHERE quantity > 0 AND product_id IN (SELECT product_id FROM pairs) GROUP BY ALL)
            USING (customer_id, product_id)
        LEFT JOIN (SELECT product_id, quantile_cont(quantity, .5) AS usual FROM transactions WHERE quantity > 0
                   GROUP BY ALL) USING (product_id)""",
    ),
    Case(
        "service: quotes beside others",
        lambda t: service.by_salesperson(
            service.beside_others(
                t["service_quotes"].filter(t["service_quotes"]["date"] > dt.date(2025, 9, 30)),
                t["transactions"],
                near_days=1,
                tolerance=0.1,
            )
        ),
        """
        WITH q AS (SELECT quote_id, customer_id, product_id, date, salesperson_id, unit_price::DOUBLE AS p
                   FROM service_quotes WHERE unit_price > 0 AND date > DATE '2025-09-30'),
        m AS (SELECT a.quote_id, a.customer_id, a.product_id, a.salesperson_id, a.p, quantile_cont(b.p, .5) AS median
              FROM q a JOIN q b ON a.product_id = b.product_id AND b.date BETWEEN a.date - 1 AND a.date + 1
                   AND a.customer_id <> b.customer_id GROUP BY ALL HAVING count(*) >= 3),
        own AS (SELECT customer_id, product_id, sum(amount) AS a, sum(list_amount) AS l FROM transactions
                WHERE amount > 0 AND list_amount > 0 GROUP BY ALL),
        every AS (SELECT customer_id, sum(a) AS pa, sum(l) AS pl FROM own GROUP BY ALL),
        s AS (SELECT salesperson_id, m.product_id, p, median,
                     least(coalesce((pa - coalesce(a, 0))::DOUBLE / nullif((pl - coalesce(l, 0))::DOUBLE, 0), 1), 1)
                     AS pays
              FROM m LEFT JOIN every USING (customer_id) LEFT JOIN own USING (customer_id, product_id))
        SELECT salesperson_id, product_id, count(*) AS quotes,
               count(*) FILTER (p < median * pays * (.9 - 1e-9)) AS below,
               count(*) FILTER (p >= median * pays * (.9 - 1e-9) AND p > median * (1.1 + 1e-9)) AS above
        FROM s GROUP BY ALL""",
    ),
]
