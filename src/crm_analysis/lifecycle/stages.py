"""Where each customer, and who may become one, stands in its life with the company."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, gap_quantiles
from crm_analysis.errors import Unanswerable

NON_CUSTOMER = "non-customer"
LEADS = ("prospect", "target")
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
    bought: Table,
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
    bought
        Every purchase up to the as-of date (see `customers.purchases`).
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
    bought = as_table(bought)
    if not (dormant_after and lost_after):
        measured = gap_quantiles(bought, dormant_quantile, lost_quantile)
        dormant_after, lost_after = dormant_after or measured[0], lost_after or measured[1]
    elif not bought.count().execute():
        raise Unanswerable("Nobody has purchased anything yet.")
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


def stages(bought: Table, dates: list[dt.date], rules: Rules, leads: Table | None = None) -> ir.Table:
    """Return the stage of every customer, and of everyone who may become one, at each of the dates.

    Someone is a customer from the first purchase on. With up to `dormant_after` days since the last purchase, a
    customer is `first-time` (one purchase so far), `repeat` or `loyal`; up to `lost_after` days `dormant`; then `lost`.
    Before the first purchase somebody is a `prospect` or a `target` while `leads` say so.

    Parameters
    ----------
    bought
        Every purchase up to the as-of date (see `customers.purchases`).
    dates
        When to look, in any order; none after the as-of date, because later purchases are not known.
    rules
        What separates the stages.
    leads
        From when to when people are prospects and targets (see `leads`); by default only customers are looked at.

    Returns
    -------
    ibis.Table
        `customer_id`, `date`, `stage`, `purchases` (so far), `silence` (days since the last purchase; NULL before
        the first): exactly one row per date and person who is a customer, a target or a prospect then. Who only
        returned goods is no customer yet.

    Raises
    ------
    Unanswerable
        There are no dates.
    """
    if not dates:
        raise Unanswerable("No month has ended since the first transaction, so there is no date to tell the stages at.")
    bought = as_table(bought)
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
    customers = panel.select("customer_id", date="at", stage=stage, purchases="number", silence="silence")
    if leads is None:
        return customers
    begun = bought.filter(bought["number"] == 1).select(buyer="customer_id", bought="date")
    known = as_table(leads).rename(met="date", lead="stage")
    known = known.left_join(begun, known["customer_id"] == begun["buyer"])
    known = known.inner_join(ends, [known["met"] <= ends["at"], known["until"] > ends["at"]])
    waiting = known.filter(known["bought"].isnull() | (known["bought"] > known["at"])).select(
        "customer_id",
        date="at",
        stage="lead",
        purchases=ibis.literal(0, customers["purchases"].type()),
        silence=ibis.null(customers["silence"].type()),
    )
    return customers.union(waiting)


def counts(staged: Table) -> pd.DataFrame:
    """Return how many were in each stage at each date: `date`, `stage`, `customers`; no stage of customers left out.

    Prospects and targets have rows where there are any.
    """
    table = as_table(staged)
    found = table.group_by("date", "stage").aggregate(customers=table.count()).to_pandas()
    found = found.assign(date=pd.to_datetime(found["date"]))
    stages = STAGES if found["stage"].isin(STAGES).all() else (*LEADS, *STAGES)
    every = pd.MultiIndex.from_product([sorted(found["date"].unique()), stages], names=["date", "stage"])
    return found.set_index(["date", "stage"]).reindex(every, fill_value=0).reset_index()


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
