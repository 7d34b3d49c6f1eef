"""What calls and visits lead to: purchases, time spent waiting, and knowledge of who will buy."""

from crm_analysis.calls.compared import compared, spread
from crm_analysis.calls.conversion import STAGES, by_month, conversions, counts, credited, first_date, outcomes
from crm_analysis.calls.qualification import before_buying, by_interest, entropy, mutual_information, qualification
from crm_analysis.calls.waiting import hang_ups, incoming, is_hung_up, not_called_back, slow_times, waiting

__all__ = [
    "STAGES",
    "before_buying",
    "by_interest",
    "by_month",
    "compared",
    "conversions",
    "counts",
    "credited",
    "entropy",
    "first_date",
    "hang_ups",
    "incoming",
    "is_hung_up",
    "mutual_information",
    "not_called_back",
    "outcomes",
    "qualification",
    "slow_times",
    "spread",
    "waiting",
]
