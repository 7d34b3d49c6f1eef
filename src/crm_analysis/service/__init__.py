"""How well customers are served: times, complaints, satisfaction, what follows for loyalty, and quotes that agree."""

from crm_analysis.service.cases import by_quarter, costs, handled, in_periods, per_100_orders, refuse_none, spans
from crm_analysis.service.owed import at_risk, dissatisfied, open_complaints, worth
from crm_analysis.service.quotes import beside_others, by_salesperson, contradictions
from crm_analysis.service.ratings import changes, pleased, rating_effects
from crm_analysis.service.repurchase import (
    after_orders,
    after_settling,
    at_once,
    clustered,
    orders,
    refuse_missing,
    settled,
)
from crm_analysis.service.times import CLEAR, log_rank, spelled, waiting_times

__all__ = [
    "CLEAR",
    "after_orders",
    "after_settling",
    "at_once",
    "at_risk",
    "beside_others",
    "by_quarter",
    "by_salesperson",
    "changes",
    "clustered",
    "contradictions",
    "costs",
    "dissatisfied",
    "handled",
    "in_periods",
    "log_rank",
    "open_complaints",
    "orders",
    "per_100_orders",
    "pleased",
    "rating_effects",
    "refuse_missing",
    "refuse_none",
    "settled",
    "spans",
    "spelled",
    "waiting_times",
    "worth",
]
