"""Every chart of the reports: a small pandas frame in, a matplotlib figure out.

A chart shows numbers, it never computes a result: what is drawn or written stands in the frame. No chart has
a title, since the sentence above it states its finding. Figures belong to no window and settings apply only
while a chart is drawn, so a notebook shows each figure once and its own plots keep their look. Text from the
data is drawn as it is.
"""

from crm_analysis.charts.acquisition import earned_back
from crm_analysis.charts.analogy import judged_fifths
from crm_analysis.charts.audit import base_flows, change_tenths, refunds_both_ways, value_by_age
from crm_analysis.charts.call_list import calls_by_reason
from crm_analysis.charts.calls import monthly_contacts, rates_by_step, waiting_by_hour
from crm_analysis.charts.customer import purchase_timeline
from crm_analysis.charts.customers import TIER_COLORS, concentration_curve, pyramids, tier_moves
from crm_analysis.charts.holdout import holdout_by_frequency, model_errors, tracking
from crm_analysis.charts.lifecycle import STAGE_COLORS, stage_areas, stage_flows, stage_forecast, transition_matrix
from crm_analysis.charts.lifetime import alive_bands, alive_surface, purchases_surface, value_distribution
from crm_analysis.charts.profit import months_compared, waterfall
from crm_analysis.charts.prospects import calibration
from crm_analysis.charts.pyramid import tier_migration, value_changes
from crm_analysis.charts.ranking import category_keys, rank_changes
from crm_analysis.charts.retention import cohort_retention, rate_differences, rate_intervals
from crm_analysis.charts.rfm import recency_frequency
from crm_analysis.charts.scorecard import customer_map, overdue_ages, price_waterfalls, projected_changes
from crm_analysis.charts.service import case_times, cases_per_100
from crm_analysis.charts.treatment import account_load, warning_signs

__all__ = [
    "STAGE_COLORS",
    "TIER_COLORS",
    "account_load",
    "alive_bands",
    "alive_surface",
    "base_flows",
    "calibration",
    "calls_by_reason",
    "case_times",
    "cases_per_100",
    "category_keys",
    "change_tenths",
    "cohort_retention",
    "concentration_curve",
    "customer_map",
    "earned_back",
    "holdout_by_frequency",
    "judged_fifths",
    "model_errors",
    "monthly_contacts",
    "months_compared",
    "overdue_ages",
    "price_waterfalls",
    "projected_changes",
    "purchase_timeline",
    "purchases_surface",
    "pyramids",
    "rank_changes",
    "rate_differences",
    "rate_intervals",
    "rates_by_step",
    "recency_frequency",
    "refunds_both_ways",
    "stage_areas",
    "stage_flows",
    "stage_forecast",
    "tier_migration",
    "tier_moves",
    "tracking",
    "transition_matrix",
    "value_by_age",
    "value_changes",
    "value_distribution",
    "waiting_by_hour",
    "warning_signs",
    "waterfall",
]
