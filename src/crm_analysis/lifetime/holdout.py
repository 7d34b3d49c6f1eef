"""How well a model that saw only the first part of the data foretells the rest."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, purchases
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.fitting import BetaGeoFitter


def split_date(period: tuple[dt.date, dt.date], as_of: dt.date, weeks: int = 0) -> dt.date:
    """Return the date up to which a model may see data when the rest is to check it.

    Parameters
    ----------
    period
        The first and the last date of a transaction.
    as_of
        The end of the holdout.
    weeks
        The length of the holdout; 0: half of the time from the first transaction to the as-of date.
    """
    if weeks < 0:
        raise ValueError(f"a holdout lasts at least a week, not {weeks}; 0 stands for half of the history")
    days = 7 * (weeks or round((as_of - period[0]).days / 14))
    if not 0 < days < (as_of - period[0]).days:
        raise Unanswerable(f"The history of {(as_of - period[0]).days} days is too short to hold out {days} of them.")
    return as_of - dt.timedelta(days=days)


def holdout(
    transactions: Table, customers: Table, model: BetaGeoFitter, split: dt.date, until: dt.date
) -> pd.DataFrame:
    """Return what was expected of the customers after the split, and what they did.

    Parameters
    ----------
    transactions
        Clean transactions.
    customers
        The customers at the split.
    model
        Fitted on them, so without a look at what came later.
    split, until
        The holdout period is after `split`, up to and with `until`.

    Returns
    -------
    pandas.DataFrame
        The distinct combinations of `frequency`, `recency`, `T` (at the split), `actual` (purchases in the holdout),
        `expected` and `p_alive`, with the number of `customers` who share each.
    """
    bought = purchases(transactions)
    later = bought.filter((bought["date"] > split) & (bought["date"] <= until))
    counted = later.group_by(buyer="customer_id").aggregate(bought=later.count())
    table = as_table(customers)
    table = table.filter(table["purchases"] > 0)
    joined = table.left_join(counted, table["customer_id"] == counted["buyer"])
    joined = joined.mutate(actual=joined["bought"].fill_null(0))
    found = joined.group_by("frequency", "recency", "T", "actual").aggregate(customers=joined.count()).to_pandas()
    found = found.sort_values(["frequency", "recency", "T", "actual"], ignore_index=True)
    history = [found[column].to_numpy() for column in ("frequency", "recency", "T")]
    weeks = (until - split).days / 7
    return found.assign(
        expected=model.conditional_expected_number_of_purchases_up_to_time(weeks, *history),
        p_alive=model.conditional_probability_alive(*history),
    )


def errors(held: pd.DataFrame) -> dict[str, float]:
    """Return how far the expectation was off.

    Returns
    -------
    dict
        `mae` and `rmse` (purchases per customer), `aggregate_error` (of all purchases together, as a share of the
        actual ones; NaN if there were none), `auc` (the probability that of two customers, one who came back and
        one who did not, the former had more purchases expected; NaN if all or none came back).
    """
    from sklearn.metrics import mean_absolute_error, roc_auc_score, root_mean_squared_error

    actual, expected, weight = held["actual"], held["expected"], held["customers"]
    total = (actual * weight).sum()
    came_back = actual > 0
    return {
        "mae": float(mean_absolute_error(actual, expected, sample_weight=weight)),
        "rmse": float(root_mean_squared_error(actual, expected, sample_weight=weight)),
        "aggregate_error": float((expected * weight).sum() / total - 1) if total else float("nan"),
        "auc": float(roc_auc_score(came_back, expected, sample_weight=weight))
        if came_back.nunique() == 2
        else float("nan"),
    }


def held_totals(held: pd.DataFrame) -> dict[str, float]:
    """Return all purchases in the holdout, `actual` and `expected`, and `each`, the actual ones per customer."""
    actual, expected = ((held[column] * held["customers"]).sum() for column in ("actual", "expected"))
    return {"actual": float(actual), "expected": float(expected), "each": float(actual / held["customers"].sum())}


def holdout_by_frequency(held: pd.DataFrame, last: int = 7) -> pd.DataFrame:
    """Return the mean `actual` and `expected` purchases of customers by `frequency` before the split (`7+` last)."""
    frequency = held["frequency"].clip(upper=last)
    sums = pd.DataFrame(
        {
            "customers": held["customers"],
            "actual": held["actual"] * held["customers"],
            "expected": held["expected"] * held["customers"],
        }
    )
    found = sums.groupby(frequency).sum()
    labels = [f"{last}+" if f == last else str(f) for f in found.index]
    return pd.DataFrame(
        {
            "frequency": labels,
            "customers": found["customers"].to_numpy(),
            "actual": (found["actual"] / found["customers"]).to_numpy(),
            "expected": (found["expected"] / found["customers"]).to_numpy(),
        }
    )


def tracking(transactions: Table, model: BetaGeoFitter, split: dt.date, until: dt.date) -> pd.DataFrame:
    """Return the repeat purchases of the customers known at the split, week by week, beside those expected of them.

    Returns
    -------
    pandas.DataFrame
        `date` (the end of each week of 7 days since the first purchase, up to `until`), `actual` and `expected`
        (cumulative), `actual_weekly` and `expected_weekly`.
    """
    bought = purchases(transactions)
    first = bought.filter((bought["number"] == 1) & (bought["date"] <= split))
    cohorts = first.group_by("date").aggregate(customers=first.count()).order_by("date").to_pandas()
    repeats = _repeats_by_day(bought, first, until).to_pandas()
    start = pd.to_datetime(cohorts["date"].min())
    ends = pd.date_range(start + pd.Timedelta(days=6), pd.Timestamp(until), freq="7D")
    days = pd.to_datetime(repeats["date"]).to_numpy()
    actual = np.array([repeats["purchases"].to_numpy()[days <= end].sum() for end in ends.to_numpy()])
    ages = (ends.to_numpy()[:, None] - pd.to_datetime(cohorts["date"]).to_numpy()[None, :]) / np.timedelta64(7, "D")
    each = model.expected_number_of_purchases_up_to_time(np.clip(ages, 0, None))
    expected = each @ cohorts["customers"].to_numpy()
    return pd.DataFrame(
        {
            "date": ends,
            "actual": actual,
            "expected": expected,
            "actual_weekly": np.diff(actual, prepend=0),
            "expected_weekly": np.diff(expected, prepend=0),
        }
    )


def _repeats_by_day(bought: ir.Table, first: ir.Table, until: dt.date) -> ir.Table:
    known = first.select(known_id="customer_id")
    repeats = bought.filter((bought["number"] > 1) & (bought["date"] <= until))
    repeats = repeats.semi_join(known, repeats["customer_id"] == known["known_id"])
    return repeats.group_by("date").aggregate(purchases=repeats.count()).order_by(ibis.asc("date"))
