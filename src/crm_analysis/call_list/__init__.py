"""Whom to call next: candidates with a reason and what they are worth, who calls them, and what became of the calls."""

from crm_analysis.call_list.crew import STATES, agents, barred, by_agent, by_kind, by_state, managed, placed
from crm_analysis.call_list.outcome import beside, missed, outcomes, what_became
from crm_analysis.call_list.reasons import KINDS, Rules, candidates, refuse_missing

__all__ = [
    "KINDS",
    "STATES",
    "Rules",
    "agents",
    "barred",
    "beside",
    "by_agent",
    "by_kind",
    "by_state",
    "candidates",
    "managed",
    "missed",
    "outcomes",
    "placed",
    "refuse_missing",
    "what_became",
]
