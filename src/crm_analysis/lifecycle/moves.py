"""How customers move between the stages of their lives."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.lifecycle.stages import LEADS, NON_CUSTOMER, SILENT, STAGES


def transitions(staged: Table) -> pd.DataFrame:
    """Return how many went from each stage to each between consecutive dates.

    Returns
    -------
    pandas.DataFrame
        `date` (the later one), `stage_before` (`non-customer` for those who came in between), `stage_now` (the same
        for prospects and targets who ceased to be any), `customers`. For each date, those of a `stage_before` sum to
        all who were in it at the date before.

    Raises
    ------
    Unanswerable
        There are customers at fewer than two dates.
    """
    moved = moves_between(as_table(staged).select("customer_id", "date", now="stage"), NON_CUSTOMER)
    if moved.empty:
        raise Unanswerable("There are customers at fewer than two of the dates, so none can have changed the stage.")
    return _in_order(moved.rename(columns={"before": "stage_before", "now": "stage_now"}))


def moves_between(placed: ir.Table, nowhere: Any) -> pd.DataFrame:
    """Return how many went from where to where between consecutive dates.

    Parameters
    ----------
    placed
        `customer_id`, `date`, `now` (where somebody is then); who is nowhere at a date has no row.
    nowhere
        What being nowhere is called in the result.

    Returns
    -------
    pandas.DataFrame
        `date` (the later one), `before`, `now`, `customers`; empty if there are fewer than two dates.
    """
    life = ibis.window(group_by="customer_id", order_by="date")
    moved = placed.mutate(date_before=placed["date"].lag().over(life), before=placed["now"].lag().over(life))
    found = moved.group_by("date", "date_before", "before", "now").aggregate(customers=moved.count()).to_pandas()
    found = found.assign(date=pd.to_datetime(found["date"]), date_before=pd.to_datetime(found["date_before"]))
    dates = sorted(found["date"].unique())
    if len(dates) < 2:
        return pd.DataFrame(columns=["date", "before", "now", "customers"])
    earlier = found["date"].map(dict(pairwise(dates[::-1])))
    found["before"] = found["before"].where(found["date_before"] == earlier, nowhere)
    came = found.groupby(["date", "before", "now"], as_index=False)["customers"].sum()
    were = found.groupby(["date", "now"])["customers"].sum().rename_axis(["date", "before"]).reset_index()
    were["date"] = were["date"].map(dict(pairwise(dates)))
    # Whoever was somewhere and is not among those who came from there has gone.
    gone = were.merge(came.groupby(["date", "before"], as_index=False)["customers"].sum(), "left", ["date", "before"])
    gone["customers"] = gone["customers_x"] - gone["customers_y"].fillna(0).astype(int)
    gone = gone[gone["date"].notna() & (gone["customers"] > 0)].assign(now=nowhere)
    both = pd.concat([came[came["date"].isin(dates[1:])], gone[came.columns]], ignore_index=True)
    return both.astype({"customers": int})


def recent(moved: pd.DataFrame, dates: int) -> pd.DataFrame:
    """Return the transitions of the last so many dates."""
    if dates < 1:
        raise ValueError(f"at least one date must be looked at, not {dates}")
    return moved[moved["date"].isin(sorted(moved["date"].unique())[-dates:])]


def probabilities(moved: pd.DataFrame) -> pd.DataFrame:
    """Return how likely a customer of each stage is to be in each stage one step later.

    Parameters
    ----------
    moved
        `transitions`, of one or several dates; those of several are pooled.

    Returns
    -------
    pandas.DataFrame
        `stage_before`, `stage_now`, `customers`, `probability`; the probabilities of each `stage_before` sum to 1.
        Coming from nowhere has no probability, because nobody knows how many could have come.
    """
    inside = moved[moved["stage_before"] != NON_CUSTOMER]
    pooled = _in_order(inside.groupby(["stage_before", "stage_now"], as_index=False)["customers"].sum())
    total = pooled.groupby("stage_before")["customers"].transform("sum")
    return pooled.assign(probability=pooled["customers"] / total)


def flows(moved: pd.DataFrame) -> pd.DataFrame:
    """Return, for each date, how many customers joined, were won back, fell silent and were lost.

    Joined: no customer before, one now. Won back: dormant or lost before, active now. Fell silent: not so before,
    dormant or lost now. Lost: was not lost before, is lost now.

    Returns
    -------
    pandas.DataFrame
        `date`, `joined`, `won_back`, `fell_silent`, `lost`: customers. Active customers change by
        joined + won_back - fell_silent; those lost are among those who fell silent, now or earlier.
    """
    before, now = moved["stage_before"], moved["stage_now"]
    joins = ~before.isin(STAGES) & now.isin(STAGES)
    events = {
        "joined": joins,
        "won_back": before.isin(SILENT) & ~now.isin(SILENT),
        "fell_silent": ~before.isin(SILENT) & now.isin(SILENT),
        "lost": (before != "lost") & (now == "lost"),
    }
    counted = {name: moved["customers"].where(is_event, 0) for name, is_event in events.items()}
    return pd.DataFrame({"date": moved["date"], **counted}).groupby("date", as_index=False).sum()


def win_back_rates(moved: pd.DataFrame) -> dict[str, float]:
    """Return the share of the dormant and of the lost that were active one step later; NaN where nobody was either."""
    rates = {}
    for stage in SILENT:
        left = moved[moved["stage_before"] == stage]
        back = left.loc[~left["stage_now"].isin(SILENT), "customers"].sum()
        rates[stage] = float(back / left["customers"].sum()) if len(left) else float("nan")
    return rates


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort by date, if there is one, and by the stages in the order of a customer's life."""
    order = [NON_CUSTOMER, *LEADS, *STAGES]
    return frame.sort_values(
        [column for column in ("date", "stage_before", "stage_now") if column in frame.columns],
        key=lambda column: column if column.name == "date" else column.map(order.index),
        ignore_index=True,
    )
