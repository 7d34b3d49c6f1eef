"""How customers move between the stages of their lives."""

from __future__ import annotations

import ibis
import pandas as pd

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.lifecycle.stages import LEADS, NON_CUSTOMER, SILENT, STAGES


def transitions(staged: Table) -> pd.DataFrame:
    """Return how many went from each stage to each between consecutive dates.

    Returns
    -------
    pandas.DataFrame
        `date` (the later one), `stage_before` (`non-customer` for those who came in between), `stage_now`,
        `customers`. For each date, the customers of a `stage_before` sum to those who were in it at the date before.

    Raises
    ------
    Unanswerable
        There are customers at fewer than two dates.
    """
    table = as_table(staged)
    before = table["stage"].lag().over(ibis.window(group_by="customer_id", order_by="date"))
    moved = table.mutate(stage_before=before.fill_null(NON_CUSTOMER))
    counted = moved.group_by("date", "stage_before", stage_now="stage").aggregate(customers=moved.count())
    frame = counted.to_pandas()
    frame = frame.assign(date=pd.to_datetime(frame["date"]))
    frame = frame[frame["date"] > frame["date"].min()]  # before the first date nothing is known
    if frame.empty:
        raise Unanswerable("There are customers at fewer than two of the dates, so none can have changed the stage.")
    return _in_order(frame)


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
