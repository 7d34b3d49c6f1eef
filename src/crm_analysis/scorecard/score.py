"""The scorecard: every customer judged by several criteria, and the big customers who are not good ones."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import numerals, ranking
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.pareto import ROUNDING, among_best
from crm_analysis.scorecard.accounts import DEDUCTIONS, FIRST
from crm_analysis.scorecard.words import joined, percent

# What customers are judged by, and whether more of it is better.
CRITERIA = {
    "profit": True,
    "margin": True,
    "discount_share": False,
    "return_share": False,
    "service_share": False,
    "days_late": False,
    "at_risk_share": False,
    "complaints": False,
    "growth": True,
}
QUADRANTS = ("big and good", "big, not good", "small and good", "small, not good")
OTHERS = "returns and service of others"
GRADES = ("A", "B", "C", "D", "E")  # each for a fifth of the customers
LEAST_CRITERIA = 3
WORDS = {"discounts": "discounts", "returns": "returns", "cost": "goods", "service": "service"}
STEPS = {
    "discounts": "Take back the discount, step by step.",
    "returns": "Find out why so much comes back.",
    "cost": "Raise the prices of what earns least.",
    "service": "Charge for visits, or serve by phone.",
}
BINS = (0.1, 0.05)  # of the map: tenths of a power of ten of revenue, twentieths of margin
REACH = 1.0  # margins beyond stand at the edge of the map


def criteria(
    accounts: Table,
    *,
    owed: Table | None = None,
    cases: Table | None = None,
    trends: Table | None = None,
    start: dt.date,
    end: dt.date,
) -> ir.Table:
    """Return the customers' accounts with all that they are judged by.

    Parameters
    ----------
    accounts
        See `accounts`.
    owed
        What each customer owes and how they pay (`receivables.by_customer`).
    cases
        Clean cases; those opened after `start` and up to `end` are counted.
    trends
        See `trends`.
    start, end
        Of the accounts.

    Returns
    -------
    ibis.Table
        The accounts' columns and of `CRITERIA` those that the data have: `discount_share` (of the list price),
        `return_share` (of sales), `service_share` and `at_risk_share` (of revenue), `days_late`, `complaints` (for
        each purchase), `growth` (projected change of revenue in a period, for each unit of revenue now). NULL where
        it is not known of a customer; then also `at_risk` (money), `bad_payer`, `late`, `invoices` and `cases`.
    """
    table = as_table(accounts)
    if owed is not None:
        paid = as_table(owed).select(
            *("days_late", "at_risk", "bad_payer", "late", "invoices", "months"), debtor="customer_id"
        )
        table = table.left_join(paid, table["customer_id"] == paid["debtor"]).drop("debtor")
    if cases is not None:
        opened = as_table(cases)
        day = opened["opened"].cast("date")
        opened = opened.filter(day > start, day <= end)
        month = opened["opened"].year() * 12 + opened["opened"].month()
        counted = opened.group_by(person="customer_id").aggregate(cases=opened.count(), case_months=month.nunique())
        table = table.left_join(counted, table["customer_id"] == counted["person"]).drop("person")
        table = table.mutate(cases=table["cases"].fill_null(0), case_months=table["case_months"].fill_null(0))
    if trends is not None:
        known = as_table(trends).select("change", grown="customer_id")
        table = table.left_join(known, table["customer_id"] == known["grown"]).drop("grown")
    parts = {
        "discount_share": ("discounts", "list_amount"),
        "return_share": ("returns", "gross"),
        "service_share": ("service", "revenue"),
        "at_risk_share": ("at_risk", "revenue"),
        "complaints": ("cases", "purchases"),
        "growth": ("change", "revenue"),
    }
    return table.mutate(
        **{
            name: (table[whole] > 0).ifelse(table[part] / table[whole].nullif(0), None).cast("float64")
            for name, (part, whole) in parts.items()
            if {part, whole} <= set(table.columns)
        }
    )


def proportions(weights: Mapping[str, float], there: Collection[str]) -> dict[str, float]:
    """Return what each criterion weighs where some are not there (see `ranking.proportions`)."""
    return ranking.proportions(weights, there, CRITERIA)


def scored(customers: Table, weights: Mapping[str, float]) -> ir.Table:
    """Return the customers with a score and a grade.

    In each criterion a customer scores the share of the other customers of whom it is known who do worse, and half of
    the share who do just as well: 0.5 for all if they are equal, so a criterion in which nearly all are equal moves
    only the few who differ. The `score` is the weighted mean of these; what is not known of a customer is left out of
    it. A fifth of the customers with the best scores have the `grade` A, the next fifth B, and so on to E; equal
    scores have one grade.

    Parameters
    ----------
    customers
        See `criteria`.
    weights
        See `proportions`.

    Returns
    -------
    ibis.Table
        Their columns, `score` (0 to 1; NULL of whom nothing is known) and `grade`.

    Notes
    -----
    Bross, I. D. J. (1958). How to use ridit analysis. Biometrics 14.
    """
    table = as_table(customers)
    used = proportions(weights, table.columns)
    points = [_points(table, name).fill_null(0.0) * weight for name, weight in used.items()]
    weighed = [table[name].notnull().ifelse(weight, 0.0) for name, weight in used.items()]
    # Equal scores are equal, whatever criteria they come from: 0.1 + 0.2 is 0.3.
    found = table.mutate(score=(sum(points[1:], points[0]) / sum(weighed[1:], weighed[0]).nullif(0)).round(9))
    better = ibis.percent_rank().over(group_by=found["score"].isnull(), order_by=ibis.desc("score"))
    *first, last = GRADES
    grade = ibis.cases(
        (found["score"].isnull(), ibis.null("string")),
        *((better < (place + 1) / len(GRADES) - 1e-9, grade) for place, grade in enumerate(first)),
        else_=last,
    )
    return found.mutate(grade=grade)


def grades(scored: Table, used: Collection[str]) -> pd.DataFrame:
    """Return how many customers have each grade and what they bring, the best grade first.

    Parameters
    ----------
    scored
        See `scored`.
    used
        The criteria that have a weight (see `proportions`).

    Returns
    -------
    pandas.DataFrame
        `grade`, `customers`, `revenue`, and `profit` where it is known.

    Raises
    ------
    Unanswerable
        There are less than three criteria, which make no scorecard, or nobody has a grade.
    """
    if len(used) < LEAST_CRITERIA:
        lacking = ", ".join(name.replace("_", " ") for name in CRITERIA if name not in used)
        raise Unanswerable(
            f"A scorecard needs {LEAST_CRITERIA} criteria; {lacking} are not in the data or weigh nothing."
        )
    table = as_table(scored)
    table = table.filter(table["grade"].notnull())
    money = [name for name in ("revenue", "profit") if name in table.columns]
    found = table.group_by("grade").aggregate(
        customers=table.count(), **{name: exact_sum(table[name]).cast("float64") for name in money}
    )
    frame = found.order_by("grade").to_pandas()
    if frame.empty:
        raise Unanswerable("Nothing that has a weight in the scorecard is known of any customer in this period.")
    return frame


def placed(customers: Table, share: float, margin: float) -> ir.Table:
    """Return the customers with their place among big and small, good and not good ones.

    Parameters
    ----------
    customers
        Accounts, perhaps with criteria and scores; with `profit`.
    share
        The best share of them by revenue is big; equals at its edge are all in.
    margin
        The profit of each unit of revenue from which a customer is good; who loses money never is.

    Returns
    -------
    ibis.Table
        Their columns, `big`, `good` and `quadrant` (one of `QUADRANTS`).
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of customers lies above 0 and not above 1, not at {share}")
    table = as_table(customers)
    found = table.mutate(
        big=among_best(table, table["revenue"], share),
        good=table["profit"] >= ibis.greatest(table["revenue"] * margin, 0.0),
    )
    big, good = found["big"], found["good"]
    kinds = zip((big & good, big, good), QUADRANTS, strict=False)
    return found.mutate(quadrant=ibis.cases(*kinds, else_=QUADRANTS[-1]))


def quadrants(placed: Table) -> pd.DataFrame:
    """Return what each quadrant brings: `quadrant` (all four), `customers`, `revenue`, `profit`, `margin`."""
    table = as_table(placed)
    found = (
        table.group_by("quadrant")
        .aggregate(
            customers=table.count(),
            revenue=exact_sum(table["revenue"]).cast("float64"),
            profit=exact_sum(table["profit"]).cast("float64"),
        )
        .to_pandas()
        .set_index("quadrant")
        .reindex([*QUADRANTS], fill_value=0)
        .rename_axis("quadrant")
        .reset_index()
    )
    return found.assign(margin=found["profit"] / found["revenue"].where(found["revenue"] > 0))


def with_others(quadrants: pd.DataFrame, totals: Mapping[str, float]) -> pd.DataFrame:
    """Return the quadrants with a row of what they lack of the totals of all accounts, if there is anyone else.

    It is of those who bought nothing in the period, but returned something, or had to be served.
    """
    rest = {name: totals[name] - quadrants[name].sum() for name in ("customers", "revenue", "profit")}
    if not rest["customers"]:
        return quadrants
    row = pd.DataFrame([{"quadrant": OTHERS, "margin": float("nan")} | rest])
    return pd.concat([quadrants, row], ignore_index=True).astype({"customers": int})


def density(placed: Table) -> pd.DataFrame:
    """Return how many customers have about the same revenue and margin: what a map of all of them is drawn from.

    Returns
    -------
    pandas.DataFrame
        For each cell that is not empty `revenue_from` and `revenue_to` (a tenth of a power of ten), `margin_from` and
        `margin_to` (5 points, from -100 % to 100 %, what lies beyond at the edge), `customers`. Those without revenue
        have no place.
    """
    wide, high = BINS
    table = as_table(placed)
    table = table.filter(table["revenue"] > 0)
    margin = ibis.least(ibis.greatest(table["margin"], -REACH), REACH - high / 2)
    cells = table.group_by(
        column=(table["revenue"].log10() / wide + ROUNDING).floor().cast("int64"),
        row=(margin / high + ROUNDING).floor().cast("int64"),
    )
    found = cells.aggregate(customers=table.count()).order_by("column", "row").to_pandas()
    return pd.DataFrame(
        {
            **{f"revenue_{side}": 10 ** ((found["column"] + part) * wide) for part, side in enumerate(("from", "to"))},
            **{f"margin_{side}": (found["row"] + part) * high for part, side in enumerate(("from", "to"))},
            "customers": found["customers"],
        }
    )


def big_not_good(placed: Table, totals: Mapping[str, float], *, late_days: int = 30) -> ir.Table:
    """Return the big customers who are not good ones, those who cost most first.

    What a customer costs is the profit lost against what the company usually keeps of its list price. It is made up,
    exactly, of what discounts, returns, goods and service take more, or less, of the customer's list price than usual.

    Parameters
    ----------
    placed
        See `placed`.
    totals
        The sums of all accounts (see `accounts.totals`).
    late_days
        Days past due beyond which paying late is told too.

    Returns
    -------
    ibis.Table
        `customer_id`, `lost` (money), `revenue`, `profit`, `margin`, `score` and `grade` where there are any, then
        `lost_by_discounts`, … for each deduction that is known, `why` (which of these take clearly more than usual,
        in shares of the list price, in brackets the usual one) and `first_step` (against that which takes most).
    """
    table = as_table(placed)
    table = table.filter(table["big"] & ~table["good"])
    base = "list_amount" if "list_amount" in table.columns else "gross"
    known = [name for name in DEDUCTIONS if name in table.columns]
    usual = {name: totals[name] / totals[base] if totals[base] > 0 else 0.0 for name in known}
    drags = {f"lost_by_{name}": table[name] - table[base] * usual[name] for name in known}
    table = table.mutate(**drags)
    table = table.mutate(lost=sum((table[name] for name in list(drags)[1:]), table[next(iter(drags))]))
    most = ibis.greatest(*(table[name] for name in drags))
    clearly = ibis.greatest(table["lost"], most) * 0.1
    told = [
        (
            table[f"lost_by_{name}"] > clearly,
            ibis.literal(f"{WORDS[name]} ")
            + percent(table[name] / table[base].nullif(0))
            + f" of {FIRST[base]}" * (name == "returns")  # elsewhere they are a share of sales
            + f" ({numerals.count(100 * usual[name])}%)",
        )
        for name in sorted(known, key="returns".__eq__)
    ]
    if "days_late" in table.columns:
        late = table["days_late"]
        told.append((late > late_days, late.round(0).cast("int64").cast("string") + " days late"))
    steps = [(table[f"lost_by_{name}"] == most, STEPS[name]) for name in known]
    table = table.mutate(why=joined(told, ", "), first_step=ibis.cases(*steps, else_=STEPS["cost"]))
    columns = ["lost", "revenue", "profit", "margin", "score", "grade", *drags, "why", "first_step"]
    there = [name for name in columns if name in table.columns]
    return table.order_by(ibis.desc("lost"), "customer_id").select("customer_id", *there)


def _points(table: ir.Table, name: str) -> ir.FloatingValue:
    """Return the share of those known who do worse and half of those who do equally well; NULL if it is not known."""
    known = table[name].count().over(ibis.window())
    order = ibis.asc(name) if CRITERIA[name] else ibis.desc(name)
    window = ibis.window(group_by=table[name].isnull(), order_by=order)
    worse, others = ibis.percent_rank().over(window), (known - 1).nullif(0)
    upto = (ibis.cume_dist().over(window) * known - 1) / others
    return table[name].notnull().ifelse(((worse + upto) / 2).fill_null(0.5), None)
