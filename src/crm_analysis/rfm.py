"""How recently, how often and for how much each customer buys (RFM), and what to do with whom."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

QUIET = 2  # times the usual gap that a silence lasts at least to be out of the customer's own rhythm
RHYTHM = 3  # purchases from which there is a rhythm: two gaps


class Segment(NamedTuple):
    """What makes a segment, in words, and what to do with its customers."""

    rule: str
    action: str


# In the order in which the rules are tried: the first that fits decides.
SEGMENTS = {
    "loss-making": Segment("value below 0", "Check discounts, returns and service before selling more."),
    "cannot lose": Segment(
        "M 5, out of rhythm, not lost yet", "Call in person, ask what has changed and win them back."
    ),
    "at risk": Segment("M 4 or 5, out of rhythm or R 1 or 2", "Write with a reason to come back; call the first ones."),
    "champions": Segment("active, R, F and M 4 or 5", "Thank them, keep them close, ask for recommendations."),
    "promising": Segment("active, R and M 4 or 5, F up to 3", "Give them a reason for the next purchase soon."),
    "needs attention": Segment("others with M 4 or 5", "Remind them with an offer that fits what they bought."),
    "new": Segment("first purchase within the dormant limit", "Welcome them and help with what they bought."),
    "loyal": Segment("active, R from 3, F 4 or 5, M up to 3", "Show them what else there is."),
    "occasional": Segment("others with R from 3", "Keep in touch at little cost."),
    "hibernating": Segment("R 1 or 2, M up to 3", "Spend no more on them than a letter now and then."),
}


def habits(bought: ir.Table, customers: Table, *, as_of: dt.date, dormant_after: int) -> ir.Table:
    """Return when, how often and for how much each customer has bought, and the cycle in which each buys and pauses.

    A customer's life up to the last purchase is made of active spells, separated by dormant ones: pauses of more than
    `dormant_after` days between two purchases. An active spell lasts from its first to its last purchase, and so 0
    days if it has only one; a dormant one from a purchase to the next. The silence since the last purchase is in
    neither, because its end is not known.

    Parameters
    ----------
    bought
        Every purchase up to the as-of date (`customers.purchases`).
    customers
        One row per customer with `value`.
    as_of
        The date of the analysis.
    dormant_after
        Days without a purchase after which a customer is dormant.

    Returns
    -------
    ibis.Table
        One row per customer who has purchased: `customer_id`; `first_purchase`, `last_purchase` (dates), `purchases`;
        `previous_amount` (of the last purchase), `total_amount` (of all) and `value`, in money; in days, `silence`
        (since the last purchase), `usual_gap` and `longest_gap` (median and longest pause between two purchases, NULL
        with only one), `active_days` and `dormant_days` (mean length of spells; the latter NULL of who has had none);
        `spells` (active ones so far), `state` (`active` or `dormant` now), `times_usual_gap` (silence as a multiple
        of the usual gap), `quiet` (silent for longer than ever before, and for at least twice the usual gap; never
        with fewer than 3 purchases) and `new` (the first purchase is at most `dormant_after` days ago).
    """
    if dormant_after < 1:
        raise ValueError(f"a customer is dormant after at least 1 day, not {dormant_after}")
    gap = bought["next_date"].delta(bought["date"], unit="day")
    found = bought.group_by(buyer="customer_id").aggregate(
        first_purchase=bought["date"].min(),
        last_purchase=bought["date"].max(),
        purchases=bought.count(),
        previous_amount=bought["amount"].max(where=bought["next_date"].isnull()).cast("float64"),
        total_amount=exact_sum(bought["amount"]).cast("float64"),
        usual_gap=gap.median().cast("float64"),
        longest_gap=gap.max(),
        pauses=gap.count(where=gap > dormant_after),
        active=gap.sum(where=gap <= dormant_after).fill_null(0),
        dormant=gap.sum(where=gap > dormant_after),
    )
    valued = as_table(customers).select("customer_id", "value")
    joined = valued.inner_join(found, valued["customer_id"] == found["buyer"])
    joined = joined.mutate(silence=ibis.literal(as_of).delta(joined["last_purchase"], unit="day"))
    usual, silence = joined["usual_gap"], joined["silence"]
    quiet = (joined["purchases"] >= RHYTHM) & (silence > joined["longest_gap"]) & (silence >= QUIET * usual)
    return joined.select(
        "customer_id",
        "first_purchase",
        "last_purchase",
        "purchases",
        "previous_amount",
        "total_amount",
        "value",
        "silence",
        "usual_gap",
        "longest_gap",
        spells=joined["pauses"] + 1,
        active_days=joined["active"].cast("float64") / (joined["pauses"] + 1),
        dormant_days=joined["dormant"].cast("float64") / joined["pauses"].nullif(0),
        state=(silence > dormant_after).ifelse("dormant", "active"),
        times_usual_gap=silence.cast("float64") / usual,
        quiet=quiet.fill_null(False),
        new=ibis.literal(as_of).delta(joined["first_purchase"], unit="day") <= dormant_after,
    )


def segments(habits: Table, *, lost_after: int) -> ir.Table:
    """Return each customer's scores from 1 to 5 and the segment that follows from them.

    A score is 1 plus the whole fifths of all customers that are strictly lower: whose last purchase is earlier (R),
    who bought less often (F), who are worth less (M). So equals share a score, and a score may have more or less than
    a fifth of the customers. The segment is the first in `SEGMENTS` whose rule fits; `hibernating` takes the rest.
    R is relative, and of customers who are all dormant the latest have R 5: so champions, promising and loyal ones
    have to be `active` too.

    Parameters
    ----------
    habits
        One row per customer (see `habits`).
    lost_after
        Days without a purchase after which a customer is lost.

    Returns
    -------
    ibis.Table
        The customers' columns, `R`, `F`, `M` and `segment`.
    """
    table = as_table(habits)
    everyone = table.count().over(ibis.window())

    def score(by: ir.Value) -> ir.IntegerValue:
        return (ibis.rank().over(order_by=by) * 5 // everyone + 1).cast("int64")

    scored = table.mutate(R=score(table["last_purchase"]), F=score(table["purchases"]), M=score(table["value"]))
    r, f, m, active = scored["R"], scored["F"], scored["M"], scored["state"] == "active"
    return scored.mutate(
        segment=ibis.cases(
            (scored["value"] < 0, "loss-making"),
            ((m == 5) & scored["quiet"] & (scored["silence"] <= lost_after), "cannot lose"),
            ((m >= 4) & (scored["quiet"] | (r <= 2)), "at risk"),
            (active & (r >= 4) & (f >= 4) & (m >= 4), "champions"),
            (active & (r >= 4) & (m >= 4), "promising"),
            (m >= 4, "needs attention"),
            (scored["new"], "new"),
            (active & (r >= 3) & (f >= 4), "loyal"),
            (r >= 3, "occasional"),
            else_="hibernating",
        )
    )


def sizes(segmented: Table) -> pd.DataFrame:
    """Return how many customers each segment has and what they bring, all segments in the order of their rules.

    Returns
    -------
    pandas.DataFrame
        `segment`, `customers`, `customer_share`, `value`, `value_share` (NaN if the total is not above 0),
        `silence` (median, in days; NaN where there is nobody). Raises `Unanswerable` if there are no customers.
    """
    table = as_table(segmented)
    counted = table.group_by("segment").aggregate(
        customers=table.count(),
        value=exact_sum(table["value"]).cast("float64"),
        silence=table["silence"].median().cast("float64"),
    )
    found = counted.to_pandas().set_index("segment").reindex(SEGMENTS).rename_axis("segment")
    found = found.fillna({"customers": 0, "value": 0.0}).astype({"customers": int})
    if not found["customers"].sum():
        raise Unanswerable("Nobody has purchased anything yet, so there are no customers to tell apart.")
    total = found["value"].sum()
    found.insert(1, "customer_share", found["customers"] / found["customers"].sum())
    found.insert(3, "value_share", found["value"] / (total if total > 0 else np.nan))
    return found.reset_index()


def grid(segmented: Table) -> pd.DataFrame:
    """Return `customers`, `value` and `value_share` (see `sizes`) of each pair of scores `R` and `F` that occurs."""
    table = as_table(segmented)
    counted = table.group_by("R", "F").aggregate(
        customers=table.count(), value=exact_sum(table["value"]).cast("float64")
    )
    found = counted.order_by("R", "F").to_pandas()
    total = found["value"].sum()
    return found.assign(value_share=found["value"] / (total if total > 0 else np.nan))


def members(segmented: Table, segment: str) -> ir.Table:
    """Return the customers of a segment, the most valuable first.

    Returns
    -------
    ibis.Table
        `customer_id`, `value`, `silence`, `usual_gap`, `times_usual_gap`, `purchases`, `previous_amount`,
        `last_purchase` (see `habits`).
    """
    if segment not in SEGMENTS:
        raise ValueError(f"there is no segment '{segment}'; the segments are {', '.join(SEGMENTS)}")
    table = as_table(segmented)
    found = table.filter(table["segment"] == segment).order_by(ibis.desc("value"), ibis.asc("customer_id"))
    return found.select(
        "customer_id",
        "value",
        "silence",
        "usual_gap",
        "times_usual_gap",
        "purchases",
        "previous_amount",
        "last_purchase",
    )


def cycles(habits: Table) -> pd.DataFrame:
    """Return how customers buy and pause, by the number of their active spells so far.

    Returns
    -------
    pandas.DataFrame
        In order: `spells` ("1" to "4", "5+"; those that occur), `customers`, `customer_share`, `active_days` and
        `dormant_days` (mean of the customers' mean spells; the latter NaN with 1), `dormant_now` (share of them).
    """
    table = as_table(habits)
    counted = table.group_by(spells=ibis.least(table["spells"], 5)).aggregate(
        customers=table.count(),
        active_days=table["active_days"].mean(),
        dormant_days=table["dormant_days"].mean(),
        dormant_now=(table["state"] == "dormant").mean(),
    )
    found = counted.order_by("spells").to_pandas()
    found.insert(2, "customer_share", found["customers"] / found["customers"].sum())
    return found.assign(spells=[f"{spells}+" if spells == 5 else str(spells) for spells in found["spells"]])
