"""The stages of customers: CDNOW's limits, and each stage and move against plain Python."""

from __future__ import annotations

import calendar
import datetime as dt
from collections import Counter, defaultdict
from itertools import pairwise

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import customers, lifecycle, open_dataset
from crm_analysis.errors import Unanswerable
from crm_analysis.lifecycle import NON_CUSTOMER, SILENT, STAGES, Rules

START = dt.date(2024, 1, 1)

logs = st.lists(
    st.tuples(st.sampled_from("abcde"), st.integers(0, 200), st.sampled_from([-300, -100, 0, 100, 300])),
    min_size=1,
    max_size=40,
)
several_rules = st.sampled_from([Rules(30, 60, 4), Rules(5, 9, 3), Rules(45, 45, 5), Rules(1, 150, 3)])
looks = st.lists(st.integers(-10, 220).map(lambda day: START + dt.timedelta(days=day)), min_size=1, max_size=8)


def as_frame(log: list[tuple]) -> pd.DataFrame:
    rows = [(who, START + dt.timedelta(days=day), float(amount)) for who, day, amount in log]
    return pd.DataFrame(rows, columns=["customer_id", "date", "amount"])


def naive(log: list[tuple], dates: list[dt.date], rules: Rules) -> dict[tuple[str, dt.date], tuple[str, int, int]]:
    """Stage, purchases and days of silence of each customer at each date."""
    days: dict[str, Counter] = defaultdict(Counter)
    for who, day, amount in log:
        days[who][START + dt.timedelta(days=day)] += amount
    found = {}
    for who, amounts in days.items():
        for date in dates:
            bought = [day for day, amount in amounts.items() if amount >= 0 and day <= date]
            if not bought:
                continue
            silence = (date - max(bought)).days
            if silence > rules.lost_after:
                stage = "lost"
            elif silence > rules.dormant_after:
                stage = "dormant"
            elif len(bought) == 1:
                stage = "first-time"
            else:
                stage = "loyal" if len(bought) >= rules.loyal_from else "repeat"
            found[who, date] = (stage, len(bought), silence)
    return found


def panel(staged) -> dict[tuple[str, dt.date], tuple[str, int, int]]:
    frame = staged.to_pandas()
    found = {
        (row.customer_id, pd.Timestamp(row.date).date()): (row.stage, row.purchases, row.silence)
        for row in frame.itertuples()
    }
    assert len(found) == len(frame)  # exactly one stage per customer and date
    return found


@pytest.fixture(scope="module")
def shop(cdnow):
    return open_dataset(cdnow)


@pytest.fixture(scope="module")
def staged(shop):
    bought = shop.purchases().cache()
    return lifecycle.stages(bought, lifecycle.month_ends(*shop.period), lifecycle.rules(bought)).cache()


def test_cdnow_rules(shop):
    log, bought = shop.table("transactions"), shop.purchases()
    assert lifecycle.rules(bought) == Rules(119, 283, 4)
    assert lifecycle.rules(bought, dormant_after=100) == Rules(100, 283, 4)
    days = log.filter(log["amount"] >= 0).select("customer_id", "date").distinct().to_pandas()
    gaps = days.sort_values(["customer_id", "date"]).groupby("customer_id")["date"].diff().dt.days.dropna()
    assert np.ceil(np.quantile(gaps, [0.8, 0.95])).tolist() == [119, 283]


def test_cdnow_counts_and_moves(shop, staged):
    counts = lifecycle.counts(staged).pivot(index="date", columns="stage", values="customers")
    joined = shop.customers()["first_purchase"].to_pandas()
    for date, row in counts.iterrows():
        assert row.sum() == (pd.to_datetime(joined) <= date).sum()
    assert counts.iloc[-1].sum() == 23_570
    assert len(counts) == 18

    # The same, from pandas, at the last date.
    days = shop.table("transactions").select("customer_id", "date").distinct().to_pandas()
    last = days.groupby("customer_id")["date"].agg(["max", "count"])
    silence = (pd.Timestamp("1998-06-30") - pd.to_datetime(last["max"])).dt.days
    active = last["count"][silence <= 119]
    expected = [(active == 1).sum(), active.between(2, 3).sum(), (active > 3).sum(), silence.between(120, 283).sum()]
    assert counts.iloc[-1][list(STAGES)].to_list() == [*expected, (silence > 283).sum()]

    moves = lifecycle.transitions(staged)
    assert moves["date"].nunique() == 17
    left = moves[moves["stage_before"] != NON_CUSTOMER].pivot_table(
        index="date", columns="stage_before", values="customers", aggfunc="sum", fill_value=0
    )
    pd.testing.assert_frame_equal(
        left[list(STAGES)], counts[list(STAGES)].shift().dropna().astype(int), check_names=False, check_freq=False
    )
    flows = lifecycle.flows(moves).set_index("date")
    active = counts[[stage for stage in STAGES if stage not in SILENT]].sum(axis=1)
    change = flows["joined"] + flows["won_back"] - flows["fell_silent"]
    assert change.to_list() == active.diff().dropna().to_list()
    assert flows["joined"].to_list()[2:] == [0] * 15  # all joined in the first quarter
    assert lifecycle.probabilities(moves).groupby("stage_before")["probability"].sum().to_list() == pytest.approx(
        [1] * 5
    )


@settings(max_examples=25, deadline=None)
@given(logs, looks, several_rules)
def test_stages_agree_with_plain_python(log, dates, rules):
    staged = lifecycle.stages(customers.purchases(as_frame(log)), dates, rules)
    expected = naive(log, dates, rules)
    assert panel(staged) == expected
    counts = lifecycle.counts(staged)
    tally = Counter((date, stage) for (_, date), (stage, *_) in expected.items())
    assert len(counts) == len(STAGES) * len({date for _, date in expected})
    for row in counts.itertuples():
        assert row.customers == tally[row.date.date(), row.stage]


@settings(max_examples=25, deadline=None)
@given(logs, looks, several_rules)
def test_moves_agree_with_plain_python(log, dates, rules):
    staged = lifecycle.stages(customers.purchases(as_frame(log)), dates, rules)
    stage = {key: found[0] for key, found in naive(log, dates, rules).items()}
    seen = sorted({date for _, date in stage})
    if len(seen) < 2:
        with pytest.raises(Unanswerable, match="fewer than two"):
            lifecycle.transitions(staged)
        return
    moves = lifecycle.transitions(staged)
    expected = Counter(
        (now, stage.get((who, before), NON_CUSTOMER), stage[who, now])
        for before, now in pairwise(seen)
        for who in {who for who, date in stage if date == now}
    )
    assert {(row.date.date(), row.stage_before, row.stage_now): row.customers for row in moves.itertuples()} == expected
    assert len(moves) == len(expected)

    flows = lifecycle.flows(moves).set_index("date")
    active = {date: sum(s not in SILENT for (_, at), s in stage.items() if at == date) for date in seen}
    for before, now in pairwise(seen):
        row = flows.loc[pd.Timestamp(now)]
        assert row["joined"] + row["won_back"] - row["fell_silent"] == active[now] - active[before]
        assert row["joined"] == sum(at == now for _, at in stage) - sum(at == before for _, at in stage)
        assert row["lost"] == sum(
            s == "lost" and stage.get((who, before)) != "lost" for (who, at), s in stage.items() if at == now
        )

    chances = lifecycle.probabilities(moves)
    assert NON_CUSTOMER not in set(chances["stage_before"])
    assert chances.groupby("stage_before")["probability"].sum().to_list() == pytest.approx(
        [1] * chances["stage_before"].nunique()
    )
    order = [(STAGES.index(row.stage_before), STAGES.index(row.stage_now)) for row in chances.itertuples()]
    assert order == sorted(set(order))
    rates = lifecycle.win_back_rates(moves)
    for silent in SILENT:
        rows = chances[chances["stage_before"] == silent]
        back = rows.loc[~rows["stage_now"].isin(SILENT), "probability"].sum() if len(rows) else np.nan
        assert rates[silent] == pytest.approx(back, nan_ok=True)


@settings(max_examples=6, deadline=None)
@given(logs, looks, st.randoms())
def test_row_order_and_input_kind_and_split_lines_change_nothing(log, dates, random):
    rules = Rules(30, 60, 4)
    frame = as_frame(log)
    expected = lifecycle.counts(lifecycle.stages(customers.purchases(frame), dates, rules))
    shuffled = frame.sample(frac=1, random_state=random.randrange(2**32))
    who, day, amount = log[0]
    split = as_frame([*log[1:], (who, day, amount - 50), (who, day, 50)])
    tables = [shuffled, split, ibis.memtable(shuffled), ibis.duckdb.connect().create_table("t", frame)]
    for table in tables:
        found = lifecycle.counts(lifecycle.stages(customers.purchases(table), dates[::-1], rules))
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_a_life():
    """Joined, came again, became loyal, fell silent, was lost, and was won back."""
    bought = ["2024-01-31", "2024-02-10", "2024-03-01", "2024-03-02", "2024-07-31"]
    log = pd.DataFrame({"customer_id": "a", "date": pd.to_datetime(bought), "amount": 1.0})
    ends = lifecycle.month_ends(dt.date(2024, 1, 1), dt.date(2024, 7, 31))
    staged = lifecycle.stages(customers.purchases(log), ends, Rules(30, 90, 4))
    found = panel(staged)
    assert [found["a", end][0] for end in ends] == [
        "first-time",
        "repeat",
        "loyal",
        "dormant",
        "dormant",
        "lost",
        "loyal",
    ]
    assert found["a", dt.date(2024, 3, 31)] == ("loyal", 4, 29)
    events = lifecycle.flows(lifecycle.transitions(staged)).set_index("date").sum().to_dict()
    assert events == {"joined": 0, "won_back": 1, "fell_silent": 1, "lost": 1}


@pytest.mark.parametrize(
    ("silence", "stage"), [(0, "first-time"), (30, "first-time"), (31, "dormant"), (90, "dormant"), (91, "lost")]
)
def test_limits_belong_to_the_earlier_stage(silence, stage):
    log = pd.DataFrame({"customer_id": ["a"], "date": [pd.Timestamp("2024-01-01")], "amount": [1.0]})
    found = panel(lifecycle.stages(customers.purchases(log), [START + dt.timedelta(days=silence)], Rules(30, 90, 4)))
    assert [row[0] for row in found.values()] == [stage]


def test_who_joins_and_falls_silent_within_a_step_is_counted_in_both():
    log = pd.DataFrame(
        {"customer_id": ["a", "b"], "date": pd.to_datetime(["2024-01-31", "2024-02-02"]), "amount": [1.0, 1.0]}
    )
    staged = lifecycle.stages(customers.purchases(log), [dt.date(2024, 1, 31), dt.date(2024, 2, 29)], Rules(10, 20, 4))
    flows = lifecycle.flows(lifecycle.transitions(staged))
    assert flows.drop(columns="date").to_dict("records") == [{"joined": 1, "won_back": 0, "fell_silent": 2, "lost": 2}]


def test_month_ends():
    date = dt.date
    assert lifecycle.month_ends(date(2024, 1, 31), date(2024, 3, 30)) == [date(2024, 1, 31), date(2024, 2, 29)]
    assert lifecycle.month_ends(date(2023, 2, 1), date(2023, 2, 28)) == [date(2023, 2, 28)]
    assert lifecycle.month_ends(date(2024, 1, 1), date(2024, 1, 30)) == []
    assert lifecycle.month_ends(date(2024, 2, 1), date(2024, 1, 1)) == []
    years = lifecycle.month_ends(date(1999, 12, 5), date(2024, 5, 31))
    assert len(years) == 294
    assert all(end.day == calendar.monthrange(end.year, end.month)[1] for end in years)
    quarters = lifecycle.month_ends(date(2023, 1, 1), date(2024, 1, 15), every=3)
    assert quarters == [date(2023, 3, 31), date(2023, 6, 30), date(2023, 9, 30), date(2023, 12, 31)]
    for every in range(1, 15):
        assert lifecycle.month_ends(date(1999, 12, 5), date(2024, 5, 31), every)[::-1] == years[::-1][::every]
        assert lifecycle.month_ends(date(2024, 1, 1), date(2024, 1, 30), every) == []
    with pytest.raises(ValueError, match="at least 1 month"):
        lifecycle.month_ends(date(2024, 1, 1), date(2024, 5, 1), every=0)


def test_short_histories_say_so():
    log = pd.DataFrame({"customer_id": ["a"], "date": [pd.Timestamp("2024-01-10")], "amount": [1.0]})
    rules = Rules(30, 60, 4)
    with pytest.raises(Unanswerable, match="No month has ended"):
        lifecycle.stages(
            customers.purchases(log), lifecycle.month_ends(dt.date(2024, 1, 10), dt.date(2024, 1, 20)), rules
        )
    one_month = lifecycle.stages(
        customers.purchases(log), lifecycle.month_ends(dt.date(2024, 1, 10), dt.date(2024, 1, 31)), rules
    )
    assert lifecycle.counts(one_month)["customers"].to_list() == [1, 0, 0, 0, 0]
    with pytest.raises(Unanswerable, match="fewer than two"):
        lifecycle.transitions(one_month)
    before = lifecycle.stages(customers.purchases(log), [dt.date(2023, 12, 31)], rules)
    assert lifecycle.counts(before).columns.to_list() == ["date", "stage", "customers"]
    assert lifecycle.counts(before).empty


def test_customers_who_only_returned_goods_are_no_customers_yet():
    log = pd.DataFrame(
        {"customer_id": ["a", "b"], "date": pd.to_datetime(["2024-01-10", "2024-01-11"]), "amount": [-1.0, 0.0]}
    )
    assert list(panel(lifecycle.stages(customers.purchases(log), [dt.date(2024, 1, 31)], Rules(30, 60, 4)))) == [
        ("b", dt.date(2024, 1, 31))
    ]


def test_one_time_buyers_need_given_days():
    log = pd.DataFrame({"customer_id": ["a", "b"], "date": pd.to_datetime(["2024-01-10"] * 2), "amount": [1.0, 2.0]})
    for days in ({}, {"dormant_after": 30}, {"lost_after": 30}):
        with pytest.raises(Unanswerable, match="bought on two days"):
            lifecycle.rules(customers.purchases(log), **days)
    assert lifecycle.rules(customers.purchases(log), dormant_after=30, lost_after=90) == Rules(30, 90, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"loyal_from": 2},
        {"dormant_after": 90, "lost_after": 30},
        {"dormant_after": -1, "lost_after": 30},
        {"dormant_quantile": 0.95, "lost_quantile": 0.8},
        {"lost_quantile": 1.0},
    ],
)
def test_impossible_rules_are_refused(wrong):
    log = pd.DataFrame({"customer_id": "a", "date": pd.to_datetime(["2024-01-10", "2024-01-20"]), "amount": 1.0})
    with pytest.raises(ValueError, match=r"loyal_from|dormant"):
        lifecycle.rules(customers.purchases(log), **wrong)


def test_to_win_back(shop):
    log, rules = shop.table("transactions"), Rules(119, 283, 4)
    found = lifecycle.to_win_back(
        lifecycle.stages(shop.purchases(), [shop.as_of], rules), shop.customers(), rules
    ).to_pandas()
    summary = customers.summary(log, as_of=shop.as_of).to_pandas().set_index("customer_id")
    silence = (pd.Timestamp(shop.as_of) - pd.to_datetime(summary["last_purchase"])).dt.days
    assert set(found["customer_id"]) == set(silence[silence.between(120, 283)].index)
    assert (found["days_left"] == 283 - found["silence"]).all()
    assert found["value"].is_monotonic_decreasing
    ours = summary.loc[found["customer_id"]].reset_index()
    pd.testing.assert_frame_equal(
        found[["value", "purchases", "last_purchase"]], ours[["value", "purchases", "last_purchase"]]
    )


def test_speaks_other_dialects(dialect):
    log = ibis.table({"customer_id": "string", "date": "date", "amount": "decimal(18, 6)"}, name="transactions")
    summary = customers.summary(log, as_of=START)
    staged = lifecycle.stages(customers.purchases(log), [START, dt.date(2024, 1, 31)], Rules(30, 60, 4))
    for expression in (staged, lifecycle.to_win_back(staged, summary, Rules(30, 60, 4))):
        sql = ibis.to_sql(expression, dialect=dialect)
        assert "memtable" not in sql  # Spark joins views, not memtables


def test_recent_are_the_last_dates():
    dates = pd.to_datetime(["2024-01-31", "2024-03-31", "2024-02-29", "2024-03-31"])
    moved = pd.DataFrame({"date": dates, "customers": [1, 2, 3, 4]})
    assert lifecycle.recent(moved, 1)["customers"].tolist() == [2, 4]
    assert lifecycle.recent(moved, 2)["customers"].tolist() == [2, 3, 4]
    assert len(lifecycle.recent(moved, 99)) == 4
    with pytest.raises(ValueError, match="at least one date"):
        lifecycle.recent(moved, 0)


def test_the_quiet_key_accounts_of_the_sample_company_are_the_first_to_win_back(sample, truth):
    data = open_dataset(sample)
    bought = data.purchases().cache()
    rules = lifecycle.rules(bought)
    leads = lifecycle.leads(data.table("contacts"))
    dormant = lifecycle.to_win_back(lifecycle.stages(bought, [data.as_of], rules, leads), data.customers(), rules)
    found = dormant.to_pandas()["customer_id"].to_list()
    places = [found.index(who) + 1 for who in truth["quiet_key_accounts"]]
    assert max(places) <= 11  # of some 350: one other customer of that worth is dormant
