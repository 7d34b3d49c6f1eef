"""The audit of the customer base beside hand-written SQL: bridge, years, cohorts and refunds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from itertools import pairwise

import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import audit, customers, lifecycle, periods

START, AS_OF = dt.date(2023, 1, 1), dt.date(2025, 12, 31)
RULES = lifecycle.Rules(dormant_after=60, lost_after=180, loyal_from=4)
MONTHS = audit.months(START, AS_OF)
YEARS = [dt.date(year, 12, 31) for year in (2023, 2024, 2025)]
AGES = (3, 6, 9, 12, 18, 24)
DAYS = {3: 91, 6: 183, 9: 274, 12: 365, 18: 548, 24: 730}

CACHED: dict[str, Callable[[Tables], ir.Table]] = {
    "audit_everyone": lambda t: customers.summary(t["transactions"], as_of=AS_OF),
    "audit_staged": lambda t: lifecycle.stages(customers.purchases(t["transactions"]), MONTHS[1:], RULES),
    "audit_worth": lambda t: periods.by_period(customers.transaction_lines(t["transactions"]), None, MONTHS),
    "audit_years": lambda t: periods.by_period(customers.transaction_lines(t["transactions"]), None, YEARS),
    "audit_moved": lambda t: audit.movements(t["audit_staged"], t["audit_worth"], MONTHS),
    "audit_compared": lambda t: audit.two_years(t["audit_years"], t["audit_everyone"], *YEARS[1:]),
    "audit_joined": lambda t: joined(t),
}


def joined(t: Tables) -> ir.Table:
    return audit.members(
        customers.transaction_lines(t["transactions"]), t["audit_everyone"], ages=AGES, cohort_months=3
    )


STEPS = ", ".join(f"(DATE '{start}', DATE '{end}')" for start, end in pairwise(MONTHS))
SIDES = f"""
    (SELECT opening AS day, closing AS period, true AS opens FROM (VALUES {STEPS}) s(opening, closing)
     UNION ALL SELECT closing, closing, false FROM (VALUES {STEPS}) s(opening, closing))"""
WHEN = ", ".join(
    f"count(*) FILTER (age <= {days} AND amount >= 0) AS orders_{months},"
    f" coalesce((sum(amount) FILTER (age <= {days}))::DOUBLE, 0) AS revenue_{months},"
    f" coalesce((sum(value) FILTER (age <= {days}))::DOUBLE, 0) AS value_{months}"
    for months, days in DAYS.items()
)
BY_AGE = " UNION ALL ".join(
    f"""SELECT {months} AS age, cohort, count(*) AS customers, count(*) FILTER (orders_{months} > 1) AS second,
               sum(orders_{months}) / count(*) AS orders,
               sum(revenue_{months}::DECIMAL(38, 6))::DOUBLE / count(*) AS revenue,
               sum(value_{months}::DECIMAL(38, 6))::DOUBLE / count(*) AS value
        FROM audit_joined GROUP BY cohort HAVING make_date((cohort + 1) // 4, (cohort + 1) % 4 * 3 + 1, 1) - 1 + {days}
             <= DATE '{AS_OF}'"""
    for months, days in DAYS.items()
)

CASES: list[Case] = [
    Case(
        "audit: movements",
        lambda t: audit.movements(t["audit_staged"], t["audit_worth"], MONTHS),
        f"""
        SELECT customer_id, period, revenue_before, revenue_now, value_before, value_now,
               CASE WHEN opened > 0 AND closed = 0 THEN 'lost'
                    WHEN opened > 0 AND revenue_now > revenue_before THEN 'bought more'
                    WHEN opened > 0 AND revenue_now < revenue_before THEN 'bought less'
                    WHEN opened > 0 THEN 'as before'
                    WHEN closed > 0 AND so_far = bought THEN 'new' WHEN closed > 0 THEN 'won back'
                    WHEN bought > 0 THEN 'came and went' WHEN bought_before > 0 THEN 'lost earlier' ELSE 'away' END
                   AS "group"
        FROM (SELECT customer_id, period, count(*) FILTER (based AND opens) AS opened,
                     count(*) FILTER (based AND NOT opens) AS closed,
                     sum(number) FILTER (based AND NOT opens) AS so_far,
                     coalesce(sum(number) FILTER (NOT based AND NOT opens), 0) AS bought,
                     coalesce(sum(number) FILTER (NOT based AND opens), 0) AS bought_before,
                     coalesce(sum(revenue) FILTER (opens), 0) AS revenue_before,
                     coalesce(sum(revenue) FILTER (NOT opens), 0) AS revenue_now,
                     coalesce(sum(value) FILTER (opens), 0) AS value_before,
                     coalesce(sum(value) FILTER (NOT opens), 0) AS value_now
              FROM (SELECT customer_id, date AS day, true AS based, purchases AS number, 0::DOUBLE AS revenue,
                           0::DOUBLE AS value
                    FROM audit_staged WHERE stage <> 'lost'
                    UNION ALL SELECT customer_id, period, false, purchases, revenue, value FROM audit_worth)
              JOIN {SIDES} USING (day) GROUP BY ALL)""",
    ),
    Case(
        "audit: groups of the bridge",
        lambda t: audit.groups(t["audit_moved"], MONTHS).query("customers > 0"),
        """
        SELECT period::TIMESTAMP AS period, "group", count(*) AS customers,
               sum(revenue_before::DECIMAL(38, 6))::DOUBLE AS revenue_before,
               sum(revenue_now::DECIMAL(38, 6))::DOUBLE AS revenue_now,
               sum(value_before::DECIMAL(38, 6))::DOUBLE AS value_before,
               sum(value_now::DECIMAL(38, 6))::DOUBLE AS value_now
        FROM audit_moved GROUP BY ALL""",
    ),
    Case(
        "audit: new, won back and lost of a year",
        lambda t: audit.moves(t["audit_moved"], t["audit_everyone"], YEARS[1]),
        f"""
        SELECT customer_id, period AS month_end, "group", value
        FROM audit_moved JOIN audit_everyone USING (customer_id)
        WHERE period > DATE '{YEARS[1]}' AND "group" IN ('new', 'won back', 'lost')
        ORDER BY value DESC, customer_id, month_end""",
    ),
    Case(
        "audit: two years",
        lambda t: audit.two_years(t["audit_years"], t["audit_everyone"], *YEARS[1:]).drop(
            "by_amount", "by_margin", "by_orders"
        ),
        f"""
        SELECT * EXCLUDE first, value_now - value_before AS change,
               CASE WHEN purchases_before > 0 AND purchases_now > 0 THEN
                         CASE WHEN revenue_now > revenue_before THEN 'bought more'
                              WHEN revenue_now < revenue_before THEN 'bought less' ELSE 'as before' END
                    WHEN purchases_before > 0 THEN 'left'
                    WHEN purchases_now > 0 AND first > DATE '{YEARS[1]}' THEN 'joined'
                    WHEN purchases_now > 0 THEN 'returned' ELSE 'neither' END AS "group"
        FROM (SELECT customer_id,
                     coalesce(sum(purchases) FILTER (NOT later), 0) AS purchases_before,
                     coalesce(sum(purchases) FILTER (later), 0) AS purchases_now,
                     coalesce(sum(revenue) FILTER (NOT later), 0) AS revenue_before,
                     coalesce(sum(revenue) FILTER (later), 0) AS revenue_now,
                     coalesce(sum(value) FILTER (NOT later), 0) AS value_before,
                     coalesce(sum(value) FILTER (later), 0) AS value_now
              FROM (SELECT *, period = DATE '{YEARS[2]}' AS later FROM audit_years)
              GROUP BY customer_id)
        LEFT JOIN (SELECT customer_id, first_purchase AS first FROM audit_everyone) USING (customer_id)""",
    ),
    Case(
        "audit: tenths of the change",
        lambda t: audit.change_tenths(t["audit_compared"]),
        """
        SELECT tenth, count(*) AS customers, sum(change::DECIMAL(38, 6))::DOUBLE AS change
        FROM (SELECT change, (rank() OVER (ORDER BY change) - 1) * 10 // count(*) OVER () + 1 AS tenth
              FROM audit_compared) GROUP BY tenth""",
    ),
    Case(
        "audit: who makes half of the losses",
        lambda t: audit.share_makers(t["audit_compared"]).rename_axis("way").reset_index(),
        """
        SELECT way, count(*) AS customers, sum(change::DECIMAL(38, 6))::DOUBLE AS change,
               min(r) FILTER (running::DOUBLE >= total::DOUBLE * (.5 - 1e-12)) AS makers
        FROM (SELECT change, way, row_number() OVER w AS r, sum(size) OVER (w ROWS UNBOUNDED PRECEDING) AS running,
                     sum(size) OVER (PARTITION BY way) AS total
              FROM (SELECT change, abs(change)::DECIMAL(38, 6) AS size, if(change < 0, 'loss', 'gain') AS way
                    FROM audit_compared WHERE change <> 0)
              WINDOW w AS (PARTITION BY way ORDER BY size DESC)) GROUP BY way""",
    ),
    Case(
        "audit: cohort members at each age",
        joined,
        f"""
        SELECT customer_id, any_value(first_purchase) AS first_purchase, {WHEN},
               (year(any_value(first_purchase)) * 12 + month(any_value(first_purchase)) - 1) // 3 AS cohort
        FROM (SELECT customer_id, first_purchase, amount, value, date - first_purchase AS age
              FROM (SELECT customer_id, date, sum(amount) AS amount, sum(amount) - sum(cost) AS value
                    FROM transactions GROUP BY ALL)
              JOIN (SELECT customer_id, first_purchase FROM audit_everyone WHERE first_purchase IS NOT NULL)
              USING (customer_id))
        GROUP BY customer_id""",
    ),
    Case(
        "audit: cohorts at equal age",
        lambda t: audit.aged(t["audit_joined"], as_of=AS_OF, ages=AGES, cohort_months=3),
        f"""
        SELECT age, customers, second, orders, revenue, value FROM ({BY_AGE})
        QUALIFY cohort > min(cohort) OVER ()""",
    ),
    Case(
        "audit: refunds by month of the order",
        lambda t: audit.refund_flows(customers.transaction_lines(t["transactions"])).drop(columns="kind"),
        """
        WITH back AS (SELECT * FROM transactions WHERE amount < 0),
        orders AS (SELECT customer_id, order_id, min(date) AS ordered
                   FROM transactions SEMI JOIN back USING (customer_id, order_id) WHERE amount >= 0 GROUP BY ALL)
        SELECT year(date) * 12 + month(date) - 1 AS month, year(ordered) * 12 + month(ordered) - 1 AS order_month,
               sum(amount)::DOUBLE AS amount, sum(value)::DOUBLE AS value
        FROM (SELECT date, date AS ordered, 'sales' AS kind, amount, amount - cost AS value FROM transactions
              WHERE amount >= 0
              UNION ALL
              SELECT date, if(ordered <= date, ordered, date), if(ordered <= date, 'refunds', 'unknown'), amount,
                     amount - cost
              FROM back LEFT JOIN orders USING (customer_id, order_id))
        GROUP BY month, order_month, kind""",
    ),
    Case(
        "audit: customers with refunds",
        lambda t: audit.refunders(customers.transaction_lines(t["transactions"]), t["audit_everyone"], YEARS[1]),
        f"""
        SELECT *, refunded / nullif(sales, 0) AS refund_share
        FROM (SELECT customer_id, -(sum(amount) FILTER (amount < 0))::DOUBLE AS refunded,
                     coalesce((sum(amount) FILTER (amount >= 0))::DOUBLE, 0) AS sales
              FROM transactions WHERE date > DATE '{YEARS[1]}' GROUP BY customer_id)
        JOIN (SELECT customer_id, value FROM audit_everyone) USING (customer_id)
        WHERE refunded > 0 ORDER BY refunded DESC, customer_id""",
    ),
]
