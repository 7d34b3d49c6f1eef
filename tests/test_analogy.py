"""First days against plain Python, neighbours against brute force, no look ahead, and who is planted is found."""

from __future__ import annotations

import datetime as dt
import hashlib
import warnings
from collections import Counter, defaultdict
from itertools import pairwise

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import analogy, charts, open_dataset
from crm_analysis.errors import Unanswerable

START = dt.date(2024, 1, 1)
AS_OF = START + dt.timedelta(days=120)
DAYS = {"early_days": 20, "horizon_days": 80}

logs = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.integers(0, 120),
        st.sampled_from([-300, -100, 0, 100, 300]),
        st.sampled_from([None, 0, 50]),
        st.sampled_from("xyz"),
    ),
    min_size=1,
    max_size=40,
)
PRODUCTS = pd.DataFrame({"product_id": list("xyz"), "category": ["one", "one", "two"]})


@settings(max_examples=25, deadline=None)
@given(logs)
def test_first_days_agree_with_plain_python(log):
    columns = ["customer_id", "date", "amount", "cost", "product_id"]
    frame = pd.DataFrame([(who, START + dt.timedelta(days=day), *rest) for who, day, *rest in log], columns=columns)
    frame = frame.astype({"amount": float, "cost": float}).assign(list_amount=frame["amount"] * 1.25)
    people = pd.DataFrame({"customer_id": ["a", "b"], "region": ["North", "South"]})
    found = analogy.first_days(frame, PRODUCTS, people, as_of=AS_OF, **DAYS).to_pandas().set_index("customer_id")

    customers = defaultdict(list)
    for who, *line in log:
        customers[who].append(line)
    expected = {}
    for who, lines in customers.items():
        days: Counter = Counter()
        for day, amount, _, _ in lines:
            days[day] += amount
        bought = sorted(day for day, amount in days.items() if amount >= 0)
        if bought and 120 - bought[0] >= 20:
            expected[who] = lines, days, bought
    assert sorted(found.index) == sorted(expected)
    for who, (lines, days, bought) in expected.items():
        row, first = found.loc[who], bought[0]
        early = [line for line in lines if first <= line[0] < first + 20]
        value = dict.fromkeys(range(80), 0)
        for day, amount, cost, _ in lines:
            if first <= day < first + 80:
                value[day - first] += amount - (cost or 0)
        amount, back = sum(line[1] for line in early), -sum(line[1] for line in early if line[1] < 0)
        sold = [line for line in early if line[1] >= 0]
        assert row["age"] == 120 - first
        assert row["purchases"] == sum(day < first + 20 for day in bought)
        assert row["amount"] == amount
        assert row["largest"] == max(days[day] for day in days if first <= day < first + 20)
        assert row["second_after"] == (bought[1] - first if len(bought) > 1 and bought[1] < first + 20 else 20)
        assert row["early"] == sum(value[age] for age in range(20))
        assert row["so_far"] == sum(value.values())
        assert [row[f"later_{part}"] for part in range(1, 13)] == [
            sum(value[age] for age in range(20 + 5 * part, 25 + 5 * part)) for part in range(12)
        ]
        for name, part, whole in (
            ("returned", back, amount + back),
            ("margin", row["early"], amount),
            ("discount", 0.2 if any(line[1] for line in sold) else 0, any(line[1] for line in sold)),
        ):
            assert row[name] == pytest.approx(part / whole) if whole else pd.isna(row[name])
        assert row["products"] == len({line[3] for line in sold})
        assert row["categories"] == len({"two" if line[3] == "z" else "one" for line in sold})
        known = {"a": "North", "b": "South"}
        assert row["region"] == known[who] if who in known else pd.isna(row["region"])


def test_who_is_new_and_who_is_old():
    ages = [0, 59, 60, 364, 365, 500]
    log = pd.DataFrame(
        {
            "customer_id": [f"c{age}" for age in ages],
            "date": [AS_OF - dt.timedelta(days=age) for age in ages],
            "amount": [1.0] * len(ages),
        }
    )
    known = analogy.first_days(log, as_of=AS_OF)
    assert sorted(analogy.new_customers(known)["customer_id"]) == ["c364", "c60"]
    with pytest.raises(Unanswerable, match="Only 2 customers have been known for 365 days; 100 are needed"):
        analogy.old_customers(known)
    with pytest.raises(ValueError, match="early_days <= horizon_days - 12"):
        analogy.first_days(log, as_of=AS_OF, early_days=365)


def hash_of(who: str) -> str:
    return hashlib.sha256(who.encode()).hexdigest()


def crowd(size: int = 600, seed: int = 0) -> pd.DataFrame:
    """Old customers who joined over three years, as `old_customers` returns them."""
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(4, 1, size).round(2)
    later = rng.gamma(0.3, 1, (size, 12)) * amount[:, None]
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{i:04d}" for i in rng.permutation(size)],
            "first_purchase": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, size), unit="D"),
            "age": 365,
            "purchases": rng.integers(1, 5, size),
            "amount": amount,
            "largest": amount,
            "second_after": rng.integers(1, 61, size),
            "returned": 0.0,
            "early": amount,
            "so_far": amount + later.sum(axis=1),
        }
    )
    frame[[f"later_{part}" for part in range(1, 13)]] = later
    return frame.sort_values(["first_purchase", "customer_id"], ascending=[False, True], ignore_index=True)


def test_neighbours_are_the_nearest_and_tell_what_is_to_come():
    old, k = crowd(), 30
    new = crowd(40, seed=1)
    new["age"] = np.linspace(60, 364, 40).astype(int)
    judged = analogy.judge(analogy.Judgement(old, k, False, ()), new)

    def features(frame: pd.DataFrame) -> np.ndarray:
        logs = np.log(frame[["amount", "largest"]].clip(lower=0.01 * old["amount"].mean()))
        return np.column_stack([frame["second_after"], logs, np.log1p(frame["purchases"])])

    scale = features(old).std(axis=0)
    edges = [int(edge) for edge in np.linspace(60, 365, 13).round()]
    parts = [range(begin, end) for begin, end in pairwise(edges)]
    for place, customer in new.iterrows():
        far = np.linalg.norm((features(old) - features(new)[place]) / scale, axis=1)
        near = old.iloc[np.argsort(far, kind="stable")[:k]]
        ahead = [sum(day > customer["age"] for day in part) / len(part) for part in parts]
        rest = near[[f"later_{part}" for part in range(1, 13)]].to_numpy() @ ahead
        row = judged.iloc[place]
        assert row["customer_id"] == customer["customer_id"]
        assert row["still_expected"] == pytest.approx(rest.mean())
        assert row["expected"] == pytest.approx(customer["so_far"] + rest.mean())
        assert [row["low"], row["high"]] == pytest.approx(customer["so_far"] + np.quantile(rest, [0.1, 0.9]))


def test_who_buys_every_day_is_expected_to_go_on_so_at_any_age():
    """Whatever the age, a year of purchases of 1 a day is worth its days; the as-of date is the last day known."""
    ages = [*range(80, 200), *range(20, 80)]
    log = pd.DataFrame(
        [(f"c{age:03d}", AS_OF - dt.timedelta(days=day)) for age in ages for day in range(age + 1)],
        columns=["customer_id", "date"],
    ).assign(amount=1.0)
    days = analogy.first_days(log, as_of=AS_OF, **DAYS)
    old = analogy.old_customers(days, 80)
    judged = analogy.judge(analogy.learn(old), analogy.new_customers(days, 80), **DAYS)
    assert len(judged) == 60
    known = judged["customer_id"].str[1:].astype(int) + 1  # days
    assert judged["so_far"].tolist() == known.tolist()
    assert judged["still_expected"].to_numpy() == pytest.approx((80 - known).to_numpy(), abs=1e-9)
    assert judged.loc[known == 80, "still_expected"].tolist() == [0.0]
    checked = analogy.validate(old, **DAYS).held
    assert checked["expected"].to_numpy() == pytest.approx(80.0)
    assert (checked["actual"] == 80).all()


@pytest.mark.parametrize("rows", [299, 200, 199, 150, 100])
def test_old_customers_are_taken_at_equal_distances_new_ones_by_what_they_brought(rows, monkeypatch):
    monkeypatch.setattr(analogy, "ROWS", rows)
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{i:04d}" for i in range(600)],
            "first_purchase": [START + dt.timedelta(days=i) for i in range(600)],
            "age": [365, 364] * 300,
            "so_far": [float(i * 7 % 600) for i in range(600)],
        }
    )
    old = sorted(int(who[1:]) // 2 for who in analogy.old_customers(frame)["customer_id"])
    assert len(old) == rows
    distances = np.diff([*old, old[0] + 300])  # round in a circle, so that no end is favoured
    assert set(distances) <= {300 // rows, 300 // rows + 1}
    new = analogy.new_customers(frame)
    assert new["so_far"].tolist() == sorted(frame.loc[frame["age"] == 364, "so_far"], reverse=True)[:rows]


def test_of_equally_near_neighbours_those_who_joined_last_count():
    same = ["purchases", "amount", "largest", "second_after", "early"]
    old = crowd(200)
    old[same] = old.loc[0, same].to_numpy()
    judged = analogy.judge(analogy.Judgement(old, 15, False, ()), old.tail(1).assign(age=59, so_far=0.0))
    later = old[[f"later_{part}" for part in range(1, 13)]].sum(axis=1)
    assert judged["expected"].tolist() == pytest.approx([later[:15].mean()])


def test_in_proportion_where_the_big_go_on_big():
    old = crowd(2000)
    later = [f"later_{part}" for part in range(1, 13)]
    old = old.assign(**dict.fromkeys(later, old["amount"] * 0.1))
    old["so_far"] = old["amount"] * 2.2
    learnt = analogy.learn(old)
    assert learnt.in_proportion
    judged = analogy.judge(learnt, old.nlargest(20, "amount").assign(age=59, so_far=lambda frame: frame["early"]))
    assert (judged["expected"] / judged["so_far"]).to_numpy() == pytest.approx(2.2, rel=0.25)


def test_attributes_count_where_they_help():
    old = crowd(1500)
    later = [f"later_{part}" for part in range(1, 13)]
    kinds = np.where(np.arange(1500) % 3 == 0, "company", "person")
    old = old.assign(**dict.fromkeys(later, np.where(kinds == "company", 100.0, 1.0)))
    old = old.assign(so_far=old["early"] + old[later].sum(axis=1))
    assert analogy.learn(old.assign(kind=kinds)).attributes == ("kind",)
    assert analogy.learn(old.assign(kind="person")).attributes == ()
    noise = np.random.default_rng(2).choice(["North", "South"], 1500)
    assert analogy.learn(crowd(1500).assign(region=noise)).attributes == ()


def test_the_test_looks_at_nothing_that_came_later():
    old = crowd(1200)
    checked = analogy.validate(old)
    cut = pd.Timestamp(checked.since)
    assert len(checked.held) == (old["first_purchase"] >= cut).sum()
    assert 0.24 <= len(checked.held) / len(old) <= 0.27
    known = old["first_purchase"] + pd.Timedelta(days=365) <= cut + pd.Timedelta(days=60)
    assert checked.learnt_from == known.sum()
    later = [f"later_{part}" for part in range(1, 13)]
    changed = old.copy()
    changed.loc[~known, [*later, "so_far"]] = 1e6  # what was not known then
    again = analogy.validate(changed)
    guesses = ["customer_id", "expected", "low", "high", "scaled", "mean"]
    pd.testing.assert_frame_equal(checked.held[guesses], again.held[guesses])


def test_short_history_is_judged_by_halves():
    old = crowd(400)
    old["first_purchase"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(400)[::-1] // 10, unit="D")
    checked = analogy.validate(old)
    assert (checked.since, checked.learnt_from, len(checked.held)) == (None, 200, 200)


def test_errors():
    held = pd.DataFrame(
        {
            "expected": [50.0, 40, 30, 30, 10],
            "low": [0.0, 0, 0, 40, 0],
            "high": [60.0, 10, 40, 50, 20],
            "actual": [60.0, 20, 40, 20, 10],
            "early": [5.0, 9, 5, 5, 5],
            "scaled": [50.0, 90, 50, 50, 50],
            "mean": 30.0,
        }
    )
    found = analogy.errors(held)
    assert found["mae"] == pytest.approx((10 + 20 + 10 + 10 + 0) / 5)
    assert found["mae_scaled"] == pytest.approx((10 + 70 + 10 + 30 + 40) / 5)
    assert found["mae_mean"] == pytest.approx((30 + 10 + 10 + 10 + 20) / 5)
    assert found["covered"] == pytest.approx(3 / 5)
    assert found["top_share"] == found["top_perfect"] == pytest.approx(60 / 150)
    assert found["top_early"] == pytest.approx(20 / 150)
    tied = analogy.errors(held.assign(early=1.0, expected=1.0))
    assert tied["top_early"] == tied["top_share"] == pytest.approx(0.2)  # equals count in part
    assert np.isnan(tied["rank_correlation"])
    assert np.isnan(analogy.errors(held.assign(actual=0.0))["top_share"])
    fifths = analogy.by_fifth(held)
    assert fifths["fifth"].tolist() == [1, 2, 4, 5]  # the equals stay together
    assert fifths["customers"].tolist() == [1, 1, 2, 1]
    assert fifths["actual"].tolist() == [60, 20, 30, 10]


def first_days(path):
    data = open_dataset(path)
    tables = [data.table(name) if data.has(name) else None for name in ("products", "customers")]
    return analogy.first_days(data.table("transactions"), *tables, as_of=data.as_of).cache()


@pytest.fixture(scope="module")
def sample_days(sample):
    return first_days(sample)


def test_promising_new_customers_are_judged_best(sample_days, truth):
    promising = set(truth["promising_new"])
    judged = analogy.judge(analogy.learn(analogy.old_customers(sample_days)), analogy.new_customers(sample_days))
    assert (len(promising), len(judged)) == (8, 445)
    assert set(judged.nlargest(8, "expected")["customer_id"]) == promising  # nobody else among the first
    assert (judged["expected"] == judged["so_far"] + judged["still_expected"]).all()


def test_sample_company_is_judged_in_time_and_better_than_by_guesses(sample_days):
    checked = analogy.validate(analogy.old_customers(sample_days))
    assert checked.since is not None
    found = analogy.errors(checked.held)
    assert found["mae"] < found["mae_mean"]
    assert found["top_share"] > 0.5
    assert 0.7 < found["covered"] < 0.95


def test_cdnow_is_judged_by_halves_and_calibrated(cdnow):
    days = first_days(cdnow)
    assert analogy.new_customers(days).empty
    old = analogy.old_customers(days)
    assert len(old) == 20_000  # of 23,570
    empty = analogy.judge(analogy.learn(old), analogy.new_customers(days))
    assert empty.empty
    checked = analogy.validate(old)
    assert checked.since is None
    found = analogy.errors(checked.held)
    assert found["mae"] < found["mae_scaled"] < found["mae_mean"]
    fifths = analogy.by_fifth(checked.held)
    assert fifths["expected"].to_numpy() == pytest.approx(fifths["actual"].to_numpy(), rel=0.12)


def test_order_of_rows_changes_nothing(sample):
    data = open_dataset(sample)
    log, products = data.table("transactions").to_pandas(), data.table("products").to_pandas()
    found = []
    for rows in (log, log.sample(frac=1, random_state=3)):
        days = analogy.first_days(rows, products, as_of=data.as_of)
        old, new = analogy.old_customers(days), analogy.new_customers(days)
        found.append((analogy.judge(analogy.learn(old), new), analogy.validate(old).held))
    for one, other in zip(*found, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize("rows", [20_000, 150])
def test_other_identifiers_change_no_figure(rows, monkeypatch):
    """Neither where the halves judge each other nor where only some are taken, whoever has equals."""
    monkeypatch.setattr(analogy, "ROWS", rows)
    rng = np.random.default_rng(4)
    log = pd.DataFrame(
        {
            "customer_id": rng.integers(0, 400, 1500).astype(str),
            "date": [AS_OF - dt.timedelta(days=int(day)) for day in rng.integers(0, 120, 1500)],
            "amount": rng.choice([5.0, 10.0, 20.0], 1500),
        }
    )
    found = []
    for key in ("", "other "):
        renamed = log.assign(customer_id=(key + log["customer_id"]).map(hash_of))
        days = analogy.first_days(renamed, as_of=AS_OF, **DAYS)
        old, new = analogy.old_customers(days, 80), analogy.new_customers(days, 80)
        checked = analogy.validate(old, **DAYS)
        assert (checked.since, len(checked.held)) == (None, len(old) // 2)
        judged = analogy.judge(analogy.learn(old), new, **DAYS)
        found.append((old, new, checked.held, judged))
    for one, other in zip(*found, strict=True):
        assert not one["customer_id"].equals(other["customer_id"])
        pd.testing.assert_frame_equal(one.drop(columns="customer_id"), other.drop(columns="customer_id"))


def test_first_days_of_who_was_there_before_the_data_are_not_known():
    log = pd.DataFrame(
        {"customer_id": [f"c{i}" for i in range(150)], "date": [START + dt.timedelta(days=i % 20) for i in range(150)]}
    ).assign(amount=1.0)
    days = analogy.first_days(log, as_of=AS_OF, **DAYS)
    with pytest.raises(Unanswerable, match="nobody's true first days"):
        analogy.old_customers(days, 80)


def test_speaks_other_dialects(dialect):
    money = "decimal(18, 6)"
    columns = {"customer_id": "string", "date": "date", "amount": money, "list_amount": money, "product_id": "string"}
    log = ibis.table(columns | {"quantity": "float64"}, name="transactions")
    products = ibis.table({"product_id": "string", "category": "string", "unit_cost": money}, name="products")
    people = ibis.table({"customer_id": "string", "region": "string"}, name="customers")
    assert "memtable" not in ibis.to_sql(analogy.first_days(log, products, people, as_of=AS_OF), dialect=dialect)


@pytest.mark.parametrize("values", [[300.0, 20.0], [5.0, -20.0], [0.0, 0.0], [np.nan, 1.0]])
def test_the_chart_writes_every_mean(values):
    frame = pd.DataFrame({"fifth": [1, 5], "expected": values, "actual": values[::-1]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = charts.judged_fifths(frame, "revenue (EUR)").axes[0]
    heights = [bar.get_height() for bar in ax.patches]
    assert np.array_equal(heights, [*values, *values[::-1]], equal_nan=True)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1\njudged best", "5\njudged least"]
    assert len(ax.texts) == 4
