"""How well a model that saw only the first part of the data foretells the rest."""

from __future__ import annotations

import datetime as dt
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, purchases, summary
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.histories import HISTORY
from crm_analysis.lifetime.process import PurchaseProcess

CELLS = 2**22  # probabilities that are held at a time
SEASON = 105  # weeks in which every week of the year comes twice
MOST = 2**14  # purchases of one customer that are looked at


def split_date(period: tuple[dt.date, dt.date], as_of: dt.date, weeks: int = 0) -> dt.date:
    """Return the date up to which a model may see data when the rest is to check it.

    Parameters
    ----------
    period
        The first and the last date of a transaction.
    as_of
        The end of the holdout.
    weeks
        The length of the holdout; 0: half of the time from the first transaction to the as-of date, but at most a
        year, and less, down to a quarter of a year, where that leaves two years from which a season can be told.
    """
    if weeks < 0:
        raise ValueError(f"a holdout lasts at least a week, not {weeks}; 0 stands for half of the history")
    days = 7 * weeks
    if not weeks:
        half = min(round((as_of - period[0]).days / 14), 52)
        beyond = (as_of - period[0]).days // 7 - SEASON
        days = 7 * (min(half, beyond) if beyond >= 13 else half)
    if not 0 < days < (as_of - period[0]).days:
        raise Unanswerable(f"The history of {(as_of - period[0]).days} days is too short to hold out {days} of them.")
    return as_of - dt.timedelta(days=days)


def holdout(
    transactions: Table, customers: Table, model: PurchaseProcess, split: dt.date, until: dt.date
) -> pd.DataFrame:
    """Return what was expected of the customers after the split, and what they did.

    Parameters
    ----------
    transactions
        Clean transactions.
    customers
        The customers at the split, with the covariates of the model.
    model
        Fitted on them, so without a look at what came later.
    split, until
        The holdout period is after `split`, up to and with `until`.

    Returns
    -------
    pandas.DataFrame
        The distinct combinations of `frequency`, `recency`, `T` (at the split), the covariates, `actual` (purchases
        in the holdout), `expected` and `p_alive`, with the number of `customers` who share each.
    """
    held = observed(transactions, customers, split, until, *attributes(model))
    return foretold(held, model, (until - split).days / 7)


def observed(transactions: Table, customers: Table, split: dt.date, until: dt.date, *more: str) -> pd.DataFrame:
    """Return what the customers at the split did after it: the columns of `holdout` that need no model.

    `more` are further columns of the customers to be told apart by.
    """
    later = bought_between(purchases(transactions), split, until)
    table = as_table(customers).filter(lambda t: t["purchases"] > 0)
    joined = table.left_join(later, table["customer_id"] == later["buyer"])
    joined = joined.mutate(actual=joined["bought"].fill_null(0))
    key = [*HISTORY, *more, "actual"]
    return joined.group_by(key).aggregate(customers=joined.count()).order_by(key).to_pandas()


def bought_between(bought: ir.Table, after: dt.date, until: dt.date) -> ir.Table:
    """Return how many of some purchases (`bought`) each customer (`buyer`) made after a date, by and with another."""
    some = bought.filter((bought["date"] > after) & (bought["date"] <= until))
    return some.group_by(buyer="customer_id").aggregate(bought=some.count())


def attributes(model: PurchaseProcess) -> list[str]:
    """Return the names of a model's covariates; the fitters of lifetimes, which can be checked, too, have none."""
    return getattr(model, "attributes", [])


def foretold(held: pd.DataFrame, model: PurchaseProcess, weeks: float) -> pd.DataFrame:
    """Return what was observed beside what a model knows: `expected` (purchases in so many weeks) and `p_alive`."""
    distinct, back = _distinct(held, model)
    known = _known(distinct, model)
    expected = model.conditional_expected_number_of_purchases_up_to_time(weeks, **known)
    alive = model.conditional_probability_alive(**known)
    return held.assign(expected=np.asarray(expected)[back], p_alive=np.asarray(alive)[back])


def counted(held: pd.DataFrame, model: PurchaseProcess, weeks: float, level: float = 0.9) -> pd.DataFrame:
    """Return what was observed beside how probable it was, by a model's estimates.

    Returns
    -------
    pandas.DataFrame
        The rows with `probability` (of the actual number of purchases), `low` and `high` (purchases: outside of them,
        on each side, lies at most half of what the level leaves) and `coverage` (the probability of low to high: at
        least the level, since purchases are whole numbers).
    """
    distinct, back = _distinct(held, model)
    actual, out = held["actual"].to_numpy(int), (1 - level) / 2
    largest = np.zeros(len(distinct), int)
    np.maximum.at(largest, back, actual)
    probability, (low, high, coverage) = np.zeros(len(held)), np.zeros((3, len(distinct)))
    left, most = np.arange(len(distinct)), 15
    while len(left):
        unfinished = []
        for rows in np.array_split(left, -(-len(left) * most // CELLS)):
            each = model.conditional_distribution(weeks, most=most, **_known(distinct.iloc[rows], model))
            below = np.cumsum(each, axis=0)
            done = ((largest[rows] <= most) & (1 - below[-1] <= out)) | (most >= MOST)
            first, last = (np.minimum(few.sum(axis=0), most) for few in (below <= out, 1 - below > out))
            low[rows], high[rows] = first, last
            each_row = np.arange(len(rows))
            coverage[rows] = below[last, each_row] - (below - each)[first, each_row]
            place = np.full(len(distinct), -1)  # of a history among those that are done
            place[rows[done]] = np.flatnonzero(done)
            mine = np.flatnonzero(place[back] >= 0)
            probability[mine] = each[np.minimum(actual[mine], most), place[back[mine]]]
            unfinished.append(rows[~done])
        left, most = np.concatenate(unfinished), 4 * most + 3
    bounds = {"low": low[back].astype(int), "high": high[back].astype(int), "coverage": coverage[back]}
    return held.assign(probability=probability, **bounds)


def _distinct(held: pd.DataFrame, model: PurchaseProcess) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the distinct histories, with the covariates of a model, and which of them each row has."""
    key = [*HISTORY, *attributes(model)]
    return held.loc[~held.duplicated(key), key], held.groupby(key, sort=False).ngroup().to_numpy()


def _known(histories: pd.DataFrame, model: PurchaseProcess) -> dict[str, Any]:
    """Return the arguments by which a model's methods take histories."""
    known, names = {name: histories[name].to_numpy(float) for name in HISTORY}, attributes(model)
    return known | ({"covariates": histories[names]} if names else {})


def errors(held: pd.DataFrame) -> dict[str, float]:
    """Return how far the expectation was off.

    Returns
    -------
    dict
        `mae` and `rmse` (purchases per customer), `aggregate_error` (of all purchases together, as a share of the
        actual ones; NaN if there were none), `auc` (the probability that of two customers, one who came back and
        one who did not, the former had more purchases expected; NaN if all or none came back).
    """
    off, customers = held["expected"] - held["actual"], held["customers"]
    total = (held["actual"] * customers).sum()
    back = customers * (held["actual"] > 0)
    sums = pd.DataFrame({"back": back, "gone": customers - back}).groupby(held["expected"].to_numpy(float)).sum()
    pairs = sums["back"].sum() * sums["gone"].sum()
    ranked = sums["back"] @ (sums["gone"].cumsum() - sums["gone"] / 2)
    return {
        "mae": float(np.average(off.abs(), weights=customers)),
        "rmse": float(np.sqrt(np.average(off**2, weights=customers))),
        "aggregate_error": float((off * customers).sum() / total) if total else float("nan"),
        "auc": float(ranked / pairs) if pairs else float("nan"),
    }


def calibration(held: pd.DataFrame, groups: int = 10) -> pd.DataFrame:
    """Return what was expected of customers and what they did, by how much was expected.

    Returns
    -------
    pandas.DataFrame
        `group` (1: the tenth of whom least was expected; equals stay together, so tenths may be larger or missing),
        `customers`, `expected` and `actual` (mean purchases of a customer).
    """
    sums = _by_expectation(held)
    middle = (sums["customers"].cumsum() - sums["customers"] / 2) / sums["customers"].sum()
    found = sums.groupby(((middle * groups).astype(int) + 1).to_numpy()).sum()
    means = found[["expected", "actual"]].div(found["customers"], axis=0)
    return means.assign(customers=found["customers"]).rename_axis("group").reset_index()


def calibration_error(held: pd.DataFrame) -> float:
    """Return how far, in purchases per customer, the groups of `calibration` were off on average."""
    groups = calibration(held)
    return float(np.average((groups["actual"] - groups["expected"]).abs(), weights=groups["customers"]))


def gini(held: pd.DataFrame) -> float:
    """Return how well the expectation ranked customers by what they bought: 1 perfectly, 0 not at all.

    It is the Gini coefficient of the actual purchases of customers in the order of their expectation (equals have
    their mean), over that in the order of the actual purchases; NaN if all bought equally often.
    """
    best, found = (_concentration(_by_expectation(one)) for one in (held.assign(expected=held["actual"]), held))
    return found / best if best > 0 else float("nan")


def _by_expectation(held: pd.DataFrame) -> pd.DataFrame:
    """Return the sums over the customers of whom equally much was expected, least first."""
    sums = held[["expected", "actual"]].mul(held["customers"], axis=0).assign(customers=held["customers"])
    return sums.groupby(held["expected"].to_numpy(float)).sum()


def _concentration(sums: pd.DataFrame) -> float:
    """Return the Gini coefficient of actual purchases in the order of the rows."""
    customers, actual = (np.append(0.0, sums[name].cumsum()) for name in ("customers", "actual"))
    return float(1 - 2 * np.trapezoid(actual, customers) / (actual[-1] * customers[-1])) if actual[-1] else 0.0


def held_totals(held: pd.DataFrame) -> dict[str, float]:
    """Return all purchases in the holdout, `actual` and `expected`, and `each`, the actual ones per customer."""
    actual, expected = ((held[column] * held["customers"]).sum() for column in ("actual", "expected"))
    return {"actual": float(actual), "expected": float(expected), "each": float(actual / held["customers"].sum())}


def holdout_by_frequency(held: pd.DataFrame, last: int = 7) -> pd.DataFrame:
    """Return the mean `actual` and `expected` purchases of customers by `frequency` before the split (`7+` last)."""
    frequency = held["frequency"].clip(upper=last)
    sums = held[["actual", "expected"]].mul(held["customers"], axis=0).assign(customers=held["customers"])
    found = sums.groupby(frequency).sum()
    means = found[["actual", "expected"]].div(found["customers"], axis=0).reset_index(drop=True)
    labels = [f"{last}+" if f == last else str(f) for f in found.index]
    return pd.DataFrame({"frequency": labels, "customers": found["customers"].to_numpy()}).join(means)


def tracking(
    transactions: Table, model: PurchaseProcess, split: dt.date, until: dt.date, customers: Table | None = None
) -> pd.DataFrame:
    """Return the repeat purchases of the customers known at the split, week by week, beside those expected of them.

    Parameters
    ----------
    transactions, model, split, until
        As for `holdout`.
    customers
        The customers at the split; needed only if the model has covariates, which they then have, too.

    Returns
    -------
    pandas.DataFrame
        `date` (the end of each week of 7 days since the first purchase, up to `until`), `actual` and `expected`
        (cumulative), `actual_weekly` and `expected_weekly`.
    """
    known = summary(transactions, as_of=split) if customers is None else customers
    found = tracked(*repeats(transactions, known, until, *attributes(model)), model)
    weekly = {f"{name}_weekly": np.diff(found[name], prepend=0) for name in ("actual", "expected")}
    return found.assign(**weekly)


def repeats(transactions: Table, customers: Table, until: dt.date, *more: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the repeat purchases of customers week by week, and when the customers first bought.

    Returns
    -------
    weeks
        `date` (see `tracking`) and `actual` (repeat purchases by then).
    cohorts
        `first_purchase` (date), the further columns of customers and `customers` (how many are alike).
    """
    table = as_table(customers).filter(lambda t: t["purchases"] > 0)
    key = ["first_purchase", *more]
    cohorts = table.group_by(key).aggregate(customers=table.count()).order_by(key).to_pandas()
    bought = purchases(transactions)
    again = bought.filter((bought["number"] > 1) & (bought["date"] <= until)).semi_join(table, "customer_id")
    daily = again.group_by("date").aggregate(purchases=again.count()).to_pandas()
    start = pd.Timestamp(cohorts["first_purchase"].min()) + pd.Timedelta(days=6)
    ends = pd.date_range(start, pd.Timestamp(until), freq="7D")
    week = np.searchsorted(ends.to_numpy(), pd.to_datetime(daily["date"]).to_numpy())
    actual = np.bincount(week, weights=daily["purchases"], minlength=len(ends) + 1)[: len(ends)].cumsum()
    return pd.DataFrame({"date": ends, "actual": actual}), cohorts


def tracked(weeks: pd.DataFrame, cohorts: pd.DataFrame, model: PurchaseProcess) -> pd.DataFrame:
    """Return weeks beside the repeat purchases that a model `expected` by then of cohorts (see `repeats`)."""
    names = attributes(model)
    cohorts = cohorts.groupby([*names, "first_purchase"], as_index=False)["customers"].sum()
    customers, first = cohorts["customers"].to_numpy(float), pd.to_datetime(cohorts["first_purchase"]).to_numpy()
    age = np.maximum((weeks["date"].to_numpy()[:, None] - first) // np.timedelta64(1, "D"), 0)
    season = getattr(model, "season", None)
    if season is not None:  # it matters when they came
        came = (np.datetime64(season.as_of) - first) / np.timedelta64(7, "D")
        return weeks.assign(expected=model.expected_number_of_purchases_up_to_time(age / 7, came[None]) @ customers)
    times, expected = np.arange(age.max(initial=0) + 1) / 7, np.zeros(len(weeks))
    for alike in cohorts.groupby(names or np.zeros(len(cohorts))).indices.values():
        new = cohorts.iloc[np.repeat(alike[:1], len(times))].assign(**dict.fromkeys(HISTORY, 0.0))
        by_age = model.conditional_expected_number_of_purchases_up_to_time(times, **_known(new, model))
        expected += np.asarray(by_age)[age[:, alike]] @ customers[alike]
    return weeks.assign(expected=expected)


def tracking_error(tracked: pd.DataFrame, split: dt.date) -> float:
    """Return how far the cumulative expectation was off after the split: mean absolute error, as a share of actual."""
    later = tracked[(tracked["date"] > pd.Timestamp(split)) & (tracked["actual"] > 0)]
    return float((later["expected"] / later["actual"] - 1).abs().mean())
