"""How long something takes of which a part is not over yet: what is open counts with its age (Kaplan-Meier)."""

from __future__ import annotations

import math
from statistics import NormalDist

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import Z

EVENTS = {"response": "responded", "resolution": "resolved"}
SLIGHT = 1e-9  # of a share: half of the cases are half of them, however the parts were multiplied
CLEAR = NormalDist().inv_cdf(1 - 0.05 / 2 / len(EVENTS))  # both times may be compared without more false alarms
MOST = 0.90  # the share of cases by whose end "most" are done


def waiting_times(cases: Table, what: str, *by: str) -> pd.DataFrame:
    """Return the time by which half of the cases were answered or resolved, and that by which nine in ten were.

    An open case is known to take longer than its age: it counts among the unfinished up to that age, and after that
    it is not known (Kaplan and Meier, 1958). Leaving open cases out would make the company look quicker than it is.

    Parameters
    ----------
    cases
        One row per case (see `cases.handled`).
    what
        `response` or `resolution`.
    by
        The columns whose values are told apart.

    Returns
    -------
    pandas.DataFrame
        One row per group: `by`, `cases`, `open` (not answered, or not resolved), `oldest` (their greatest age, NaN
        without one), `median` with its 95 % interval `low` and `high`, and `most` (the 90 % quantile), in days. NaN:
        longer than can be told, because too many are open.

    Raises
    ------
    Unanswerable
        There is no case.

    Notes
    -----
    The interval is that of Brookmeyer and Crowley (1982) on the log(-log) scale, with Greenwood's variance.
    """
    table = as_table(cases)
    over = table[EVENTS[what]]
    table = table.select(*by, time=table[what], over=over)
    keys = [*by]
    steps = table.group_by(*keys, "time").aggregate(
        rows=table.count(), events=table.count(where=table["over"]), unfinished=table.count(where=~table["over"])
    )
    steps = _at_risk(steps, keys, "rows")
    left = (steps["at_risk"] - steps["events"]).cast("float64")
    so_far = ibis.window(group_by=keys or None, order_by="time", rows=(None, 0))
    some = (left > 0).ifelse(left, None)
    steps = steps.mutate(
        last=left == 0,  # all of those still at risk are over: nobody is left
        logged=(some / steps["at_risk"]).ln().sum().over(so_far),
        spread=(steps["events"] / (steps["at_risk"] * some)).sum().over(so_far),
    )
    log, gone = steps["logged"].fill_null(0), steps["last"]
    theta = Z * steps["spread"].fill_null(0).sqrt() / (log < 0).ifelse(-log, None)
    bounds = {"median": log, "low": log * theta.exp(), "high": log * (-theta).exp()}
    passed = {name: steps["time"].min(where=gone | (curve <= math.log(0.5) + SLIGHT)) for name, curve in bounds.items()}
    found = steps.group_by(keys) if keys else steps
    frame = found.aggregate(
        cases=steps["rows"].sum(),
        open=steps["unfinished"].sum(),
        oldest=steps["time"].max(where=steps["unfinished"] > 0),
        **passed,
        most=steps["time"].min(where=gone | (log <= math.log(1 - MOST) + SLIGHT)),
    ).to_pandas()
    if not frame["cases"].sum():
        raise Unanswerable("There is no case whose time could be told.")
    times = ["oldest", "median", "low", "high", "most"]
    frame = frame.astype(dict.fromkeys(times, float) | {"cases": int, "open": int})
    return frame.sort_values(keys, ignore_index=True) if keys else frame


def log_rank(cases: Table, what: str, of: str, *alike: str) -> float:
    """Return how much sooner it was over in the first of two groups (`of`), among cases that are alike.

    A standard normal number where the times do not differ: above 0 the first group was quicker. Open cases count as far
    as they are known (log-rank test, stratified). NaN where nothing can be compared.

    Parameters
    ----------
    cases
        One row per case (see `cases.handled`).
    what
        `response` or `resolution`.
    of
        A boolean column: the two groups.
    alike
        The columns whose values together make a stratum.

    Notes
    -----
    Mantel, N. (1966). Evaluation of survival data and two new rank order statistics arising in its consideration.
    Cancer Chemotherapy Reports 50.
    """
    table, keys = as_table(cases), [*alike]
    over, first = table[EVENTS[what]], table[of]
    steps = table.group_by(*keys, time=table[what]).aggregate(
        rows=table.count(),
        firsts=table.count(where=first),
        events=table.count(where=over),
        own=table.count(where=over & first),
    )
    steps = _at_risk(_at_risk(steps, keys, "rows"), keys, "firsts", "firsts_at_risk")
    share = steps["firsts_at_risk"] / steps["at_risk"]
    several = (steps["at_risk"] > 1).ifelse(steps["at_risk"] - 1, None)
    variance = steps["events"] * share * (1 - share) * (steps["at_risk"] - steps["events"]) / several
    found = steps.aggregate(
        excess=(steps["own"] - steps["events"] * share).sum(), variance=variance.sum()
    ).to_pandas().iloc[0].astype(float)  # fmt: skip
    if not found["variance"] > 0:
        return math.nan
    return float(found["excess"] / math.sqrt(found["variance"]))


def spelled(days: float) -> str:
    """Say within which time something was done: in hours up to two days, then in days."""
    if math.isnan(days):
        return "later than can be told yet"
    hours = round(24 * days)
    if hours < 1:
        return "within an hour"
    if hours < 48:
        return f"within {hours} hour{'s' * (hours != 1)}"
    return f"within {numerals.number(days, 1)} days" if days < 10 else f"within {numerals.count(days)} days"


def _at_risk(steps: ir.Table, keys: list[str], counted: str, name: str = "at_risk") -> ir.Table:
    """Add how many had not come to an end before each time."""
    from_here = ibis.window(group_by=keys or None, order_by="time", rows=(0, None))
    return steps.mutate(**{name: steps[counted].sum().over(from_here)})
