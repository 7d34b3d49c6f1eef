"""Good customers and big customers: which of the big ones do not earn what they should, and who is on the way up."""

from crm_analysis.scorecard.accounts import accounts, totals, usual_margin, waterfall
from crm_analysis.scorecard.bad import bad, late_payers
from crm_analysis.scorecard.dependence import dependence, largest
from crm_analysis.scorecard.score import (
    CRITERIA,
    QUADRANTS,
    big_not_good,
    criteria,
    density,
    grades,
    placed,
    proportions,
    quadrants,
    scored,
    with_others,
)
from crm_analysis.scorecard.trend import falling, judged, months_of, rising, season, trends

__all__ = [
    "CRITERIA",
    "QUADRANTS",
    "accounts",
    "bad",
    "big_not_good",
    "criteria",
    "density",
    "dependence",
    "falling",
    "grades",
    "judged",
    "largest",
    "late_payers",
    "months_of",
    "placed",
    "proportions",
    "quadrants",
    "rising",
    "scored",
    "season",
    "totals",
    "trends",
    "usual_margin",
    "waterfall",
    "with_others",
]
