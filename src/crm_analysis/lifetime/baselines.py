"""What models are compared with: their average, rules that anyone could follow, and machine learning.

Rules and machine learning are given transactions, a split and the end of a holdout, and foretell how many purchases the
customers known at the split make in it. What they learn over some weeks before the split is multiplied by how many
times as long the holdout is.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import purchases, summary
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.holdout import bought_between
from crm_analysis.lifetime.process import PurchaseProcess

SAMPLE = 200_000  # customers: more hardly teach a regression on a dozen columns anything, but need memory for each
FEATURES = ["frequency", "recency", "T", "since", "average", "gap", "longest_gap", "last_gap", "lately", "just_now"]

# Of transactions, split and end of the holdout: `actual`, `expected` (purchases) and how many `customers` have both.
Reference = Callable[[ir.Table, dt.date, dt.date], pd.DataFrame]


class Average(PurchaseProcess):
    """Several models, each of which counts equally: the mean of what they expect and hold for probable.

    Parameters
    ----------
    members
        Fitted models without covariates and season.

    Attributes
    ----------
    params_ : pandas.Series
        The parameters of all members.
    """

    label = "average of the family"

    def __init__(self, members: Sequence[PurchaseProcess]):
        self.members, self.data, self.log_likelihood_ = list(members), members[0].data, float("nan")
        self.params_ = self._joined("params_")
        self.names = tuple(self.params_.index)

    def __repr__(self) -> str:
        return f"<{self.label}: {', '.join(one.label for one in self.members)}>"

    def _joined(self, what: str) -> pd.Series:
        return pd.concat([getattr(one, what).add_prefix(f"{one.label}: ", axis=0) for one in self.members])

    @property
    def standard_errors_(self) -> pd.Series:
        """Standard errors of the parameters."""
        return self._joined("standard_errors_")

    @property
    def confidence_intervals_(self) -> pd.DataFrame:
        """Where each parameter probably (95 %) is."""
        return self._joined("confidence_intervals_")

    def conditional_probability_alive(self, frequency: Any, recency: Any, T: Any) -> np.ndarray:
        """Return the probability that customers with a history have not stopped."""
        return self._mean("conditional_probability_alive", frequency, recency, T)

    def conditional_probability_of_silence(
        self, frequency: Any, recency: Any, T: Any, covariates: pd.DataFrame | None = None
    ) -> np.ndarray:
        """Return how probable it is that customers who have not stopped buy nothing since their last purchase."""
        return self._mean("conditional_probability_of_silence", frequency, recency, T)

    def conditional_expected_number_of_purchases_up_to_time(
        self, t: Any, frequency: Any, recency: Any, T: Any
    ) -> np.ndarray:
        """Return the purchases expected of customers with a history over the next `t`."""
        return self._mean("conditional_expected_number_of_purchases_up_to_time", t, frequency, recency, T)

    def expected_number_of_purchases_up_to_time(self, t: Any) -> np.ndarray:
        """Return the repeat purchases expected of new customers in their first `t`."""
        return self._mean("expected_number_of_purchases_up_to_time", t)

    def conditional_distribution(self, t: Any, frequency: Any, recency: Any, T: Any, *, most: int) -> np.ndarray:
        """Return the probabilities of 0, 1, … `most` purchases over the next `t`: one row each, a column a history."""
        return self._mean("conditional_distribution", t, frequency, recency, T, most=most)

    def _mean(self, method: str, *arguments: Any, **more: Any) -> np.ndarray:
        return np.mean([getattr(one, method)(*arguments, **more) for one in self.members], axis=0)

    def neighbours(self) -> list[Any]:
        """Return the members' neighbours; a mean over them is one over parameters and models.

        Those of members that have fewer are repeated, so that all members count as equally as whole numbers allow.
        """
        each = [one.neighbours() for one in self.members]
        most = max(map(len, each))
        return [one for own in each for one in own * round(most / len(own))]


def same_again(transactions: ir.Table, split: dt.date, until: dt.date) -> pd.DataFrame:
    """Expect of customers as many purchases as they made in as long a time before the split, but for their first."""
    known = transactions.filter(transactions["date"] <= split)
    bought = purchases(known)
    before = bought_between(bought.filter(bought["number"] > 1), split - (until - split), split)
    customers = _with_count(_customers(known, split), before, "expected")
    return _compared(customers, transactions, split, until)


def rfm_cells(transactions: ir.Table, split: dt.date, until: dt.date) -> pd.DataFrame:
    """Expect of customers what those in their cell of 5 x 5 x 5 did one window earlier.

    The cells are fifths by the time since the last purchase, by frequency and by the average amount of a purchase, of
    the customers known at each date; equals share a fifth. Of cells in which nobody was, the mean of all is expected.
    """
    known = transactions.filter(transactions["date"] <= split)
    start = _earlier(known, split, until)
    seen = _with_count(_cells(known, start), bought_between(purchases(known), start, split), "then")
    seen = seen.mutate(then=seen["then"] * _ratio(start, split, until))
    cells = seen.group_by(r="R", f="F", m="M").aggregate(mean=seen["then"].mean())
    overall = seen.aggregate(overall=seen["then"].mean())
    now = _cells(known, split)
    joined = now.left_join(cells, [now["R"] == cells["r"], now["F"] == cells["f"], now["M"] == cells["m"]])
    joined = joined.cross_join(overall)
    joined = joined.select("customer_id", expected=joined["mean"].fill_null(joined["overall"]))
    return _compared(joined, transactions, split, until)


def gradient_boosting(transactions: ir.Table, split: dt.date, until: dt.date) -> pd.DataFrame:
    """Expect of customers what a gradient boosting of regression trees with Poisson loss learned one window earlier.

    It learns from histories up to the start of the last window before the split what customers bought in that window.
    It takes a row for each customer, of at most 200,000 at equal distances in the order of their features.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    known = transactions.filter(transactions["date"] <= split)
    start = _earlier(known, split, until)
    earlier = known.filter(known["date"] <= start)
    bought = bought_between(purchases(known), start, split)
    past = _rows(_with_count(_features(earlier, start, split - start), bought, "then"), "then")
    if not past["then"].any():
        raise Unanswerable("Nobody bought in the window to learn from.")
    small = {"learning_rate": 0.05, "max_leaf_nodes": 8, "min_samples_leaf": 50}  # larger trees foretell worse
    model = HistGradientBoostingRegressor(loss="poisson", early_stopping=False, random_state=0, **small)
    with threadpool_limits(1, "openmp"):  # several threads spend more time waiting for each other on small trees
        model.fit(past[FEATURES], past["then"])
    later = bought_between(purchases(transactions), split, until)
    now = _rows(_with_count(_features(known, split, split - start), later, "actual"), "actual")
    expected = model.predict(now[FEATURES]) * _ratio(start, split, until)
    return pd.DataFrame({"actual": now["actual"], "expected": expected, "customers": 1})


REFERENCES: dict[str, Reference] = {
    "gradient boosting": gradient_boosting,
    "RFM cells": rfm_cells,
    "same again": same_again,
}


def _earlier(known: ir.Table, split: dt.date, until: dt.date) -> dt.date:
    """Return the start of the last window before the split: as long as the holdout, at most half of the history."""
    first = pd.Timestamp(known["date"].min().execute()).date()
    return split - min(until - split, (split - first) / 2 // dt.timedelta(days=1) * dt.timedelta(days=1))


def _ratio(start: dt.date, split: dt.date, until: dt.date) -> float:
    return (until - split) / (split - start)


def _customers(known: ir.Table, at: dt.date) -> ir.Table:
    """Return the customers who had purchased."""
    customers = summary(known, as_of=at)
    return customers.filter(customers["purchases"] > 0)


def _with_count(customers: ir.Table, counted: ir.Table, name: str) -> ir.Table:
    """Return customers with the purchases that were counted; 0 of those who made none."""
    joined = customers.left_join(counted, customers["customer_id"] == counted["buyer"])
    return joined.mutate(**{name: joined["bought"].fill_null(0)}).drop("buyer", "bought")


def _rows(customers: ir.Table, target: str) -> pd.DataFrame:
    """Return a sample of the rows; their order does not depend on identifiers, so that pseudonyms change nothing."""
    order = [*FEATURES, target]
    step = (ibis._.customers - 1) // SAMPLE + 1
    numbered = customers.mutate(place=ibis.row_number().over(order_by=order), customers=customers.count().over())
    sample = numbered.filter(ibis._.place % step == 0)
    return sample.order_by(order).select(target, *FEATURES).to_pandas().astype(float)


def _compared(customers: ir.Table, transactions: ir.Table, split: dt.date, until: dt.date) -> pd.DataFrame:
    """Return what was expected of customers beside what they did, each combination once."""
    joined = _with_count(customers, bought_between(purchases(transactions), split, until), "actual")
    key = ["actual", "expected"]
    found = joined.group_by(key).aggregate(customers=joined.count()).order_by(key).to_pandas()
    return found.astype({"expected": float})


def _cells(known: ir.Table, at: dt.date) -> ir.Table:
    """Return the customers' fifths, 0 to 4: R (of most it is longest ago), F and M."""
    table = _customers(known.filter(known["date"] <= at), at)
    average = (table["purchased"] / table["purchases"]).round(6)

    def fifth(order: ir.Value) -> ir.IntegerValue:
        return ibis.least((ibis.percent_rank().over(order_by=order) * 5).floor().cast("int64"), 4)

    latest = ibis.desc(table["last_purchase"])
    return table.select("customer_id", R=fifth(latest), F=fifth(table["frequency"]), M=fifth(average))


def _features(known: ir.Table, at: dt.date, window: dt.timedelta) -> ir.Table:
    """Return what is known of customers at a date: times in weeks, gaps in days, NULL of those who have none.

    `lately` and `just_now` are purchases in the last half and eighth of a window.
    """
    bought = purchases(known)
    gap = bought["next_date"].delta(bought["date"], unit="day")
    habits = bought.group_by(who="customer_id").aggregate(
        longest_gap=gap.max(),
        last_gap=gap.argmax(bought["date"], where=gap.notnull()),
        lately=(bought["date"] > at - window / 2).sum(),
        just_now=(bought["date"] > at - window / 8).sum(),
    )
    customers = _customers(known, at)
    joined = customers.join(habits, customers["customer_id"] == habits["who"])
    return joined.mutate(
        since=joined["T"] - joined["recency"],
        average=joined["purchased"] / joined["purchases"],
        gap=joined["recency"] / joined["frequency"].nullif(0),
    )
