"""The pyramids of several periods: who stayed, who rose and fell, and what their value changed by."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import periods
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.pyramid.tiers import KEY, SHARES, TIERS, least, place, tier_at, tiers
from crm_analysis.rates import with_rates

NO_PURCHASE = "no purchase"
PLACES = (*TIERS, NO_PURCHASE)
DIRECTIONS = ("rose", "fell", "joined", "left", "stayed", NO_PURCHASE)
TO_DO = {  # about why somebody fell
    "no more purchases": "call, and ask why they have stopped",
    "fewer purchases": "call, and ask who supplies the rest",
    "smaller purchases": "offer what they no longer buy",
    "lower margin": "look at discounts, returns and service",
    "overtaken": "develop or accept",
}


def placed(worth: Table, shares: Sequence[float] = SHARES) -> ir.Table:
    """Return each customer's tier in each period, by the value in that period alone, among those who bought in it.

    Parameters
    ----------
    worth
        One row per customer and period (see `periods.by_period`).
    shares
        The nominal share of each tier.

    Returns
    -------
    ibis.Table
        Its columns and `tier`: `no purchase` for those who only returned goods or were served in the period.
    """
    table = as_table(worth)
    table = tiers(table.mutate(_bought=table["purchases"] > 0), shares, within=("period", "_bought"))
    return table.mutate(tier=table["_bought"].ifelse(table["tier"], NO_PURCHASE)).drop("_bought")


def steps(placed: Table, ends: Sequence[dt.date]) -> pd.DataFrame:
    """Return how many customers went from each tier to each between adjacent periods.

    Parameters
    ----------
    placed
        See `placed`.
    ends
        The last days of the periods, in their order.

    Returns
    -------
    pandas.DataFrame
        `period_before`, `period` (their last days), `tier_before`, `tier_now` (`no purchase` for those who bought in
        the other period alone), `customers`, in the order of the periods and tiers. Those of a `tier_before` sum to
        all who were in it, and those of a `tier_now` to all who are.

    Raises
    ------
    Unanswerable
        Nobody bought in any of the periods.
    """
    table = as_table(placed)
    # A customer's tiers are the digits of one number, so that one sum tells the whole path.
    digit = ibis.cases(*((table["tier"] == tier, number) for number, tier in enumerate(TIERS, 1)), else_=0)
    base = len(TIERS) + 1
    weight = ibis.cases(*((table["period"] == end, base**at) for at, end in enumerate(ends)), else_=0)
    paths = table.group_by("customer_id").aggregate(path=(digit * weight).sum().cast("int64"))
    paths = paths.filter(paths["path"] > 0)
    counted = paths.group_by("path").aggregate(customers=paths.count()).to_pandas()
    if counted.empty:
        raise Unanswerable(f"Nobody has purchased anything in the periods up to {max(ends)}.")
    names = dict(enumerate([NO_PURCHASE, *TIERS]))
    found = []
    for at, (before, now) in enumerate(pairwise(ends)):
        sides = {
            f"tier_{side}": (counted["path"] // base ** (at + step) % base).map(names)
            for step, side in enumerate(("before", "now"))
        }
        moved = counted.assign(period_before=before, period=now, **sides)
        found.append(moved[(moved["tier_before"] != NO_PURCHASE) | (moved["tier_now"] != NO_PURCHASE)])
    keys = ["period_before", "period", "tier_before", "tier_now"]
    summed = pd.concat(found).groupby(keys, as_index=False)["customers"].sum()
    places = {name: number for number, name in enumerate(PLACES)}
    return summed.sort_values(keys, key=lambda c: c.map(places) if c.name.startswith("tier") else c, ignore_index=True)


def stays(stepped: pd.DataFrame) -> pd.DataFrame:
    """Return what share of each tier's customers was in the same tier one period later.

    Parameters
    ----------
    stepped
        See `steps`.

    Returns
    -------
    pandas.DataFrame
        `period_before`, `period`, `tier_before`, `customers` (in it before): the sum of those of them who `stayed`,
        `rose`, `fell` and `left` (made no purchase); `rate` of those who stayed and its 95 % interval, `low` and
        `high` (NaN without customers).
    """
    before, now = (stepped[column].map(PLACES.index) for column in ("tier_before", "tier_now"))
    left = stepped["tier_now"] == NO_PURCHASE
    ways = {"stayed": now == before, "rose": now < before, "fell": (now > before) & ~left, "left": left}
    counted = stepped.assign(**{way: stepped["customers"].where(went, 0) for way, went in ways.items()})
    sums = counted.groupby(["period_before", "period", "tier_before"])[["customers", *ways]].sum()
    pairs = stepped[["period_before", "period"]].drop_duplicates().itertuples(index=False, name=None)
    every = pd.MultiIndex.from_tuples([(*pair, tier) for pair in pairs for tier in TIERS], names=sums.index.names)
    return with_rates(sums.reindex(every, fill_value=0).reset_index(), "stayed", "customers")


def explained(placed: Table, before: dt.date, now: dt.date) -> ir.Table:
    """Return who rose and who fell between two periods, what their value changed by, and mainly why.

    Parameters
    ----------
    placed
        See `placed`.
    before, now
        The last days of the two periods.

    Returns
    -------
    ibis.Table
        One row per customer of either period: the columns of `periods.compare`, `change`, `by_orders`, `by_amount`,
        `by_margin` (see `periods.explained`), `tier_before`, `tier_now`, `direction` (`rose`, `fell`, `joined`: no
        purchase before, `left`: none now, `stayed`, or `no purchase` in either) and `cause` of those who rose, fell or
        left (else NULL), by these rules, the first that fits:

        - `no more purchases` of those who left;
        - `others fell` of those who rose without being worth more, `overtaken` of those who fell without being worth
          less;
        - `more purchases` or `fewer purchases`, `larger purchases` or `smaller purchases`, if they were that and it
          is the largest part of the change (of equal parts, this order decides);
        - else `higher margin` or `lower margin`: so is what comes from more or larger purchases at a loss.
    """
    table = as_table(placed)
    found = periods.explained(periods.compare(table, before, now))
    for side, end in {"before": before, "now": now}.items():
        # A tier follows from the value and the cut-offs, which spares joining the tiers of millions.
        cuts = least(table.filter((table["period"] == end) & (table["tier"] != NO_PURCHASE)))
        tier = tier_at(found[f"value_{side}"], cuts)
        found = found.mutate(**{f"tier_{side}": (found[f"purchases_{side}"] > 0).ifelse(tier, NO_PURCHASE)})
    were, are = (place(found[name], PLACES) for name in ("tier_before", "tier_now"))
    direction = ibis.cases(
        ((found["tier_before"] == NO_PURCHASE) & (found["tier_now"] == NO_PURCHASE), NO_PURCHASE),
        (found["tier_before"] == NO_PURCHASE, "joined"),
        (found["tier_now"] == NO_PURCHASE, "left"),
        (are < were, "rose"),
        (are > were, "fell"),
        else_="stayed",
    )
    found = found.mutate(direction=direction)
    orders, amount, margin = found["by_orders"], found["by_amount"], found["by_margin"]
    bought, spent = (
        found["purchases_now"] - found["purchases_before"],
        found["revenue_now"] * found["purchases_before"] - found["revenue_before"] * found["purchases_now"],
    )
    rose, fell = found["direction"] == "rose", found["direction"] == "fell"
    cause = ibis.cases(
        (found["direction"] == "left", "no more purchases"),
        (rose & (found["change"] <= 0), "others fell"),
        (fell & (found["change"] >= 0), "overtaken"),
        (rose & (bought > 0) & (orders >= amount) & (orders >= margin), "more purchases"),
        (rose & (spent > 0) & (amount > orders) & (amount >= margin), "larger purchases"),
        (rose, "higher margin"),
        (fell & (bought < 0) & (orders <= amount) & (orders <= margin), "fewer purchases"),
        (fell & (spent < 0) & (amount < orders) & (amount <= margin), "smaller purchases"),
        (fell, "lower margin"),
    )
    return found.mutate(cause=cause)


def by_direction(explained: Table) -> pd.DataFrame:
    """Return what the customers of each direction were worth in both periods, and what the change is due to.

    Returns
    -------
    pandas.DataFrame
        `direction` (see `explained`; `no purchase` only if there is somebody), `customers`, and sums of `value_before`,
        `value_now`, `change`, `by_orders`, `by_amount`, `by_margin`. All changes together lead from the value of one
        period to that of the other.

    Raises
    ------
    Unanswerable
        There is nobody.
    """
    table = as_table(explained)
    money = ("value_before", "value_now", "change", "by_orders", "by_amount", "by_margin")
    sums = {name: exact_sum(table[name]).cast("float64") for name in money}
    found = table.group_by("direction").aggregate(customers=table.count(), **sums).to_pandas().set_index("direction")
    if found.empty:
        raise Unanswerable("No customer bought or was served in the last two periods.")
    shown = [way for way in DIRECTIONS if way != NO_PURCHASE or way in found.index]
    return found.reindex(shown, fill_value=0).astype({"customers": int}).rename_axis("direction").reset_index()


def risers(explained: Table) -> ir.Table:
    """Return the customers who rose to a higher tier, with the columns of `explained`, the largest gain first."""
    table = as_table(explained)
    return table.filter(table["direction"] == "rose").order_by(ibis.desc("change"), "customer_id")


def fallers(explained: Table) -> ir.Table:
    """Return the key customers of the period before who fell to a lower tier or left, the largest loss first.

    Returns
    -------
    ibis.Table
        The columns of `explained` and `to_do`, what to do about the `cause`.
    """
    table = as_table(explained)
    fell = table.filter(table["direction"].isin(["fell", "left"]) & table["tier_before"].isin(KEY))
    return fell.mutate(to_do=fell["cause"].substitute(TO_DO)).order_by("change", "customer_id")
