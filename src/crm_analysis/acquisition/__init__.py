"""Which way of finding customers pays: what each costs, whom it wins, how long they stay and what they bring."""

from crm_analysis.acquisition.old_and_new import FIRST, LATER, NEW, OLD, differ, old_and_new, orders
from crm_analysis.acquisition.to_do import could_recommend, not_earned_back
from crm_analysis.acquisition.ways import (
    ALIKE,
    OTHER,
    UNKNOWN,
    apart,
    approached,
    arrivals,
    by_way,
    compared,
    costs,
    own_costs,
    people,
)
from crm_analysis.acquisition.worth import (
    above_median,
    came_back,
    earned_back,
    first_years,
    half_by,
    lifetime_values,
)

__all__ = [
    "ALIKE",
    "FIRST",
    "LATER",
    "NEW",
    "OLD",
    "OTHER",
    "UNKNOWN",
    "above_median",
    "apart",
    "approached",
    "arrivals",
    "by_way",
    "came_back",
    "compared",
    "costs",
    "could_recommend",
    "differ",
    "earned_back",
    "first_years",
    "half_by",
    "lifetime_values",
    "not_earned_back",
    "old_and_new",
    "orders",
    "own_costs",
    "people",
]
