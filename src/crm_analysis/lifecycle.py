"""Where each customer stands in its life with the company, and how customers move between the stages."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, gap_quantiles, purchases
from crm_analysis.errors import Unanswerable

NON_CUSTOMER = "non-customer"
STAGES = ("first-time", "repeat", "loyal", "dormant", "lost")
SILENT = ("dormant", "lost")


@dataclass(frozen=True)
class Rules:
    """What separates the stages.

    Attributes
    ----------
    dormant_after, lost_after
        Days without a purchase after which a customer counts as dormant, and as lost.
    loyal_from
        Purchases that make an active customer a loyal one.
    """

    dormant_after: int
    lost_after: int
    loyal_from: int


def rules(
    transactions: Table,
    *,
    dormant_quantile: float = 0.80,
    lost_quantile: float = 0.95,
    dormant_after: int = 0,
    lost_after: int = 0,
    loyal_from: int = 4,
) -> Rules:
    """Return the rules of the stages, measured on how long customers pause between two purchases.

    Parameters
    ----------
    transactions
        Clean transactions up to the as-of date.
    dormant_quantile, lost_quantile
        The quantiles of the gaps between purchases past which a customer is dormant, and lost.
    dormant_after, lost_after
        Days that replace the measured ones; 0 to measure.
    loyal_from
        Purchases that make a customer loyal; at least 3, because 2 make a repeat customer.

    Raises
    ------
    Unanswerable
        Nobody has purchased, or days are not given and nobody has bought twice, so that there is no gap to measure.
    """
    if loyal_from < 3:
        raise ValueError(f"loyal_from must be at least 3 purchases, not {loyal_from}")
    if not 0 < dormant_quantile <= lost_quantile < 1:
        raise ValueError(
            f"0 < dormant_quantile <= lost_quantile < 1 must hold, not {dormant_quantile}, {lost_quantile}"
        )
    bought = purchases(transactions)
    if not bought.count().execute():
        raise Unanswerable("Nobody has purchased anything yet, so there are no stages to tell.")
    if not (dormant_after and lost_after):
        measured = gap_quantiles(bought, dormant_quantile, lost_quantile)
        dormant_after, lost_after = dormant_after or measured[0], lost_after or measured[1]
    if not 0 < dormant_after <= lost_after:
        raise ValueError(f"a customer is dormant before being lost, not after {dormant_after} and {lost_after} days")
    return Rules(dormant_after, lost_after, loyal_from)


def month_ends(first: dt.date, last: dt.date, every: int = 1) -> list[dt.date]:
    """Return the ends of the months from the first date to the last; a month that has not ended is left out.

    With `every` 3, it is every third month, counted back from the last one.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1 month, not {every}")
    ends = [end.date() for end in pd.date_range(first, last, freq="ME")]
    return ends[(len(ends) - 1) % every :: every]


def stages(transactions: Table, dates: list[dt.date], rules: Rules) -> ir.Table:
    """Return the stage of every customer at each of the dates.

    Someone is a customer from the first purchase on. With up to `dormant_after` days since the last purchase, a
    customer is `first-time` (one purchase so far), `repeat` or `loyal`; up to `lost_after` days `dormant`; then `lost`.

    Parameters
    ----------
    transactions
        Clean transactions up to the as-of date.
    dates
        When to look, in any order; none after the as-of date, because later purchases are not known.
    rules
        What separates the stages.

    Returns
    -------
    ibis.Table
        `customer_id`, `date`, `stage`, `purchases` (so far), `silence` (days since the last purchase): exactly one
        row per date and customer who has bought by then. Who only returned goods is no customer yet.

    Raises
    ------
    Unanswerable
        There are no dates.
    """
    if not dates:
        raise Unanswerable("No month has ended since the first transaction, so there is no date to tell the stages at.")
    bought = purchases(transactions)
    days = sorted({pd.Timestamp(date).date() for date in dates})
    ends = ibis.array(days).unnest().name("at").as_table()  # not a memtable, which not every engine can join
    until = bought["next_date"].fill_null(ibis.date(9999, 12, 31))
    panel = bought.inner_join(ends, [bought["date"] <= ends["at"], until > ends["at"]])
    panel = panel.mutate(silence=panel["at"].delta(panel["date"], unit="day"))
    stage = ibis.cases(
        (panel["silence"] > rules.lost_after, "lost"),
        (panel["silence"] > rules.dormant_after, "dormant"),
        (panel["number"] == 1, "first-time"),
        (panel["number"] < rules.loyal_from, "repeat"),
        else_="loyal",
    )
    return panel.select("customer_id", date="at", stage=stage, purchases="number", silence="silence")


def counts(staged: Table) -> pd.DataFrame:
    """Return how many customers were in each stage at each date: `date`, `stage`, `customers`; none left out."""
    table = as_table(staged)
    found = table.group_by("date", "stage").aggregate(customers=table.count()).to_pandas()
    found = found.assign(date=pd.to_datetime(found["date"]))
    every = pd.MultiIndex.from_product([sorted(found["date"].unique()), STAGES], names=["date", "stage"])
    return found.set_index(["date", "stage"]).reindex(every, fill_value=0).reset_index()


def transitions(staged: Table) -> pd.DataFrame:
    """Return how many customers went from each stage to each between consecutive dates.

    Returns
    -------
    pandas.DataFrame
        `date` (the later one), `stage_before` (`non-customer` for those who joined in between), `stage_now`,
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
        Joining has no probability, because nobody knows how many could have joined.
    """
    inside = moved[moved["stage_before"] != NON_CUSTOMER]
    pooled = _in_order(inside.groupby(["stage_before", "stage_now"], as_index=False)["customers"].sum())
    total = pooled.groupby("stage_before")["customers"].transform("sum")
    return pooled.assign(probability=pooled["customers"] / total)


def flows(moved: pd.DataFrame) -> pd.DataFrame:
    """Return, for each date, how many customers joined, were won back, fell silent and were lost.

    Won back: dormant or lost before, active now. Fell silent: not so before, dormant or lost now. Lost: was not lost
    before, is lost now.

    Returns
    -------
    pandas.DataFrame
        `date`, `joined`, `won_back`, `fell_silent`, `lost`: customers. Active customers change by
        joined + won_back - fell_silent; those lost are among those who fell silent, now or earlier.
    """
    before, now = moved["stage_before"], moved["stage_now"]
    joins = before == NON_CUSTOMER
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


def to_win_back(staged: Table, customers: Table, rules: Rules) -> ir.Table:
    """Return the dormant customers, the most valuable first.

    Parameters
    ----------
    staged
        The stages at one date (see `stages`).
    customers
        One row per customer at that date.
    rules
        The rules of the stages.

    Returns
    -------
    ibis.Table
        `customer_id`, `value`, `purchases`, `last_purchase`, `silence` and `days_left` until they count as lost.
    """
    table = as_table(staged)
    dormant = table.filter(table["stage"] == "dormant").select("customer_id", "purchases", "silence")
    known = as_table(customers).select("customer_id", "value", "last_purchase")
    joined = known.inner_join(dormant, "customer_id")
    joined = joined.mutate(days_left=rules.lost_after - joined["silence"])
    return joined.order_by(ibis.desc("value"), ibis.asc("customer_id")).select(
        "customer_id", "value", "purchases", "last_purchase", "silence", "days_left"
    )


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort by date, if there is one, and by the stages in the order of a customer's life."""
    order = [NON_CUSTOMER, *STAGES]
    return frame.sort_values(
        [column for column in ("date", "stage_before", "stage_now") if column in frame.columns],
        key=lambda column: column if column.name == "date" else column.map(order.index),
        ignore_index=True,
    )
