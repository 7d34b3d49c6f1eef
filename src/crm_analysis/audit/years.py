"""Two adjacent years compared: who bought in both, who left and who joined, and whose change makes the difference."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.periods import compare, explained

YEAR_GROUPS = ("bought more", "bought less", "as before", "left", "joined", "returned", "neither")
SUMS = ("revenue_before", "revenue_now", "value_before", "value_now", "change", "by_orders", "by_amount", "by_margin")


def two_years(worth: Table, customers: Table, before: dt.date, now: dt.date) -> ir.Table:
    """Return the customers of two adjacent periods, in groups by when they bought.

    Who bought in both has `bought more`, `bought less` or `as before` (by revenue); who bought in the first alone has
    `left`. Who bought in the second alone has `joined`, or `returned` if the first purchase was before both. The others
    bought in `neither`, but returned goods or were served.

    Parameters
    ----------
    worth
        What each customer bought and was worth in each period (see `periods.by_period`).
    customers
        One row per customer: `customer_id`, `first_purchase`.
    before, now
        The last days of the two periods.

    Returns
    -------
    ibis.Table
        One row per customer of either period: the columns of `periods.explained` and `group`.

    Notes
    -----
    Fader, P. S., Hardie, B. G. S. and Ross, M. (2022). The customer-base audit.
    """
    compared = explained(compare(worth, before, now))
    first = as_table(customers).select(known_id="customer_id", first="first_purchase")
    table = compared.left_join(first, compared["customer_id"] == first["known_id"])
    was, is_now = table["purchases_before"] > 0, table["purchases_now"] > 0
    group = ibis.cases(
        (was & is_now & (table["revenue_now"] > table["revenue_before"]), "bought more"),
        (was & is_now & (table["revenue_now"] < table["revenue_before"]), "bought less"),
        (was & is_now, "as before"),
        (was, "left"),
        (is_now & (table["first"] > before), "joined"),
        (is_now, "returned"),
        else_="neither",
    )
    return table.mutate(group=group).drop("known_id", "first")


def year_groups(compared: Table) -> pd.DataFrame:
    """Return what each group of the two years brought in both, and what that did to the total.

    Parameters
    ----------
    compared
        See `two_years`.

    Returns
    -------
    pandas.DataFrame
        One row per group, all of them, and `all` as the last: `group`, `customers`, `revenue_before`, `revenue_now`,
        `value_before`, `value_now`, `change` (of value), and what it is due to: `by_orders`, `by_amount`, `by_margin`.
    """
    table = as_table(compared)
    sums = {name: exact_sum(table[name]) for name in SUMS}
    found = table.group_by("group").aggregate(customers=table.count(), **sums).to_pandas().set_index("group")
    found = found.astype(object).reindex(YEAR_GROUPS, fill_value=0)
    found.loc["all"] = found.sum()
    return found.astype({"customers": int} | dict.fromkeys(SUMS, float)).rename_axis("group").reset_index()


def change_tenths(compared: Table) -> pd.DataFrame:
    """Return how the change of the total is spread over the customers, from the largest losses to the largest gains.

    A customer's tenth follows from the share of customers whose value changed for the worse of it, so equal changes
    share a tenth, and the tenths are not always of equal size.

    Parameters
    ----------
    compared
        See `two_years`.

    Returns
    -------
    pandas.DataFrame
        `tenth` (1 to 10), `customers`, `change` (of their value together).
    """
    table = as_table(compared)
    rank, count = ibis.rank().over(order_by=table["change"]), table.count().over(ibis.window())
    placed = table.select("change", tenth=rank * 10 // count + 1)
    found = placed.group_by("tenth").aggregate(
        customers=placed.count(), change=exact_sum(placed["change"]).cast("float64")
    )
    frame = found.to_pandas().astype({"tenth": int}).set_index("tenth").reindex(range(1, 11), fill_value=0)
    return frame.astype({"customers": int, "change": float}).reset_index()


def share_makers(compared: Table, share: float = 0.5) -> pd.DataFrame:
    """Return how few customers make up a share of all losses, and of all gains.

    Parameters
    ----------
    compared
        See `two_years`.
    share
        The share of the losses, or gains, that they make up.

    Returns
    -------
    pandas.DataFrame
        Indexed by `loss` and `gain`: `customers` whose value changed so, their `change`, and the `makers` of the share
        of it, the largest first.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of the change lies above 0 and not above 1, not at {share}")
    table = as_table(compared)
    table = table.filter(table["change"] != 0)
    table = table.select("change", size=table["change"].abs(), way=(table["change"] < 0).ifelse("loss", "gain"))
    largest = {"group_by": "way", "order_by": ibis.desc("size")}
    ranked = table.mutate(
        rank=ibis.row_number().over(ibis.window(**largest)) + 1,
        running=exact_sum(table["size"]).over(ibis.cumulative_window(**largest)),
        total=exact_sum(table["size"]).over(ibis.window(group_by="way")),
    )
    enough = ranked["running"].cast("float64") >= ranked["total"].cast("float64") * (share - 1e-12)
    found = ranked.group_by("way").aggregate(
        customers=ranked.count(),
        change=exact_sum(ranked["change"]).cast("float64"),
        makers=ranked["rank"].min(where=enough),
    )
    frame = found.to_pandas().set_index("way").reindex(["loss", "gain"], fill_value=0)
    return frame.astype({"customers": int, "change": float, "makers": int})
