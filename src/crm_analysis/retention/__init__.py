"""Who comes back: how many go on to the next purchase, by cohort and after a long pause, and what kept others away."""

from crm_analysis.retention.first_purchase import (
    at_stake,
    effect,
    experience_groups,
    experiences,
    median_silence,
    slipping_away,
    to_make_up,
    usual_wait,
    value_after,
)
from crm_analysis.retention.steps import age_days, at_ages, cohorts, conversions, win_backs, year_on_year

__all__ = [
    "age_days",
    "at_ages",
    "at_stake",
    "cohorts",
    "conversions",
    "effect",
    "experience_groups",
    "experiences",
    "median_silence",
    "slipping_away",
    "to_make_up",
    "usual_wait",
    "value_after",
    "win_backs",
    "year_on_year",
]
