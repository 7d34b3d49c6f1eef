"""The treatment of the tiers beside hand-written SQL: warning signs, contacts due, growing and ill-paying customers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import ibis.expr.types as ir
from case import Case, Tables

from crm_analysis import customers, periods, treatment
from crm_analysis.treatment import signs

SINCE, SPLIT, AS_OF = dt.date(2024, 12, 31), dt.date(2025, 6, 30), dt.date(2025, 12, 31)
Z = signs.Z


def tiered(t: Tables) -> ir.Table:
    """Return everybody's tier by the last year's value."""
    lines = customers.transaction_lines(t["transactions"])
    return treatment.tiered(t["summary"], periods.by_period(lines, None, [SINCE, AS_OF]))


CACHED: dict[str, Callable[[Tables], ir.Table]] = {  # beside the `summary` and the `bought` of the other analyses
    "treatment_tiered": tiered,
    "treatment_key": lambda t: t["treatment_tiered"].filter(t["treatment_tiered"]["tier"].isin(["important", "major"])),
    "treatment_small": lambda t: t["treatment_tiered"].filter(t["treatment_tiered"]["tier"] == "small"),
}


def of_key(t: Tables, name: str) -> ir.Table:
    """Return the rows of key customers."""
    return t[name].filter(t[name]["customer_id"].isin(t["treatment_key"]["customer_id"]))


KEY = "customer_id IN (SELECT customer_id FROM treatment_key)"
DAYS = f"(DATE '{AS_OF}' - DATE '{SPLIT}')"


def shift(now: str, before: str, ratio: str) -> str:
    """Compare two counts."""
    return f"2 * (sqrt({now} + .375) - sqrt({ratio} * ({before} + .375))) / sqrt(1 + {ratio})"


FIRST = f"""
    SELECT customer_id, min(date) AS first, count(*) FILTER (date > DATE '{SPLIT}') AS orders,
           count(*) FILTER (date <= DATE '{SPLIT}') - 1 AS before, {DAYS} / (DATE '{SPLIT}' - min(date)) AS ratio
    FROM bought WHERE {KEY} GROUP BY ALL HAVING min(date) < DATE '{SPLIT}'"""
MARGINS = ", ".join(
    f"count(*) FILTER ({here}) AS n_{side}, " + ", ".join(f"sum({term}) FILTER ({here}) AS {name}_{side}" for name, term
    in (("a", "a"), ("v", "v"), ("aa", "a * a"), ("av", "a * v"), ("vv", "v * v")))
    for side, here in (("now", f"date > DATE '{SPLIT}'"), ("before", f"date <= DATE '{SPLIT}'"))
)  # fmt: skip
EFFECTIVE = "(a_{0} * a_{0} / aa_{0})"
ERROR = (
    EFFECTIVE
    + " / ("
    + EFFECTIVE
    + """ - 1) * (vv_{0} - 2 * v_{0} / a_{0} * av_{0} + pow(v_{0} / a_{0}, 2) * aa_{0}) / pow(a_{0}, 2)"""
)

CASES: list[Case] = [
    Case(
        "treatment: tiers by the last year",
        tiered,
        f"""
        SELECT customer_id, first_purchase, coalesce(p, 0) AS purchases, coalesce(r, 0) AS revenue,
               coalesce(v, 0) AS value,
               CASE WHEN NOT coalesce(v > 0 AND p > 0, false) THEN 'small' WHEN more < n * .01 - 1e-6 THEN 'important'
                    WHEN more < n * .2 - 1e-6 THEN 'major' WHEN more < n * .5 - 1e-6 THEN 'ordinary'
                    ELSE 'small' END AS tier
        FROM summary LEFT JOIN (
            SELECT *, rank() OVER (PARTITION BY p > 0 ORDER BY v DESC) - 1 AS more,
                   count(*) OVER (PARTITION BY p > 0) AS n
            FROM (SELECT customer_id, count(*) FILTER (a >= 0) AS p, sum(a)::DOUBLE AS r, sum(w)::DOUBLE AS v
                  FROM (SELECT customer_id, date, sum(amount) AS a, sum(amount) - sum(cost) AS w FROM transactions
                        WHERE date > DATE '{SINCE}' AND date <= DATE '{AS_OF}' GROUP BY ALL) GROUP BY ALL))
        USING (customer_id)""",
    ),
    Case(
        "treatment: fewer orders",
        lambda t: signs.fewer_orders(of_key(t, "bought"), SPLIT, AS_OF),
        f"""
        SELECT customer_id, orders, before * ratio AS usual_orders,
               {shift("orders", "before", "ratio")} < -{Z} AS fewer_orders
        FROM ({FIRST})""",
    ),
    Case(
        "treatment: more complaints",
        lambda t: signs.more_complaints(of_key(t, "cases"), of_key(t, "bought"), SPLIT, AS_OF, ["invoice"]),
        f"""
        SELECT customer_id, now AS complaints, c.before * ratio AS usual_complaints,
               {shift("now", "c.before", "ratio")} > {Z} AND now >= 2 AS more_complaints
        FROM (SELECT customer_id, ratio, count(*) FILTER (opened::DATE > DATE '{SPLIT}') AS now,
                     count(*) FILTER (opened::DATE <= DATE '{SPLIT}') AS before
              FROM cases JOIN ({FIRST}) f USING (customer_id)
              WHERE lower(cause) <> 'invoice' AND opened::DATE >= first GROUP BY ALL) c""",
    ),
    Case(
        "treatment: lower margin",
        lambda t: signs.lower_margin(of_key(t, "bought"), SPLIT, drop=0.05),
        f"""
        SELECT customer_id, v_now / a_now AS margin, v_before / a_before AS margin_before,
               margin_before - margin >= .05 AND margin_before - margin > sqrt(greatest(e1 + e0, 0)) * (
                   {Z} + {(Z**3 + Z) / 4} * w + {(5 * Z**5 + 16 * Z**3 + 3 * Z) / 96} * w * w) AS lower_margin
        FROM (SELECT *, {ERROR.format("now")} AS e1, {ERROR.format("before")} AS e0,
              coalesce((e1 * e1 / ({EFFECTIVE.format("now")} - 1) + e0 * e0 / ({EFFECTIVE.format("before")} - 1))
                  / nullif(pow(e1 + e0, 2), 0), 0) AS w
        FROM (SELECT customer_id, {MARGINS}
              FROM (SELECT customer_id, date, amount::DOUBLE AS a, value::DOUBLE AS v FROM bought WHERE {KEY})
              GROUP BY ALL) WHERE n_now >= 5 AND n_before >= 5 AND a_now > 0 AND a_before > 0)""",
    ),
    Case(
        "treatment: narrower range",
        lambda t: signs.narrower_range(treatment.with_category(of_key(t, "transactions"), t["products"]), SPLIT),
        f"""
        WITH each AS (
            SELECT customer_id, category, count(DISTINCT date) FILTER (date > DATE '{SPLIT}') AS now,
                   count(DISTINCT date) - now AS before
            FROM transactions JOIN products USING (product_id) WHERE {KEY} AND amount > 0 GROUP BY ALL),
        spread AS (
            SELECT *, pow(1 - before / m, n) AS missed
            FROM each JOIN (SELECT customer_id, sum(now) AS n, sum(before) AS m FROM each GROUP BY ALL)
            USING (customer_id) WHERE n > 0 AND m > 0)
        SELECT customer_id, count(*) FILTER (now > 0) AS categories,
               sum((1 - missed)::DECIMAL(38, 6))::DOUBLE AS usual_categories,
               max(now) / any_value(n) AS main_share,
               (categories <= .5 * usual_categories
                AND usual_categories - categories > {
            Z
        } * sqrt(greatest(sum((missed * (1 - missed))::DECIMAL(38, 6))::DOUBLE, 0)))
               OR coalesce({
            shift(
                "(any_value(n) - max(now))",
                "(any_value(m) - sum(before) FILTER (now >= .9 * n))",
                "(any_value(n) / any_value(m))",
            )
        } < -{Z}, false) AS narrower_range
        FROM spread GROUP BY customer_id""",
    ),
    Case(
        "treatment: contacts due",
        lambda t: treatment.visits_due(t["treatment_tiered"], t["contacts"], as_of=AS_OF),
        f"""
        SELECT customer_id, tier, value, last_contact,
               DATE '{AS_OF}' - coalesce(last_contact, first_purchase) AS days_since,
               CASE tier WHEN 'important' THEN 30 WHEN 'major' THEN 60 WHEN 'ordinary' THEN 180 ELSE 0 END AS cadence,
               coalesce(cadence > 0 AND days_since > cadence, false) AS due,
               if(due, days_since - cadence, 0) AS days_overdue
        FROM treatment_tiered LEFT JOIN (
            SELECT customer_id, max(time::DATE) AS last_contact FROM contacts WHERE purpose <> 'market' GROUP BY ALL)
        USING (customer_id)""",
    ),
    Case(
        "treatment: growing small customers",
        lambda t: treatment.growing(t["treatment_small"], t["bought"], SINCE, SPLIT, AS_OF),
        f"""
        SELECT customer_id, (s1 - s0 * ratio) * (365.25::DOUBLE / {DAYS}) AS at_stake,
               if(s0 * ratio > 0, s1 / (s0 * ratio), NULL) AS growth
        FROM (SELECT customer_id, min(date) AS first,
                     count(DISTINCT date_trunc('month', date)) FILTER (date > DATE '{SINCE}') AS months,
                     coalesce(sum(v) FILTER (date > DATE '{SPLIT}'), 0)::DOUBLE AS s1,
                     coalesce(sum(w) FILTER (date > DATE '{SPLIT}'), 0)::DOUBLE AS q1,
                     coalesce(sum(v) FILTER (date <= DATE '{SPLIT}' AND date > DATE '{SINCE}'), 0)::DOUBLE AS s0,
                     coalesce(sum(w) FILTER (date <= DATE '{SPLIT}' AND date > DATE '{SINCE}'), 0)::DOUBLE AS q0,
                     {DAYS} / greatest(DATE '{SPLIT}' - greatest(min(date), DATE '{SINCE}'), 1) AS ratio
              FROM (SELECT customer_id, date, value AS v,
                           (value::DOUBLE * value::DOUBLE)::DECIMAL(38, 6) AS w FROM bought
                    WHERE customer_id IN (SELECT customer_id FROM treatment_small)) GROUP BY customer_id)
        WHERE months >= 3 AND first <= DATE '{SPLIT}' AND s1 >= 2 * s0 * ratio
              AND s1 - s0 * ratio > {Z} * sqrt(q1 + ratio * ratio * q0)""",
    ),
]
