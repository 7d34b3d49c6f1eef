"""What happens to customers when their account manager changes, and what is to be done before and after one does."""

from crm_analysis.continuity.changes import changes, departures, spells
from crm_analysis.continuity.effect import KINDS, Worth, alike, effect, effects, worth
from crm_analysis.continuity.hand_over import hand_over, lost_with_manager, not_yet_met, regular

__all__ = [
    "KINDS",
    "Worth",
    "alike",
    "changes",
    "departures",
    "effect",
    "effects",
    "hand_over",
    "lost_with_manager",
    "not_yet_met",
    "regular",
    "spells",
    "worth",
]
