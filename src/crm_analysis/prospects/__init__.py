"""Who will become a customer, how probable that is, and what each is worth before they are one.

`scored` does all of it in one call; the other functions are its steps.
"""

from crm_analysis.prospects.leads_now import Learnt, judged, learn, ranked, scored
from crm_analysis.prospects.non_customers import became, fallen_silent, non_customers, not_from_leads
from crm_analysis.prospects.panel import ATTRIBUTES, decision_dates, features, panel
from crm_analysis.prospects.propensity import Propensity, in_words, reasons
from crm_analysis.prospects.validation import (
    Validation,
    calibration,
    calibration_error,
    error_by_chance,
    scores,
    validate,
)
from crm_analysis.prospects.worth import first_years, similar, with_value

__all__ = [
    "ATTRIBUTES",
    "Learnt",
    "Propensity",
    "Validation",
    "became",
    "calibration",
    "calibration_error",
    "decision_dates",
    "error_by_chance",
    "fallen_silent",
    "features",
    "first_years",
    "in_words",
    "judged",
    "learn",
    "non_customers",
    "not_from_leads",
    "panel",
    "ranked",
    "reasons",
    "scored",
    "scores",
    "similar",
    "validate",
    "with_value",
]
