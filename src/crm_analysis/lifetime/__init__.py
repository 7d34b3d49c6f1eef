"""What each customer will probably still buy, and what that is worth."""

from crm_analysis.lifetime.family import GammaGompertzNBDFitter, NBDFitter, ParetoNBDFitter, WeibullGammaNBDFitter
from crm_analysis.lifetime.fitting import parameters
from crm_analysis.lifetime.forecast import forecast, with_intervals
from crm_analysis.lifetime.geometric import BetaGeoFitter, ModifiedBetaGeoFitter
from crm_analysis.lifetime.histories import histories
from crm_analysis.lifetime.holdout import errors, held_totals, holdout, holdout_by_frequency, split_date, tracking
from crm_analysis.lifetime.intervals import (
    chance_above,
    purchase_intervals,
    total_interval,
    total_value_interval,
    value_intervals,
)
from crm_analysis.lifetime.season import Season, seasonal
from crm_analysis.lifetime.selection import select, with_spend_level
from crm_analysis.lifetime.silence import silent
from crm_analysis.lifetime.spend import GammaGammaFitter, independence, spend_by_frequency, spend_histories
from crm_analysis.lifetime.value import (
    at_risk,
    average_margin,
    by_channel,
    growth,
    new_customer_value,
    refuse_far_horizon,
    totals,
    value,
)
from crm_analysis.lifetime.views import alive_bands, surface, value_bands

__all__ = [
    "BetaGeoFitter",
    "GammaGammaFitter",
    "GammaGompertzNBDFitter",
    "ModifiedBetaGeoFitter",
    "NBDFitter",
    "ParetoNBDFitter",
    "Season",
    "WeibullGammaNBDFitter",
    "alive_bands",
    "at_risk",
    "average_margin",
    "by_channel",
    "chance_above",
    "errors",
    "forecast",
    "growth",
    "held_totals",
    "histories",
    "holdout",
    "holdout_by_frequency",
    "independence",
    "new_customer_value",
    "parameters",
    "purchase_intervals",
    "refuse_far_horizon",
    "seasonal",
    "select",
    "silent",
    "spend_by_frequency",
    "spend_histories",
    "split_date",
    "surface",
    "total_interval",
    "total_value_interval",
    "totals",
    "tracking",
    "value",
    "value_bands",
    "value_intervals",
    "with_intervals",
    "with_spend_level",
]
