"""The concentration of value: CDNOW's figures, and every number against exact arithmetic."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from fractions import Fraction
from statistics import median

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crm_analysis import customers, open_dataset, pareto
from crm_analysis.errors import Unanswerable

values = st.lists(st.integers(-2000, 10_000), min_size=1, max_size=60)
profitable = values.filter(lambda cents: sum(cents) > 0)
START = dt.date(2024, 1, 1)
logs = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 30), st.sampled_from([0, 10, 20, 25, 120, 200, 1000])),
    min_size=1,
    max_size=40,
)


def as_frame(cents: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"customer_id": [f"c{i:04}" for i in range(len(cents))], "value": np.array(cents) / 100})


def naive(cents: list[int]) -> tuple[list[Fraction], Fraction]:
    """The exact curve at 0, 1, … customers, and the Gini coefficient as the mean difference of all pairs."""
    best, total = sorted(cents, reverse=True), sum(cents)
    curve = [Fraction(sum(best[:count]), total) for count in range(len(cents) + 1)]
    differences = sum(abs(one - other) for one in cents for other in cents)
    return curve, Fraction(differences, 2 * len(cents) * total)


def as_log(rows: list[tuple], cost: float = 0) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["customer_id", "day", "amount"]).assign(cost=lambda t: t["amount"] * cost)
    return frame.assign(date=[START + dt.timedelta(days=day) for day in frame.pop("day")]).astype({"amount": float})


def quantile(numbers: list[float], share: float) -> float:
    """The quantile as a straight line between the two numbers beside it."""
    numbers, place = sorted(numbers), share * (len(numbers) - 1)
    low = math.floor(place)
    return numbers[low] + (place - low) * (numbers[min(low + 1, len(numbers) - 1)] - numbers[low])


def naive_one_off(rows: list[tuple], times: float, share: float, large: float) -> dict[str, tuple]:
    """Date, amount and usual amount of each customer's one-off purchase."""
    days: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for who, day, amount in rows:
        days[who][day] += amount
    medians = {who: median(amounts.values()) for who, amounts in days.items()}
    typical = quantile(list(medians.values()), large)
    least = quantile([max(amounts.values()) for amounts in days.values()], large)
    found = {}
    for who, amounts in days.items():
        day = max(amounts, key=amounts.get)
        largest, total = amounts[day], sum(amounts.values())
        usual = medians[who] if len(amounts) > 2 else max(total - largest, typical)
        if largest >= times * usual - 1e-7 and largest > share * total and largest >= least - 1e-7:
            found[who] = (START + dt.timedelta(days=day), largest, pytest.approx(usual))
    return found


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


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(-20, 30)), min_size=1, max_size=40))
def test_the_best_of_groups_are_the_best_of_each(rows):
    frame = pd.DataFrame(rows, columns=["group", "value"]).astype({"value": float})
    frame.insert(0, "customer_id", [f"c{i:02}" for i in range(len(frame))])
    found = pareto.best(frame, 0.4, by="group").to_pandas()
    parts = [pareto.best(part, 0.4).to_pandas() for _, part in frame.groupby("group")]
    expected = pd.concat(parts).sort_values(["value", "group", "customer_id"], ascending=[False, True, True])
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True), check_dtype=False)


@settings(max_examples=15, deadline=None)
@given(values, st.sampled_from([0.2, 0.5]))
def test_the_second_screening_takes_the_best_of_the_best(cents, share):
    first = [own for own in cents if sum(v > own for v in cents) < len(cents) * share]
    second = [own for own in first if sum(v > own for v in first) < len(first) * share]
    frame = as_frame(cents)
    found = pareto.best(pareto.best(frame, share), share).to_pandas()
    assert found["value"].to_list() == [v / 100 for v in sorted(second, reverse=True)]


@settings(max_examples=40, deadline=None)
@given(logs, st.sampled_from([2.0, 5.0]), st.sampled_from([0.5, 0.8]), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_one_offs_agree_with_plain_python(rows, times, share, large):
    bought = customers.purchases(as_log(rows, cost=0.25))
    found = pareto.one_off(bought, times=times, share=share, quantile=large).to_pandas()
    ours = {row.customer_id: (pd.Timestamp(row.date).date(), row.amount, row.usual) for row in found.itertuples()}
    assert ours == naive_one_off(rows, times, share, large)
    np.testing.assert_allclose(found["value"], found["amount"] * 0.75)


@settings(max_examples=15, deadline=None)
@given(logs, st.randoms())
def test_one_offs_do_not_depend_on_the_order_of_rows(rows, random):
    frame = as_log(rows)
    shuffled = frame.sample(frac=1, random_state=random.randrange(2**32))
    one, other = (
        pareto.one_off(customers.purchases(table), times=2, quantile=0.5).to_pandas() for table in (frame, shuffled)
    )
    by_id = {"by": "customer_id", "ignore_index": True}
    pd.testing.assert_frame_equal(one.sort_values(**by_id), other.sort_values(**by_id), check_exact=True)


def regular(count: int = 30, amount: float = 20) -> list[tuple]:
    return [(f"r{i:02}", day, amount) for i in range(count) for day in (1, 5, 9)]


@pytest.mark.parametrize(
    ("bought", "usual"),
    [
        ([10, 10, 10, 100], 10),
        ([10, 10, 10, 49], None),  # less than 5 times the usual
        ([10] * 11 + [100], None),  # less than half of all
        ([2, 2, 2, 19], None),  # a small one among those of others
        ([99], None),  # unknown customers may be large ones
        ([100], 20),
        ([200, 1000.5], 200),
        ([500, 1000], None),  # 500 is not little
        ([100, 100], None),
        ([0], None),
    ],
)
def test_what_a_one_off_is(bought, usual):
    rows = regular() + [("a", day, amount) for day, amount in enumerate(bought)]
    found = pareto.one_off(customers.purchases(as_log(rows)), quantile=0.9).to_pandas()
    expected = [] if usual is None else [("a", max(bought), usual)]
    assert [(row.customer_id, row.amount, row.usual) for row in found.itertuples()] == expected


@settings(max_examples=20, deadline=None)
@given(logs, st.sampled_from([0.2, 0.5, 1.0]))
def test_ranks_without_one_offs_agree_with_plain_python(rows, share):
    log = as_log(rows)
    one_offs = pareto.one_off(customers.purchases(log), times=2, quantile=0.5).to_pandas()
    value = log.groupby("customer_id")["amount"].sum().to_dict()
    worth = dict(zip(one_offs["customer_id"], one_offs["value"], strict=True))
    less = {who: own - worth.get(who, 0) for who, own in value.items()}
    everyone = pd.DataFrame({"customer_id": value.keys(), "value": value.values()})
    left_out = pareto.without(everyone, one_offs)
    found = left_out.to_pandas().set_index("customer_id")
    assert found["value"].to_dict() == less
    assert found["value_with"].to_dict() == value
    ranked = pareto.reranked(left_out, share).to_pandas()
    assert ranked["customer_id"].to_list() == sorted(worth, key=lambda who: (-worth[who], who))
    for row in ranked.itertuples():
        for values, rank, top in ((value, row.rank_with, row.top_with), (less, row.rank_without, row.top_without)):
            more = sum(other > values[row.customer_id] for other in values.values())
            assert (rank, top) == (more + 1, more < len(values) * share)


def test_cdnow_one_offs(cdnow, everyone):
    one_offs = pareto.one_off(open_dataset(cdnow).purchases()).to_pandas()
    assert len(one_offs) == 67
    assert round(one_offs["amount"].sum(), 2) == 17_782.87
    left_out = pareto.without(everyone, one_offs).cache()
    ranked = pareto.reranked(left_out, 0.20).to_pandas()
    assert (ranked["top_with"].sum(), ranked["top_without"].sum()) == (67, 14)
    first = ranked.iloc[0]
    assert first[["customer_id", "amount", "rank_with", "rank_without"]].to_list() == ["08830", 1286.01, 53, 699]
    assert round(pareto.share_of_top(pareto.concentration(left_out), 0.20), 4) == 0.6770


def test_finds_the_bulk_buyers_of_the_sample_company_and_nobody_else(sample, truth):
    data = open_dataset(sample)
    one_offs = pareto.one_off(data.purchases()).to_pandas()
    assert sorted(one_offs["customer_id"]) == sorted(truth["bulk_buyers"])
    ranked = pareto.reranked(pareto.without(data.customers(), one_offs), 0.20).to_pandas()
    assert (ranked["rank_without"] > ranked["rank_with"]).all()


@pytest.mark.parametrize("wrong", [{"times": 0.9}, {"share": 0.4}, {"share": 1.0}, {"quantile": 1.1}])
def test_an_impossible_one_off_is_refused(wrong):
    with pytest.raises(ValueError, match="for a one-off"):
        pareto.one_off(customers.purchases(as_log([("a", 1, 1)])), **wrong)


def test_speaks_other_dialects(dialect):
    """All analyses rest on the ranked customers."""
    everyone = ibis.table({"customer_id": "string", "value": "float64"}, name="customers")
    log = ibis.table({"customer_id": "string", "date": "date", "amount": "decimal(18, 6)"}, name="transactions")
    left_out = pareto.without(everyone, pareto.one_off(customers.purchases(log)))
    for expression in (pareto._ranked(everyone), pareto.best(everyone, 0.01), pareto.reranked(left_out, 0.2)):
        sql = ibis.to_sql(expression, dialect=dialect)
        assert "OVER" in sql
        assert "memtable" not in sql  # Spark joins views, not memtables


def test_a_bulk_purchase_that_came_back_takes_no_value_away_twice():
    bought = [("a", f"2024-01-{day:02}", 10.0) for day in range(1, 6)]
    log = pd.DataFrame(
        [*bought, ("a", "2024-02-01", 1000.0), ("a", "2024-02-10", -1000.0), ("b", "2024-01-01", 30.0)],
        columns=["customer_id", "date", "amount"],
    ).assign(date=lambda frame: pd.to_datetime(frame["date"]))
    everyone = customers.summary(log, as_of=dt.date(2024, 3, 1))
    found = pareto.without(everyone, pareto.one_off(customers.purchases(log), quantile=0.5)).to_pandas()
    values = found.set_index("customer_id")[["value_with", "value"]].to_dict("index")
    assert values == {"a": {"value_with": 50, "value": 0}, "b": {"value_with": 30, "value": 30}}
