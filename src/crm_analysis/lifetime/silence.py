"""Whose silence is not like them."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from crm_analysis.customers import Table, as_table
from crm_analysis.lifetime.histories import histories
from crm_analysis.lifetime.process import PurchaseProcess

LEAST_GAPS = 2  # a customer with fewer pauses between purchases has no rhythm yet


def silent(customers: Table, model: PurchaseProcess, below: float = 0.05) -> ir.Table:
    """Return the customers who have not bought for longer than their own rhythm lets expect, best first.

    Parameters
    ----------
    customers
        One row per customer (`customers.summary`, in weeks).
    model
        Fitted on such histories; customers have its covariates.
    below
        How improbable a silence is that counts.

    Returns
    -------
    ibis.Table
        The customers' columns, `usual_gap` (their mean pause between purchases so far, days), `silence` (days since
        the last purchase) and `silence_probability` (of buying nothing for that long although still a customer).
        Only those with two pauses or more are looked at.
    """
    table = as_table(customers)
    table = table.filter(table["frequency"] >= LEAST_GAPS)
    distinct = histories(table, *model.attributes).drop(columns="customers")
    probable = distinct.assign(silence_probability=model.conditional_probability_of_silence(**model.known(distinct)))
    joined = table.inner_join(ibis.memtable(probable), list(distinct))
    found = joined.filter(joined["silence_probability"] < below)
    days = {"usual_gap": 7 * found["recency"] / found["frequency"], "silence": 7 * (found["T"] - found["recency"])}
    found = found.mutate(**{name: column.round().cast("int64") for name, column in days.items()})
    return found.order_by(ibis.desc("value"), ibis.asc("customer_id"))
