"""Intervals against the published ones, and adjusted differences against plain Python."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis.rates import difference, newcombe, wilson, with_rates


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(part, whole, low, high):
    """Newcombe (1998), Two-sided confidence intervals for the single proportion, Table I."""
    assert wilson(part / whole, whole) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_as_published(one, other, low, high):
    """Newcombe (1998), Interval estimation for the difference between independent proportions, Table II, method 10."""
    found = newcombe(one[0] / one[1], one[1], other[0] / other[1], other[1])
    assert found == pytest.approx((low, high), abs=5e-5)


def test_rates_of_nobody_are_unknown():
    found = with_rates(pd.DataFrame({"some": [0, 0, 2], "all": [0, 3, 2]}), "some", "all")
    assert np.isnan(found.loc[0, ["rate", "low", "high"]].to_numpy(float)).all()
    assert found["rate"].to_list()[1:] == [0.0, 1.0]
    assert 0 < found["high"][1] < 1
    assert 0 < found["low"][2] < 1


sizes = st.tuples(st.integers(1, 40), st.integers(0, 40)).map(lambda pair: (max(pair), min(pair)))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.tuples(st.booleans(), st.sampled_from(["a", "b", None])), sizes, min_size=2), st.randoms())
def test_adjusted_difference_agrees_with_plain_python(counted, random):
    if len({has for has, _ in counted}) < 2:
        return
    rows = [(has, kind, *size) for (has, kind), size in counted.items()]
    random.shuffle(rows)
    groups = pd.DataFrame(rows, columns=["has", "kind", "customers", "returned"])
    unknown = pd.DataFrame([(None, "a", 7, 3)], columns=groups.columns)  # belongs to neither side
    found = difference(pd.concat([groups.astype({"has": object}), unknown], ignore_index=True), "has", "kind")
    total = {
        has: [sum(part) for part in zip(*(s for (h, _), s in counted.items() if h is has), strict=True)]
        for has in (True, False)
    }
    assert (found.customers_with, found.customers_without) == (total[True][0], total[False][0])
    assert found.difference == pytest.approx(total[True][1] / total[True][0] - total[False][1] / total[False][0])

    alike = [kind for kind in ("a", "b", None) if (True, kind) in counted and (False, kind) in counted]
    kept = sum(counted[True, kind][0] for kind in alike)
    assert found.left_out == total[True][0] - kept
    if not alike:
        assert math.isnan(found.adjusted)
        assert not found.clear
        return
    rate = {group: returned / customers for group, (customers, returned) in counted.items()}
    apart = sum(counted[True, kind][0] / kept * (rate[True, kind] - rate[False, kind]) for kind in alike)
    assert found.adjusted == pytest.approx(apart)
    assert found.adjusted_low - 1e-9 <= apart <= found.adjusted_high + 1e-9
    assert found.clear == (not found.adjusted_low <= 0 <= found.adjusted_high)


def test_without_strata_adjusted_is_the_difference():
    groups = pd.DataFrame({"has": [True, False], "customers": [70, 80], "returned": [56, 48]})
    found = difference(groups, "has")
    assert (found.adjusted, found.adjusted_low, found.adjusted_high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert (found.low, found.high, found.left_out) == pytest.approx((found.adjusted_low, found.adjusted_high, 0))


def test_adjusting_removes_what_comes_from_another_experience():
    """The rates differ between strata only, and whoever has it is mostly in the bad stratum."""
    groups = pd.DataFrame(
        {
            "has": [True, True, False, False],
            "late": [True, False, True, False],
            "customers": [900, 100, 100, 900],
            "returned": [180, 60, 20, 540],
        }
    )
    found = difference(groups, "has", "late")
    assert found.high < -0.2
    assert found.adjusted == pytest.approx(0)
    assert not found.clear
