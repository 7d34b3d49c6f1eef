"""What to do for each tier: keep key customers, lift ordinary ones, and settle what small ones cost."""

from crm_analysis.treatment.care import CADENCE, NOBODY, in_cadence, load, managers, visits_due
from crm_analysis.treatment.key_customers import (
    SIGNS,
    by_sign,
    foretold,
    half_a_period_ago,
    refuse_missing,
    warned,
    with_category,
)
from crm_analysis.treatment.small import TREATMENTS, adjust, bad_credit, by_treatment, growing, regular, spans, treated
from crm_analysis.treatment.tiers import entry, refuse_short, tiered, whole
from crm_analysis.treatment.upgrades import calibration, chances, costly, upgrades, with_service_cost

__all__ = [
    "CADENCE",
    "NOBODY",
    "SIGNS",
    "TREATMENTS",
    "adjust",
    "bad_credit",
    "by_sign",
    "by_treatment",
    "calibration",
    "chances",
    "costly",
    "entry",
    "foretold",
    "growing",
    "half_a_period_ago",
    "in_cadence",
    "load",
    "managers",
    "refuse_missing",
    "refuse_short",
    "regular",
    "spans",
    "tiered",
    "treated",
    "upgrades",
    "visits_due",
    "warned",
    "whole",
    "with_category",
    "with_service_cost",
]
