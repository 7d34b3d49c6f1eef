"""Signs that warn of the loss of a key customer: the last months against the customer's own past.

What differs is judged by one-sided tests at 5 %, so that of customers who go on as ever about one in 20 shows a
given sign by chance; means and margins of few and uneven values bring one in ten, or more.

Two counts n and m in times, or among purchases, of the ratio r = t / u are compared by their roots: 2 (sqrt(n + 3/8)
- sqrt(r (m + 3/8))) / sqrt(1 + r) is next to standard normal for Poisson counts of equal rates (Anscombe's transform;
K. Gu, H. Ng, M. Tang and W. Schucany, Testing the ratio of two Poisson rates, Biometrical Journal 50, 2008). Who buys
at regular intervals scatters less, and so shows a sign by chance more rarely still.

Two means or margins are compared by the t distribution with the degrees of freedom of Welch (B. L. Welch, The
generalization of 'Student's' problem when several different population variances are involved, Biometrika 34, 1947).
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table, exact_sum

Z = 1.6448536269514722  # the normal quantile of a one-sided test at 5 %
LEAST = 5  # purchases, or invoices, on each side of the split from which averages are compared
COMPLAINTS = 2  # recent complaints from which there can be more than before
NEARLY_ALL = 0.9  # share of the recent lines that makes one category nearly all
NARROWED = 0.5  # share of the categories to be expected that is much fewer


def silent(habits: Table) -> ir.Table:
    """Return whose silence is out of the own rhythm, from `rfm.habits`: `silence`, `usual_gap` (days), `silent`."""
    table = as_table(habits)
    return table.select("customer_id", "silence", "usual_gap", silent="quiet")


def fewer_orders(bought: Table, split: dt.date, as_of: dt.date) -> ir.Table:
    """Return who has ordered less often since the split than before.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (`customers.purchases`).
    split
        The last day of what is before.
    as_of
        The last day of what is recent.

    Returns
    -------
    ibis.Table
        One row per customer who first bought before the split: `customer_id`, `orders` (purchases since the split),
        `usual_orders` (at the customer's own rate before it, the first purchase being where that begins) and
        `fewer_orders`.
    """
    table = as_table(bought)
    found = table.group_by("customer_id").aggregate(
        first=table["date"].min(),
        orders=table["customer_id"].count(where=table["date"] > split),
        before=table["customer_id"].count(where=table["date"] <= split) - 1,
    )
    found = found.filter(found["first"] < split)
    ratio = (as_of - split).days / ibis.literal(split).delta(found["first"], unit="day").cast("float64")
    return found.select(
        "customer_id",
        "orders",
        usual_orders=found["before"] * ratio,
        fewer_orders=_shift(found["orders"], found["before"], ratio) < -Z,
    )


def more_complaints(
    cases: Table, bought: Table, split: dt.date, as_of: dt.date, not_complaints: Sequence[str] = ()
) -> ir.Table:
    """Return who has complained more often since the split than before.

    Parameters
    ----------
    cases
        Cases opened by the as-of date.
    bought, split, as_of
        As for `fewer_orders`.
    not_complaints
        Causes of cases that are no complaints, in small or capital letters.

    Returns
    -------
    ibis.Table
        One row per customer who first bought before the split and has complained since that first purchase:
        `customer_id`, `complaints` (since the split), `usual_complaints` (at the customer's own rate before it) and
        `more_complaints`.
    """
    table = as_table(cases)
    table = table.filter(table["cause"].lower().notin([cause.lower() for cause in not_complaints]))
    known = as_table(bought)
    known = known.filter(known["date"] < split).group_by(buyer="customer_id").aggregate(first=known["date"].min())
    table = table.mutate(opened=table["opened"].cast("date")).inner_join(known, table["customer_id"] == known["buyer"])
    table = table.filter(table["opened"] >= table["first"])  # the time in which they are counted begins with it
    recent = table["opened"] > split
    found = table.group_by("customer_id", "first").aggregate(
        complaints=table["customer_id"].count(where=recent), before=table["customer_id"].count(where=~recent)
    )
    ratio = (as_of - split).days / ibis.literal(split).delta(found["first"], unit="day").cast("float64")
    more = _shift(found["complaints"], found["before"], ratio) > Z
    return found.select(
        "customer_id",
        "complaints",
        usual_complaints=found["before"] * ratio,
        more_complaints=more & (found["complaints"] >= COMPLAINTS),
    )


def later_payment(invoices: Table, split: dt.date, *, days: int) -> ir.Table:
    """Return who pays later since the split than before.

    Parameters
    ----------
    invoices
        Invoices that have fallen due, with `days_late` (`receivables.invoices`); credits are left out.
    split
        The last due date of what is before.
    days
        How much later at least, on average.

    Returns
    -------
    ibis.Table
        One row per customer with at least 5 invoices on each side: `customer_id`, `days_late`, `days_late_before`
        (means) and `later_payment`.
    """
    if days < 1:
        raise ValueError(f"who pays later does so by at least 1 day, not {days}")
    table = as_table(invoices)
    table = table.filter(table["amount"] >= 0)
    late, recent = table["days_late"].cast("int64"), table["due"] > split
    sums: dict[str, ir.Scalar] = {}
    for side, here in (("now", recent), ("before", ~recent)):
        sums |= {f"n_{side}": table["customer_id"].count(where=here), f"sum_{side}": late.sum(where=here)}
        sums |= {f"squares_{side}": (late * late).sum(where=here)}
    found = table.group_by("customer_id").aggregate(**sums)
    found = found.filter((found["n_now"] >= LEAST) & (found["n_before"] >= LEAST))
    mean, error, freedom = {}, {}, {}
    for side in ("now", "before"):
        n, total = found[f"n_{side}"].cast("float64"), found[f"sum_{side}"].cast("float64")
        mean[side], freedom[side] = total / n, n - 1
        error[side] = (found[f"squares_{side}"] - total * total / n) / (n - 1) / n
    later = mean["now"] - mean["before"]
    surely = later > _chance(error, freedom)
    return found.select(
        "customer_id", days_late=mean["now"], days_late_before=mean["before"], later_payment=(later >= days) & surely
    )


def lower_margin(bought: Table, split: dt.date, *, drop: float) -> ir.Table:
    """Return whose purchases leave less of their amount since the split than before.

    Parameters
    ----------
    bought
        Every purchase by the as-of date, with `value` before service costs (`customers.purchases`).
    split
        The last day of what is before.
    drop
        By how much the margin is lower at least: 0.05 is 5 percentage points.

    Returns
    -------
    ibis.Table
        One row per customer with at least 5 purchases, and an amount above 0, on each side: `customer_id`, `margin`,
        `margin_before` (value by amount of all purchases together) and `lower_margin`.

    Notes
    -----
    The error of a margin R is that of a ratio of sums: n / (n - 1) times the sum of (value - R amount)^2, divided by
    the square of the amount (Cochran, W. G. (1977). Sampling Techniques, chapter 6). As one large purchase outweighs
    many small ones, n is the effective number: the square of the amount by the sum of squares (Kish).
    """
    if not drop > 0:
        raise ValueError(f"a margin is lower by more than 0, not {drop}")
    table = as_table(bought)
    a, v, recent = table["amount"].cast("float64"), table["value"].cast("float64"), table["date"] > split
    terms = {"a": a, "v": v, "aa": a * a, "av": a * v, "vv": v * v}
    sums: dict[str, ir.Scalar] = {}
    for side, here in (("now", recent), ("before", ~recent)):
        sums |= {f"{name}_{side}": exact_sum(here.ifelse(term, 0)) for name, term in terms.items()}
        sums |= {f"n_{side}": table["customer_id"].count(where=here)}
    found = table.group_by("customer_id").aggregate(**sums)
    found = found.mutate(**{name: found[name].cast("float64") for name in sums})
    for side in ("now", "before"):
        found = found.filter((found[f"n_{side}"] >= LEAST) & (found[f"a_{side}"] > 0))
    margin, error, freedom = {}, {}, {}
    for side in ("now", "before"):
        a, v, aa, av, vv = (found[f"{name}_{side}"] for name in terms)
        margin[side], n = v / a, a * a / aa
        freedom[side] = (n > 1 + 1e-9).ifelse(n - 1, ibis.null("float64"))  # all of it from one purchase
        rest = vv - 2 * margin[side] * av + margin[side] * margin[side] * aa
        error[side] = n / freedom[side] * rest / (a * a)
    lower = margin["before"] - margin["now"]
    surely = (lower > _chance(error, freedom)).fill_null(False)
    return found.select(
        "customer_id", margin=margin["now"], margin_before=margin["before"], lower_margin=(lower >= drop) & surely
    )


def narrower_range(lines: Table, split: dt.date) -> ir.Table:
    """Return who buys from much fewer categories since the split than before, or nearly all from one.

    Parameters
    ----------
    lines
        Transaction lines with `amount` and `category` (or products in its place); returns and lines without are
        left out.
    split
        The last day of what is before.

    Returns
    -------
    ibis.Table
        One row per customer with lines on both sides; lines of one category in one purchase count once, for they are
        bought together: `customer_id`, `categories` (since the split), `usual_categories` (in so many lines drawn from
        those before: the sum over categories of 1 - (1 - share)^n), `main_share` (of the recent lines in their main
        category) and `narrower_range`: at most half of the usual categories, or 90 % of the lines in one category;
        both beyond chance.
    """
    table = as_table(lines)
    table = table.filter((table["amount"] > 0) & table["category"].notnull())
    table = table.select("customer_id", "date", "category").distinct()
    recent = table["date"] > split
    each = table.group_by("customer_id", "category").aggregate(
        now=table["customer_id"].count(where=recent), before=table["customer_id"].count(where=~recent)
    )
    whole = each.group_by(buyer="customer_id").aggregate(all_now=each["now"].sum(), all_before=each["before"].sum())
    whole = whole.filter((whole["all_now"] > 0) & (whole["all_before"] > 0))
    each = each.inner_join(whole, each["customer_id"] == whole["buyer"])
    missed = (1 - each["before"].cast("float64") / each["all_before"]).pow(each["all_now"].cast("float64"))
    found = each.mutate(missed=missed).group_by("customer_id")
    found = found.aggregate(
        categories=lambda t: t["customer_id"].count(where=t["now"] > 0),
        usual_categories=lambda t: exact_sum(1 - t["missed"]).cast("float64"),
        scatter=lambda t: exact_sum(t["missed"] * (1 - t["missed"])).cast("float64"),
        main=lambda t: t["now"].max(),
        main_before=lambda t: t["before"].sum(where=t["now"] >= NEARLY_ALL * t["all_now"]),
        all_now=lambda t: t["all_now"].max(),
        all_before=lambda t: t["all_before"].max(),
    )
    usual, categories = found["usual_categories"], found["categories"]
    fewer = (categories <= NARROWED * usual) & (usual - categories > Z * _root(found["scatter"]))
    other, other_before = found["all_now"] - found["main"], found["all_before"] - found["main_before"]
    ratio = found["all_now"].cast("float64") / found["all_before"]
    single = found["main_before"].notnull() & (_shift(other, other_before, ratio) < -Z)
    return found.select(
        "customer_id",
        "categories",
        "usual_categories",
        main_share=found["main"].cast("float64") / found["all_now"],
        narrower_range=fewer | single,
    )


def _shift(now: ir.IntegerValue, before: ir.IntegerValue, ratio: ir.FloatingValue) -> ir.FloatingValue:
    """Return how far a count is from what one before it would let expect, in standard errors."""
    return 2 * (_root(now + 0.375) - _root(ratio * (before + 0.375))) / _root(1 + ratio)


def _chance(error: dict[str, ir.FloatingValue], freedom: dict[str, ir.FloatingValue]) -> ir.FloatingValue:
    """Return the difference of two means that chance exceeds in 5 % of cases: t times its standard error.

    The quantile of t is next to that of the normal distribution and two terms in the inverse degrees of freedom (Fisher
    and Cornish, Technometrics 2, 1960).
    """
    both = error["now"] + error["before"]
    squares = (error[side] * error[side] / freedom[side] for side in ("now", "before"))
    inverse = (operator.add(*squares) / (both * both).nullif(0)).fill_null(0)
    t = Z + (Z**3 + Z) / 4 * inverse + (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96 * inverse * inverse
    return t * _root(both)


def _root(number: ir.NumericValue) -> ir.FloatingValue:
    """Return the square root; 0 of what rounding has brought below 0."""
    return ibis.greatest(number.cast("float64"), 0.0).sqrt()
