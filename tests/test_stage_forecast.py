"""The forecast of the stages: known chains, a simulated company, and what came on CDNOW."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crm_analysis import customers, lifecycle, open_dataset
from crm_analysis.errors import Unanswerable
from crm_analysis.lifecycle import Rules

ENDS = [end.date() for end in pd.date_range("2021-01-31", periods=36, freq="ME")]


def panel(stages_by_date: list[dict[str, int]]) -> pd.DataFrame:
    """A panel in which customers keep their place in the order of the stages' counts."""
    rows = [
        (f"c{number}", end, stage, 1, 0)
        for end, counts in zip(ENDS, stages_by_date, strict=False)
        for number, stage in enumerate(stage for stage, count in counts.items() for _ in range(count))
    ]
    return pd.DataFrame(rows, columns=["customer_id", "date", "stage", "purchases", "silence"])


def company(seed: int, months: int = 36, people: int = 1500) -> pd.DataFrame:
    """Purchases of customers who come all the time, buy at rates of their own and stop at times of their own."""
    rng = np.random.default_rng(seed)
    start = rng.integers(-700, months * 30, people)
    rate, life = rng.gamma(1.2, 1 / 40, people), rng.exponential(rng.gamma(3, 150, people))
    rows = []
    for who in range(people):
        times = start[who] + np.cumsum([0, *rng.exponential(1 / rate[who], 400)])
        times = times[(times <= start[who] + life[who]) & (times >= 0) & (times < months * 30.4)]
        rows += [(f"c{who}", pd.Timestamp("2021-01-01") + pd.Timedelta(days=int(time)), 1.0) for time in times]
    return pd.DataFrame(rows, columns=["customer_id", "date", "amount"])


def test_who_stands_still_stays():
    found = lifecycle.forecast(panel([{"loyal": 50, "lost": 7}] * 20), steps=5)
    assert set(found["stage"]) == {"loyal", "lost"}
    assert found["date"].nunique() == 6
    for stage, number in (("loyal", 50), ("lost", 7)):
        mine = found[found["stage"] == stage]
        assert (mine[["expected", "low", "high"]] == number).all(axis=None)


def test_steady_growth_goes_on():
    """30 first-time customers come each month and nobody leaves: the mean is exact, the bounds are Poisson's."""
    found = lifecycle.forecast(panel([{"first-time": 30 * month} for month in range(1, 25)]), steps=12)
    last = found.iloc[-1]
    assert last["date"] == pd.Timestamp("2023-12-31")
    assert last["expected"] == pytest.approx(24 * 30 + 12 * 30, rel=0.02)
    assert 12 * 30 * 0.1 < (last["high"] - last["low"]) / 2 < 12 * 30 * 0.2  # 1.64 × √(2 × 360) = 44


def test_the_season_stays():
    """100 come each July, 10 in other months."""
    joined = np.cumsum([100 if end.month == 7 else 10 for end in ENDS])
    found = lifecycle.forecast(panel([{"first-time": int(number)} for number in joined]), steps=12, recent_steps=24)
    grown = found["expected"].diff().set_axis(found["date"].dt.month).dropna()
    assert grown.loc[[6, 7, 8]].sum() == pytest.approx(120, rel=0.15)
    assert grown.drop([6, 7, 8]).max() < 14


def test_bounds_hold_on_a_company_whose_ways_do_not_change():
    rules, within, errors = Rules(60, 180, 4), [], []
    for seed in range(3):
        staged = lifecycle.stages(customers.purchases(company(seed)), ENDS, rules).cache()
        checked = lifecycle.backtest(staged)
        assert checked["date"].nunique() == 12
        known = lifecycle.counts(staged).set_index(["date", "stage"])["customers"]
        assert (checked["actual"] == known[pd.MultiIndex.from_frame(checked[["date", "stage"]])].to_numpy()).all()
        within.append(checked["within"].mean())
        errors.append((checked["expected"] - checked["actual"]).abs().sum() / checked["actual"].sum())
    assert np.mean(within) > 0.8
    assert np.mean(errors) < 0.08


def test_row_order_changes_nothing():
    staged = lifecycle.stages(customers.purchases(company(5, people=200)), ENDS, Rules(60, 180, 4)).to_pandas()
    expected = lifecycle.forecast(staged)
    pd.testing.assert_frame_equal(lifecycle.forecast(staged.sample(frac=1, random_state=1)), expected)


def test_cdnow(cdnow):
    """Customers of one quarter: no new ones are foreseen, and the number of all of them stays."""
    data = open_dataset(cdnow)
    bought = data.purchases().cache()
    staged = lifecycle.stages(bought, lifecycle.month_ends(*data.period), lifecycle.rules(bought)).cache()
    found = lifecycle.forecast(staged)
    assert found.groupby("date")["expected"].sum().to_list() == pytest.approx([23570] * 13)
    assert "first-time" not in set(found["stage"])
    now = found[found["date"] == "1998-06-30"].set_index("stage")["expected"]
    assert now.to_dict() == {"repeat": 1089, "loyal": 3161, "dormant": 2959, "lost": 16361}
    checked = lifecycle.backtest(staged)
    assert checked["date"].nunique() == 2  # more than that, and there is no year to learn from
    assert checked["within"].all()


@pytest.mark.parametrize("dates", [2, 8, 15])
def test_a_short_history_is_no_ground(dates):
    with pytest.raises(Unanswerable, match="too short for a forecast"):
        lifecycle.forecast(panel([{"loyal": 3}] * dates))


def test_what_is_needed():
    assert len(lifecycle.forecast(panel([{"loyal": 3}] * 16), steps=1)) == 2
    with pytest.raises(Unanswerable, match="too short"):
        lifecycle.backtest(panel([{"loyal": 3}] * 16))
    assert lifecycle.backtest(panel([{"loyal": 3}] * 17))["date"].to_list() == [pd.Timestamp(ENDS[16])]
    quarters = panel([{"loyal": 3}] * 16).assign(
        date=lambda t: t["date"].map(
            dict(zip(ENDS, pd.date_range("2015-03-31", periods=36, freq="QE").date, strict=True))
        )
    )
    assert lifecycle.forecast(quarters, steps=2)["date"].to_list()[1:] == [
        pd.Timestamp("2019-03-31"),
        pd.Timestamp("2019-06-30"),
    ]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"recent_steps": 11}])
def test_impossible_steps_are_refused(wrong):
    with pytest.raises(ValueError, match="steps must be"):
        lifecycle.forecast(panel([{"loyal": 3}] * 20), **wrong)
