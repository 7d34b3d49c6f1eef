"""Chooses the model that foretells best: each is fitted on a first part of the data and checked on the second."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table, purchases, summary
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime import family, geometric
from crm_analysis.lifetime.baselines import REFERENCES, Average, Reference
from crm_analysis.lifetime.histories import enough, histories
from crm_analysis.lifetime.holdout import (
    calibration_error,
    counted,
    errors,
    foretold,
    gini,
    observed,
    repeats,
    split_date,
    tracked,
    tracking_error,
)
from crm_analysis.lifetime.process import PurchaseProcess
from crm_analysis.lifetime.season import seasonal

FAMILY: tuple[type[PurchaseProcess], ...] = (
    family.ParetoNBDFitter,
    geometric.BetaGeoFitter,
    geometric.ModifiedBetaGeoFitter,
    family.GammaGompertzNBDFitter,
    family.WeibullGammaNBDFitter,
    family.NBDFitter,
)
LEVEL = 0.9  # of the intervals whose coverage is checked
ALIKE = 0.001  # what aggregate errors may differ by without one being worse
STEP = 0.25  # between levels of spend, in logarithms: few enough that customers still share histories
ERRORS = ["mae", "rmse", "aggregate_error", "tracking_error", "calibration_error"]
SCORES = [*ERRORS, "covered", "claimed", "gini", "log_score"]

# What fits a model to transactions up to a date and the customers there were then (with their `spend_level`).
Fit = Callable[[ir.Table, ir.Table, dt.date], PurchaseProcess]


def candidates() -> list[tuple[str, Fit]]:
    """Return the models to choose from; the first is the standard, which others must not be worse than."""
    family = [(fitter.label, _on_histories(fitter)) for fitter in FAMILY]
    return [*family, ("Pareto/NBD with spend", _with_spend), ("Pareto/NBD with season", _with_season)]


def _on_histories(fitter: type[PurchaseProcess]) -> Fit:
    return lambda transactions, customers, as_of: fitter().fit_histories(histories(customers))


def _with_spend(transactions: ir.Table, customers: ir.Table, as_of: dt.date) -> PurchaseProcess:
    return family.ParetoNBDFitter().fit_histories(histories(customers, "spend_level"))


def _with_season(transactions: ir.Table, customers: ir.Table, as_of: dt.date) -> PurchaseProcess:
    return seasonal(transactions, histories(customers), as_of, family.ParetoNBDFitter)


def with_spend_level(customers: Table) -> ir.Table:
    """Return customers with their `spend_level`, the covariate of the Pareto/NBD with spend.

    It is the logarithm of a customer's average purchase over that of all these customers, in steps of a quarter, less
    its mean. As few purchases say little, one of the average of all is counted in.
    """
    table = as_table(customers)
    sums = table.aggregate(amount=table["purchased"].sum(), count=table["purchases"].sum()).to_pandas().iloc[0]
    usual = float(sums["amount"] / sums["count"]) if sums["amount"] > 0 else 1.0
    relative = (table["purchased"] / usual + 1) / (table["purchases"] + 1)
    steps = (relative.ln() / STEP).round().cast("int64")
    mean = float(table.aggregate(mean=steps.mean(where=table["purchases"] > 0).fill_null(0.0)).execute().iloc[0, 0])
    return table.mutate(spend_level=(steps - mean) * STEP)


def select(
    transactions: Table,
    as_of: dt.date,
    *,
    weeks: int = 0,
    models: Sequence[tuple[str, Fit]] | None = None,
    references: bool = True,
    rule: Callable[[pd.DataFrame], list[str]] | None = None,
) -> tuple[pd.DataFrame, PurchaseProcess]:
    """Return how well each model foretold the last part of the data, and the best, fitted to all of them.

    Each model is fitted to the data up to a split date, and what it expected after it is compared with what happened
    by the as-of date; nothing after that is read. `no_worse` states the rule by which one is picked.

    Parameters
    ----------
    transactions
        Clean transactions.
    as_of
        The end of the data.
    weeks
        The length of the second part; 0: half of the time from the first purchase to the as-of date.
    models
        Names, and what fits the models to choose from; without it those of `candidates`. The average of those without
        covariates and season is a candidate, too.
    references
        Whether to compare with rules and machine learning (`baselines`), too, which are never picked.
    rule
        From the scores, the names of the models that may be picked, best first: `no_worse`, or `by_log_score`.

    Returns
    -------
    scores : pandas.DataFrame
        One row per model:

        - `model` (name) and `role` (candidate or reference);
        - `mae`, `rmse`: how far the expectation was off (purchases per customer);
        - `aggregate_error`: of all purchases together (share of the actual ones; below 0: too few were expected);
        - `tracking_error`: mean absolute error of the cumulative purchases at each week's end (share of the actual);
        - `calibration_error`: of the mean of each tenth of customers by expectation (purchases per customer);
        - `covered`, `claimed`: how many customers were within their central 90 % interval, and how many should have
          been by the model's estimates (shares; above 90 %, since purchases are whole numbers);
        - `gini`: how well the expectation ranked customers by their purchases (1 perfectly, 0 not at all);
        - `log_score`: mean logarithm of the probability of what a customer did (higher is better);
        - `picked` (bool), and `note`: why a model has no scores, or was not picked although preferred.
    model : PurchaseProcess
        The picked one, refitted to everything up to the as-of date. If it has covariates (`attributes`), customers
        need those of `with_spend_level`.

    Raises
    ------
    Unanswerable
        The history is too short, or no model could be fitted. If only too few bought again before the split, the
        standard model is picked without scores, and its note says so.
    """
    table = purchases(transactions)  # all that the models need to know of
    table = table.filter(table["date"] <= as_of).select("customer_id", "date", "amount").cache()
    if not table.count().execute():
        raise Unanswerable(f"Nobody had purchased anything by {as_of}.")
    first = pd.Timestamp(table["date"].min().execute()).date()
    ways = dict(candidates() if models is None else models)
    columns = ["model", "role", *SCORES, "picked", "note"]
    try:
        split = split_date((first, as_of), as_of, weeks)
        early = table.filter(table["date"] <= split).group_by("customer_id").aggregate(count=ibis._.count())
        enough(early.filter(early["count"] > 1).count().execute(), f"compare models on the data up to {split}")
    except Unanswerable as why:  # on all data, a model may be fitted all the same
        standard = next(iter(ways))
        row = {"model": standard, "role": "candidate", "note": str(why)}
        scores = pd.DataFrame([row], columns=columns).astype(dict.fromkeys(SCORES, float))
        return _picked(scores, [standard], {standard: ways[standard]}, table, as_of)
    compare = _comparison(table, split, as_of)
    fitted: dict[str, PurchaseProcess] = {}
    rows = [compare(name, fit, fitted) for name, fit in ways.items()]
    family = [name for name, one in fitted.items() if not one.attributes and one.season is None]
    if len(family) > 1:
        ways[Average.label] = lambda *data: Average([ways[name](*data) for name in family])
        rows.append(compare(Average.label, lambda *_: Average([fitted[name] for name in family]), fitted))
    if references:
        rows += [_reference(name, of, table, split, as_of) for name, of in REFERENCES.items()]
    scores = pd.DataFrame(rows, columns=columns)
    return _picked(scores, (rule or no_worse)(scores), ways, table, as_of)


def no_worse(scores: pd.DataFrame) -> list[str]:
    """Return the candidates that may be picked, the one with the best `log_score` first.

    A model may take the place of the standard, which is the first that could be fitted, if it was worse in no respect:
    what it expected of single customers (`mae`, `rmse`) and of all together (`aggregate_error`, to 0.1 %), and how
    probable it held what they did (`log_score`). These measures answer different questions, and who is better by one
    and worse by another makes another compromise, not a better forecast: `mae`, above all, falls where too little is
    expected of everyone, for most customers buy little.
    """
    known = scores[(scores["role"] == "candidate") & scores["log_score"].notna()]
    if known.empty:
        return []
    standard = known.iloc[0]
    worse = (known["mae"] > standard["mae"]) | (known["rmse"] > standard["rmse"])
    worse |= known["log_score"] < standard["log_score"]
    worse |= known["aggregate_error"].abs() > abs(standard["aggregate_error"]) + ALIKE
    return by_log_score(known[~worse])


def by_log_score(scores: pd.DataFrame) -> list[str]:
    """Return the candidates, first who held what customers did for most probable: the rule for totals and intervals.

    It often prefers the average of the family, whose `mae` is worse for its being right about the total.
    """
    known = scores[(scores["role"] == "candidate") & scores["log_score"].notna()]
    return list(known.sort_values("log_score", ascending=False, kind="stable")["model"])


def _picked(
    scores: pd.DataFrame, names: list[str], ways: dict[str, Fit], table: ir.Table, as_of: dt.date
) -> tuple[pd.DataFrame, PurchaseProcess]:
    """Return the scores with what was picked, and that model, fitted to all data."""
    notes, customers = scores.set_index("model")["note"], _known(table, as_of)
    for name in dict.fromkeys([*names, *by_log_score(scores)]):  # the others only if none of those can be fitted
        try:
            model = ways[name](table, customers, as_of)
        except Exception as error:
            notes[name] = f"On all data: {_why(error)}"
            continue
        return scores.assign(picked=scores["model"] == name, note=notes.to_numpy()), model
    reasons = dict.fromkeys(notes[name].removeprefix("On all data: ") for name in ways if name in notes)
    raise Unanswerable(f"No model of purchases could be fitted. {' '.join(reasons)}")


def _known(table: ir.Table, date: dt.date) -> ir.Table:
    """Return the customers at a date, as the candidates are given them."""
    return with_spend_level(summary(table, as_of=date)).cache()


def _comparison(
    table: ir.Table, split: dt.date, until: dt.date
) -> Callable[[str, Fit, dict[str, PurchaseProcess]], dict[str, Any]]:
    """Return what fits a model up to the split, keeps it among others if that succeeds, and returns its scores."""
    customers, past, horizon = _known(table, split), table.filter(table["date"] <= split), (until - split).days / 7
    held = observed(table, customers, split, until, "spend_level")
    weeks, cohorts = repeats(table, customers, until, "spend_level")
    weeks = weeks[weeks["date"] > pd.Timestamp(split)]

    def compare(name: str, fit: Fit, fitted: dict[str, PurchaseProcess]) -> dict[str, Any]:
        row: dict[str, Any] = {"model": name, "role": "candidate", "note": ""}
        try:
            model = fit(past, customers, split)
            found = counted(foretold(held, model, horizon), model, horizon, LEVEL)
            curve = tracked(weeks, cohorts, model)
            row |= _scores(found) | _probable(found) | {"tracking_error": tracking_error(curve, split)}
            fitted[name] = model
        except Exception as error:  # whatever it is, the others can still be compared
            row["note"] = _why(error)
        return row

    return compare


def _reference(name: str, foretell: Reference, table: ir.Table, split: dt.date, until: dt.date) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name, "role": "reference", "note": ""}
    try:
        return row | _scores(foretell(table, split, until))
    except Exception as error:
        return row | {"note": _why(error)}


def _scores(held: pd.DataFrame) -> dict[str, float]:
    """Return what expectations score."""
    missing = held["customers"][~np.isfinite(held["expected"])].sum()
    if missing:
        raise Unanswerable(f"What {numerals.count(missing)} customers would buy could not be computed.")
    found = {name: off for name, off in errors(held).items() if name in ERRORS}
    return found | {"calibration_error": calibration_error(held), "gini": gini(held)}


def _probable(held: pd.DataFrame) -> dict[str, float]:
    """Return what probabilities score."""
    inside = held["actual"].between(held["low"], held["high"])
    logs = np.log(np.maximum(held["probability"], 1e-300))
    columns = {"covered": inside, "claimed": held["coverage"], "log_score": logs}
    return {name: float(np.average(column, weights=held["customers"])) for name, column in columns.items()}


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, Unanswerable) else f"{type(error).__name__}: {error}"
