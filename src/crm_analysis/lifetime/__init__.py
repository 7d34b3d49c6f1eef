"""What each customer will probably still buy, and what that is worth."""

from crm_analysis.lifetime.fitting import (
    BetaGeoFitter,
    GammaGammaFitter,
    fit_purchases,
    fit_spend,
    histories,
    parameters,
    spend_correlation,
    spend_histories,
)
from crm_analysis.lifetime.holdout import errors, held_totals, holdout, holdout_by_frequency, split_date, tracking
from crm_analysis.lifetime.value import alive_bands, at_risk, average_margin, growth, totals, value

__all__ = [
    "BetaGeoFitter",
    "GammaGammaFitter",
    "alive_bands",
    "at_risk",
    "average_margin",
    "errors",
    "fit_purchases",
    "fit_spend",
    "growth",
    "held_totals",
    "histories",
    "holdout",
    "holdout_by_frequency",
    "parameters",
    "spend_correlation",
    "spend_histories",
    "split_date",
    "totals",
    "tracking",
    "value",
]
