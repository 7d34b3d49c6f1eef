"""How far what all customers together will buy and be worth may probably lie from what is expected."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.intervals import (
    purchase_intervals,
    total_interval,
    total_value_interval,
    value_intervals,
)
from crm_analysis.lifetime.process import PurchaseProcess
from crm_analysis.lifetime.spend import GammaGammaFitter
from crm_analysis.lifetime.value import WEEKS_A_YEAR


def with_intervals(
    valued: Table, purchase_model: PurchaseProcess, spend_model: GammaGammaFitter, *, months: int, level: float = 0.9
) -> ir.Table:
    """Return customers with what each will probably buy and be worth: bounds that hold with a probability of `level`.

    Parameters are those of `forecast`; `valued` are few customers, for example those of a list.

    Returns
    -------
    ibis.Table
        Its columns and `purchases_low`, `purchases_high` (over the horizon), `value_low` and `value_high` (discounted,
        in units of money).
    """
    table, weeks = as_table(valued), months * WEEKS_A_YEAR / 12
    frame = _amounts(table, purchase_model)
    bought = purchase_intervals(purchase_model, frame, weeks, level)
    worth = value_intervals(purchase_model, spend_model, frame, weeks, level, factor=frame["factor"])
    bounds = bought[["customer_id"]].rename(columns={"customer_id": "bounded_id"})
    bounds = bounds.assign(purchases_low=bought["low"], purchases_high=bought["high"])
    bounds = ibis.memtable(bounds.assign(value_low=worth["low"], value_high=worth["high"]))
    return table.inner_join(bounds, table["customer_id"] == bounds["bounded_id"]).drop("bounded_id")


def forecast(
    valued: Table, purchase_model: PurchaseProcess, spend_model: GammaGammaFitter, *, months: int, level: float = 0.9
) -> dict[str, float]:
    """Return what all customers, or those of a group, will probably buy and be worth together.

    Parameters
    ----------
    valued
        See `value`; or some of its rows.
    purchase_model, spend_model, months
        Those that it was computed with.
    level
        The probability that the truth is between the bounds.

    Returns
    -------
    dict
        `low` and `high` (purchases), `parameter_share` (of their variance: what the uncertainty of the parameters
        brings); `value_low`, `value_high` and `value_parameter_share` of the discounted value (units of money; NaN
        where spend has no finite variance).
    """
    table = as_table(valued)
    weeks = months * WEEKS_A_YEAR / 12
    key = ["frequency", "recency", "T", *purchase_model.attributes]
    counted = table.group_by(key).aggregate(customers=table.count()).order_by(key).to_pandas()
    purchases = total_interval(purchase_model, counted, weeks, level)
    found = {name: purchases[name] for name in ("low", "high", "parameter_share")}
    frame = _amounts(table, purchase_model)
    try:
        value = total_value_interval(purchase_model, spend_model, frame, weeks, level, factor=frame["factor"])
    except Unanswerable:
        value = dict.fromkeys(("low", "high", "parameter_share"), float("nan"))
    return found | {f"value_{name}": value[name] for name in ("low", "high", "parameter_share")}


def _amounts(table: ir.Table, purchase_model: PurchaseProcess) -> pd.DataFrame:
    """Return the customers' histories and the `factor` (margin and discount) that amounts are multiplied with."""
    amount = (table["expected_purchases"] * table["expected_spend"]).nullif(0)
    factor = (table["lifetime_value"] / amount).fill_null(0.0)
    columns = ["customer_id", "frequency", "recency", "T", "monetary_value", *purchase_model.attributes]
    return table.select(*columns, factor=factor).order_by("customer_id").to_pandas()
