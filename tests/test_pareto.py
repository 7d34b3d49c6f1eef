"""The concentration of value: CDNOW's figures, and every number against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ibis.config import Config

from crm_analysis import open_dataset, pareto
from crm_analysis.errors import Unanswerable

values = st.lists(st.integers(-2000, 10_000), min_size=1, max_size=60)
profitable = values.filter(lambda cents: sum(cents) > 0)


def as_frame(cents: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"customer_id": [f"c{i:04}" for i in range(len(cents))], "value": np.array(cents) / 100})


def naive(cents: list[int]) -> tuple[list[Fraction], Fraction]:
    """The exact curve at 0, 1, … customers, and the Gini coefficient as the mean difference of all pairs."""
    best, total = sorted(cents, reverse=True), sum(cents)
    curve = [Fraction(sum(best[:count]), total) for count in range(len(cents) + 1)]
    differences = sum(abs(one - other) for one in cents for other in cents)
    return curve, Fraction(differences, 2 * len(cents) * total)


@pytest.fixture(scope="module")
def everyone(cdnow):
    return open_dataset(cdnow, as_of="1998-06-30").customers().cache()


def test_cdnow(everyone):
    curve = pareto.concentration(everyone, 1 / 3, 0.12345)
    best = np.sort(everyone["value"].to_pandas().to_numpy(float))[::-1]
    running, count = np.cumsum(best), len(best)
    assert count == 23_570
    assert len(curve) == 1003
    for share, published in ((0.20, 0.6778), (0.01, 0.1588), (0.5, None), (1 / 3, None), (0.12345, None), (1, 1)):
        found = pareto.share_of_top(curve, share)
        assert found == pytest.approx(running[math.ceil(share * count - 1e-9) - 1] / running[-1], rel=1e-12)
        assert published is None or round(found, 4) == published
    assert pareto.customers_for(everyone, 0.80) == (np.argmax(running >= 0.8 * running[-1]) + 1) / count
    assert round(pareto.customers_for(everyone, 0.80), 4) == 0.3265
    ranks = np.arange(1, count + 1)
    gini = ((2 * ranks - count - 1) * best[::-1]).sum() / (count * best.sum())
    assert pareto.gini(everyone) == pytest.approx(gini, abs=1e-12)
    assert round(pareto.gini(everyone), 4) == 0.6346


def test_points_of_the_curve_lie_on_it(everyone):
    curve = pareto.concentration(everyone)
    running = np.append(0, np.cumsum(np.sort(everyone["value"].to_pandas().to_numpy(float))[::-1]))
    np.testing.assert_allclose(curve["value"], running[curve["customers"]], rtol=1e-12)
    np.testing.assert_allclose(curve["customer_share"], np.arange(1001) / 1000, atol=1 / 23_570)
    assert curve.loc[[0, 1000], ["customer_share", "value_share"]].to_numpy().tolist() == [[0, 0], [1, 1]]


def test_between_the_points_there_is_no_guess():
    frame = as_frame([int(1e6 / (i + 1)) for i in range(5000)])
    exact = sum(int(1e6 / (i + 1)) for i in range(3)) / sum(int(1e6 / (i + 1)) for i in range(5000))
    assert pareto.share_of_top(pareto.concentration(frame, 0.0006), 0.0006) == pytest.approx(exact, rel=1e-12)
    with pytest.raises(ValueError, match=r"no point at a share of 0\.0006"):  # a straight line would say 0.15, not 0.20
        pareto.share_of_top(pareto.concentration(frame), 0.0006)


@settings(max_examples=25, deadline=None)
@given(profitable, st.fractions(Fraction(1, 1000), 1))
def test_agrees_with_exact_arithmetic(cents, share):
    frame, (exact, gini) = as_frame(cents), naive(cents)
    curve = pareto.concentration(frame)
    assert curve["customers"].to_list() == list(range(len(cents) + 1))
    np.testing.assert_allclose(curve["value_share"], [float(x) for x in exact], rtol=1e-12, atol=1e-12)
    top = math.ceil(share * len(cents) - Fraction(1, 10**6))
    assert pareto.share_of_top(curve, float(share)) == pytest.approx(float(exact[top]), abs=1e-12)
    assert pareto.gini(frame) == pytest.approx(float(gini), rel=1e-12, abs=1e-12)
    if share > 0:
        needed = next(count for count, reached in enumerate(exact) if count and reached >= share - Fraction(1, 10**12))
        assert pareto.customers_for(frame, float(share)) == needed / len(cents)


@settings(max_examples=6, deadline=None)
@given(profitable, st.randoms())
def test_row_order_and_input_kind_change_nothing(cents, random):
    frame = as_frame(cents)
    shuffled = frame.sample(frac=1, random_state=random.randrange(2**32))
    expected = pareto.concentration(frame), pareto.gini(frame), pareto.customers_for(frame, 0.8)
    for table in (shuffled, ibis.memtable(shuffled), ibis.duckdb.connect().create_table("t", shuffled)):
        pd.testing.assert_frame_equal(pareto.concentration(table), expected[0], check_exact=True)
        assert (pareto.gini(table), pareto.customers_for(table, 0.8)) == expected[1:]


def test_large_tables_do_not_depend_on_row_order():
    """Sums of 200,000 floats, made by several threads, agree to the last bit."""
    frame = as_frame(list(np.random.default_rng(1).integers(-100, 10**6, 200_000)))
    found = []
    for seed in range(3):
        table = frame.sample(frac=1, random_state=seed)
        best = pareto.best(table, 0.001)
        found.append(
            (pareto.gini(table), pareto.concentration(table)["value_share"].sum(), best["value_share"].sum().execute())
        )
    assert len(set(found)) == 1


def test_one_customer():
    curve = pareto.concentration(as_frame([500]))
    assert curve.to_numpy().tolist() == [[0, 0, 0, 0], [1, 1, 5, 1]]
    assert [pareto.share_of_top(curve, share) for share in (0.01, 1)] == [1, 1]
    assert pareto.gini(as_frame([500])) == 0
    assert pareto.customers_for(as_frame([500]), 0.8) == 1


def test_equals():
    """Of equal customers every share brings itself; a float's last digit adds no customer."""
    frame = as_frame([100] * 20)
    curve = pareto.concentration(frame)
    assert pareto.gini(frame) == pytest.approx(0, abs=1e-15)
    for count in range(1, 21):
        assert pareto.share_of_top(curve, count / 20) == pytest.approx(count / 20)
        assert pareto.customers_for(frame, count / 20) == count / 20
    assert pareto.customers_for(frame, 0.55) == 0.55  # 0.55 × 20 is 11.000000000000002


def test_customers_who_lose_money_lift_the_curve_above_one():
    frame = as_frame([300, 200, 0, -100])
    curve = pareto.concentration(frame)
    assert curve["value_share"].to_list() == [0, 0.75, 1.25, 1.25, 1]
    assert pareto.customers_for(frame, 1) == 0.5
    assert pareto.gini(as_frame([1000, -900])) > 1


@pytest.mark.parametrize("cents", [[], [0, 0], [-100, 50], [-1]])
def test_without_a_total_above_zero_there_are_no_shares(cents):
    frame = as_frame(cents).astype({"value": float, "customer_id": str})
    for question in (pareto.concentration, pareto.gini, lambda table: pareto.customers_for(table, 0.8)):
        with pytest.raises(Unanswerable, match=r"sum to|no customers"):
            question(frame)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_is_a_share(share):
    frame = as_frame([1, 2])
    with pytest.raises(ValueError, match="share"):
        pareto.share_of_top(pareto.concentration(frame), share)
    with pytest.raises(ValueError, match="share"):
        pareto.customers_for(frame, share)


@settings(max_examples=15, deadline=None)
@given(values, st.sampled_from([0.01, 0.2, 0.5, 1.0]))
def test_best_are_those_with_few_enough_above(cents, share):
    assume(sum(cents) != 0)
    frame = as_frame(cents)
    found = pareto.best(frame, share).to_pandas()
    expected = frame[[sum(v > own for v in cents) < len(cents) * share for own in cents]]
    expected = expected.sort_values(["value", "customer_id"], ascending=[False, True], ignore_index=True)
    pd.testing.assert_frame_equal(found[["customer_id", "value"]], expected, check_dtype=False)
    np.testing.assert_allclose(found["value_share"], found["value"] / (sum(cents) / 100), rtol=1e-12)


def test_best_without_a_total_has_no_shares():
    assert pareto.best(as_frame([100, -100]), 1).to_pandas()["value_share"].isna().all()


class Spark(Config):
    """What Ibis reads from its Spark backend's options, which are there only with pyspark."""

    treat_nan_as_null: bool = False


@pytest.mark.parametrize("dialect", ["duckdb", "postgres", "pyspark"])
def test_speaks_other_dialects(dialect, monkeypatch):
    """All analyses rest on the ranked customers."""
    monkeypatch.setattr(ibis.options, "pyspark", Spark())
    customers = ibis.table({"customer_id": "string", "value": "float64"}, name="customers")
    for expression in (pareto._ranked(customers), pareto.best(customers, 0.01)):
        assert "OVER" in ibis.to_sql(expression, dialect=dialect)
