"""The customer pyramid: tiers by value, how customers move between them, and why."""

from crm_analysis.pyramid.by_period import (
    NO_PURCHASE,
    by_direction,
    explained,
    fallers,
    placed,
    risers,
    stays,
    steps,
)
from crm_analysis.pyramid.moves import NOT_YET, by_cause, causes, changes, directions, fallen, moves
from crm_analysis.pyramid.tiers import KEY, SHARES, TIERS, labelled, labels, least, sizes, tier_at, tiers

__all__ = [
    "KEY",
    "NOT_YET",
    "NO_PURCHASE",
    "SHARES",
    "TIERS",
    "by_cause",
    "by_direction",
    "causes",
    "changes",
    "directions",
    "explained",
    "fallen",
    "fallers",
    "labelled",
    "labels",
    "least",
    "moves",
    "placed",
    "risers",
    "sizes",
    "stays",
    "steps",
    "tier_at",
    "tiers",
]
