"""How the customer base changed, and whether the numbers add up: bridge, years, cohorts and refunds."""

from crm_analysis.audit.bridge import GROUPS, STAYED, bridge, groups, months, movements, moves, names, steps
from crm_analysis.audit.cohorts import aged, latest, members, trend
from crm_analysis.audit.proof import check
from crm_analysis.audit.refunds import both_ways, refund_flows, refunders
from crm_analysis.audit.years import YEAR_GROUPS, change_tenths, share_makers, two_years, year_groups

__all__ = [
    "GROUPS",
    "STAYED",
    "YEAR_GROUPS",
    "aged",
    "both_ways",
    "bridge",
    "change_tenths",
    "check",
    "groups",
    "latest",
    "members",
    "months",
    "movements",
    "moves",
    "names",
    "refund_flows",
    "refunders",
    "share_makers",
    "steps",
    "trend",
    "two_years",
    "year_groups",
]
