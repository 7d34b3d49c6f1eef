"""Who grows and who shrinks, beyond what chance and the season explain."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from scipy import stats

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import FEW

YEAR = 12  # months, each a twelfth of 365.25 days: all of one length
LEAST_MONTHS = 4  # with purchases, without which nobody is judged
FINE = 100  # steps of t that are told apart when the chances of all customers are weighed
EXACT = 1e-9  # of the sum of squares: a smaller rest is rounding


def months_of(lines: Table, as_of: dt.date) -> ir.Table:
    """Return what each customer bought in each month, counted back from the as-of date.

    Returns
    -------
    ibis.Table
        `customer_id`, `month` (0 is the last one; a twelfth of 365.25 days), `revenue` (float): one row for each month
        in which something happened.
    """
    table = as_table(lines)
    table = table.filter(table["date"] <= as_of)
    days = ibis.literal(as_of).delta(table["date"], unit="day")
    dated = table.group_by("customer_id", month=(days * (4 * YEAR)) // 1461)
    return dated.aggregate(revenue=exact_sum(table["amount"]).cast("float64"))


def season(monthly: Table, months: int) -> list[float]:
    """Return how much more than usual is bought in each of the last twelve months because of the season.

    It is the revenue of all customers in a month of the year, in relation to a straight line through the years; so the
    company's own growth is no season. Two whole years are needed, and revenue that does not rest on less than 30
    customers (the effective number, see `dependence`); else nothing is known of the season, and all factors are 1.

    Parameters
    ----------
    monthly
        See `months_of`.
    months
        How many of the last months to look at.
    """
    flat, whole = [1.0] * YEAR, months // YEAR * YEAR
    table = as_table(monthly)
    table = table.filter(table["month"] < whole)
    if months < 2 * YEAR or not np.isfinite(number := _effective(table)) or number < FEW:
        return flat
    by_month = table.group_by("month").aggregate(revenue=exact_sum(table["revenue"]).cast("float64")).to_pandas()
    total = by_month.set_index("month")["revenue"].reindex(range(whole), fill_value=0.0).to_numpy()
    years = total.reshape(-1, YEAR).mean(axis=1)
    slope = np.polyfit(np.arange(len(years)), years, 1)[0] / YEAR  # from year to year, where the season plays no part
    line = total.mean() + slope * (np.arange(whole) - (whole - 1) / 2)
    if line.min() <= 0 or total.min() <= 0:
        return flat
    factors = (total / line).reshape(-1, YEAR).mean(axis=0)
    return [float(factor) for factor in factors / factors.mean()]


def trends(monthly: Table, factors: list[float], months: int) -> ir.Table:
    """Return the trend of each customer's revenue, with its uncertainty.

    A straight line is laid through the customer's revenue of each month (least squares), months with nothing
    included, freed from the season. It covers the last two periods, or begins with the first month after that of the
    first purchase, which tells nothing of growth. One order alone makes no clear trend: its |t| stays below 2.

    Beside it stands the break: the last quarter of a period against all months before it, which shows at once who has
    just stopped buying; a straight line does so only much later.

    Parameters
    ----------
    monthly
        See `months_of`.
    factors
        See `season`.
    months
        The length of a period.

    Returns
    -------
    ibis.Table
        One row per customer who has been known for a period at least and bought in four months of those looked at:
        `customer_id`, `known` (months looked at), `bought` (months with purchases), `revenue` and `revenue_before` (of
        the last period and of the one before, as it was), `change` (projected: by how much the revenue of the next
        period differs from that of the last one if the line goes on), `low` and `high` (its 95 % interval), `t` (of the
        slope), `pace` (what a period brings at the pace of its last quarter), `break_t`.

    Notes
    -----
    Slope and standard error are those of ordinary least squares, from the sums of revenue, its square and its product
    with the month; the break is the two-sample t-test with equal variances. Both have known - 2 degrees of freedom.
    """
    if months < 1:
        raise ValueError(f"a period has at least one month, not {months}")
    window, quarter = 2 * months, max(months // 4, 1)
    table = as_table(monthly)
    month, own = table["month"], table["revenue"]
    factor = ibis.cases(*((month % YEAR == place, factor) for place, factor in enumerate(factors)), else_=1.0)
    table = table.mutate(
        y=(month < window).ifelse(own / factor, 0.0), own=(month < window).ifelse(own, 0.0), now=month < quarter
    )
    month, y = table["month"], table["y"]
    sums = {
        "y": y,
        "xy": -month * y,  # time runs forward
        "yy": y * y,
        "last": table["now"].ifelse(y, 0.0),
        "revenue": (month < months).ifelse(table["own"], 0.0),
        "all": table["own"],
    }
    found = table.group_by("customer_id").aggregate(
        first=month.max(),
        first_y=y.argmax(month),
        bought=month.count(where=(table["own"] > 0)),
        **{f"sum_{name}": exact_sum(part).cast("float64") for name, part in sums.items()},
    )
    # The month of the first purchase is looked at only where it lies before the window and so adds nothing.
    young = found["first"] < window
    x, gone = -found["first"], young.ifelse(found["first_y"], 0.0)
    found = found.mutate(
        known=young.ifelse(found["first"], window),
        bought=found["bought"] - (gone > 0).ifelse(1, 0),
        sum_y=found["sum_y"] - gone,
        sum_xy=found["sum_xy"] - gone * x,
        sum_yy=found["sum_yy"] - gone * gone,
    )
    found = found.filter(found["known"] >= ibis.greatest(months, quarter + 2, 3), found["bought"] >= LEAST_MONTHS)
    n = found["known"].cast("float64")
    spread = n * (n * n - 1) / 12  # of the months around their mean
    slope = (found["sum_xy"] + (n - 1) / 2 * found["sum_y"]) / spread
    least = found["sum_yy"] * EXACT
    whole = found["sum_yy"] - found["sum_y"] * found["sum_y"] / n
    rest = ibis.greatest(whole - slope * slope * spread, least)
    earlier = found["sum_y"] - found["sum_last"]
    within = whole - _squares(found["sum_last"], earlier, n, quarter)
    drop = found["sum_last"] / quarter - earlier / (n - quarter)
    found = found.mutate(
        slope=slope,
        error=(rest / (n - 2) / spread).sqrt(),
        break_t=drop / (ibis.greatest(within, least) / (n - 2) * (1 / (n - quarter) + 1.0 / quarter)).sqrt(),
    )
    year = float(months * months)  # the next period's months all lie a period later
    reach = ibis.cases(
        *((found["known"] == known, float(stats.t.isf(0.025, known - 2))) for known in range(3, max(window, 3) + 1)),
        else_=0.0,
    )
    return found.select(
        *("customer_id", "known", "bought"),
        revenue="sum_revenue",
        revenue_before=found["sum_all"] - found["sum_revenue"],
        change=found["slope"] * year,
        low=(found["slope"] - reach * found["error"]) * year,
        high=(found["slope"] + reach * found["error"]) * year,
        t=(found["error"] > 0).ifelse(found["slope"] / found["error"].nullif(0), 0.0),
        pace=found["sum_last"] * (months / quarter),
        break_t=found["break_t"].fill_null(0.0),
    )


def judged(trends: Table, chance: float = 0.05) -> ir.Table:
    """Return the customers with the `way` on which they are, where chance hardly explains it.

    With many customers some look as if they grew. So the more of them are judged, the clearer a trend has to be: of
    those who are said to be on their way, about the share `chance` may be so by chance.

    Parameters
    ----------
    trends
        See `trends`.
    chance
        The share of false discoveries that is accepted, for slopes and breaks each.

    Returns
    -------
    ibis.Table
        Their columns and `way`: `up` or `down` (a clear slope), `down` also after a clear break; else NULL.

    Raises
    ------
    Unanswerable
        Nobody can be judged.

    Notes
    -----
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. JRSS B 57. It is applied to two-sided
    p-values of t, rounded up to the hundredth of t below.
    """
    if not 0 < chance < 1:
        raise ValueError(f"the accepted share of false discoveries lies between 0 and 1, not at {chance}")
    table = as_table(trends)
    if not table.count().execute():
        raise Unanswerable(
            f"No customer has been known for a period and bought in {LEAST_MONTHS} months since: there are no trends."
        )
    slope, broken = (_beyond(table, name, chance) for name in ("t", "break_t"))
    return table.mutate(
        way=ibis.cases(
            (slope & (table["t"] > 0), "up"),
            ((slope & (table["t"] < 0)) | (broken & (table["break_t"] < 0)), "down"),
            else_=ibis.null("string"),
        )
    )


def rising(judged: Table, big: Table) -> ir.Table:
    """Return the customers on their way up who are not big yet, those who gain most first.

    Parameters
    ----------
    judged
        See `judged`.
    big
        The big customers, by `customer_id`.

    Returns
    -------
    ibis.Table
        `customer_id`, `change`, `low`, `high`, `revenue`, `revenue_before`, `known`.
    """
    table = as_table(judged)
    table = table.filter(table["way"] == "up", table["change"] > 0).anti_join(as_table(big), "customer_id")
    columns = ["customer_id", "change", "low", "high", "revenue", "revenue_before", "known"]
    return table.order_by(ibis.desc("change"), "customer_id").select(columns)


def falling(judged: Table, big: Table) -> ir.Table:
    """Return the big customers on their way down who still bought in the last period, those who lose most first.

    Returns
    -------
    ibis.Table
        `customer_id`, `change` (of a period's revenue at the `pace` of the last quarter, below 0), `pace`, `revenue`,
        `revenue_before`, `known`.
    """
    table = as_table(judged)
    table = table.mutate(change=table["pace"] - table["revenue"])
    table = table.filter(table["way"] == "down", table["revenue"] > 0, table["change"] < 0)
    columns = ["customer_id", "change", "pace", "revenue", "revenue_before", "known"]
    return table.semi_join(as_table(big), "customer_id").order_by("change", "customer_id").select(columns)


def _beyond(table: ir.Table, name: str, chance: float) -> ir.BooleanValue:
    """Return whether each t is so far from 0 that of all of those only the share `chance` is expected by chance."""
    size, freedom = table[name].abs(), table["known"] - 2
    level = (ibis.least(size, 1e6) * FINE).floor().cast("int64")
    counted = table.group_by(freedom=freedom, level=level).aggregate(customers=table.count()).to_pandas()
    counted["p"] = 2 * stats.t.sf(counted["level"] / FINE, counted["freedom"])
    ranked = counted.groupby("p", as_index=False)["customers"].sum().sort_values("p")
    reached: pd.Series = ranked["p"] <= chance * ranked["customers"].cumsum() / ranked["customers"].sum()
    if not reached.any():
        return ibis.literal(False)
    limit = counted[counted["p"] <= ranked["p"][reached].max()].groupby("freedom")["level"].min()
    far = ((freedom == int(known)) & (level >= int(least)) for known, least in limit.items())
    return ibis.or_(*far)


def _squares(last: ir.Value, earlier: ir.Value, n: ir.Value, quarter: int) -> ir.Value:
    """Return the sum of squares between the last quarter and the months before it."""
    total = last + earlier
    return last * last / quarter + earlier * earlier / (n - quarter) - total * total / n


def _effective(table: ir.Table) -> float:
    """Return how many customers of one size would make the revenue as concentrated as it is."""
    sums = table.group_by("customer_id").aggregate(revenue=table["revenue"].sum())
    share = sums["revenue"].cast("float64")
    found = sums.aggregate(total=share.sum(), squares=(share * share).sum()).to_pandas().iloc[0]
    return float(found["total"] ** 2 / found["squares"]) if found["total"] > 0 else float("nan")
