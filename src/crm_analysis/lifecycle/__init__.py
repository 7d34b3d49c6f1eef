"""Where each customer stands in its life with the company, how customers move between the stages, and how many will."""

from crm_analysis.lifecycle.forecast import backtest, forecast
from crm_analysis.lifecycle.leads import leads, leads_on_record
from crm_analysis.lifecycle.moves import flows, probabilities, recent, transitions, win_back_rates
from crm_analysis.lifecycle.stages import (
    LEADS,
    NON_CUSTOMER,
    SILENT,
    STAGES,
    Rules,
    counts,
    month_ends,
    rules,
    stages,
    to_win_back,
)

__all__ = [
    "LEADS",
    "NON_CUSTOMER",
    "SILENT",
    "STAGES",
    "Rules",
    "backtest",
    "counts",
    "flows",
    "forecast",
    "leads",
    "leads_on_record",
    "month_ends",
    "probabilities",
    "recent",
    "rules",
    "stages",
    "to_win_back",
    "transitions",
    "win_back_rates",
]
