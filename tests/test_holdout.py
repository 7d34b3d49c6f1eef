"""What was foretold is set beside what happened: counts, scores and curves against independent computation."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from crm_analysis import lifetime, open_dataset
from crm_analysis.customers import summary
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.holdout import (
    calibration,
    calibration_error,
    counted,
    gini,
    repeats,
    tracked,
    tracking_error,
)

SPLIT, END = dt.date(1997, 9, 30), dt.date(1998, 6, 30)


@pytest.fixture(scope="module")
def data(cdnow):
    return open_dataset(cdnow)


@pytest.fixture(scope="module")
def transactions(data):
    """One customer in ten."""
    table = data.table("transactions")
    return table.filter(table["customer_id"].right(1) == "7").cache()


@pytest.fixture(scope="module")
def customers(transactions):
    """They are told apart by whether their identifier is even before its last digit."""
    known = summary(transactions, as_of=SPLIT)
    return known.mutate(even=1.0 - known["customer_id"][3].cast("int64") % 2).cache()


@pytest.fixture(scope="module")
def model(customers):
    return lifetime.ParetoNBDFitter().fit_histories(lifetime.histories(customers))


@pytest.fixture(scope="module")
def divided(customers):
    rows = lifetime.histories(customers, "even")
    history = (rows[name] for name in ("frequency", "recency", "T"))
    return lifetime.ParetoNBDFitter().fit(*history, weights=rows["customers"], covariates=rows[["even"]])


@pytest.fixture(scope="module")
def days(transactions):
    """Each customer's days of purchase: what the engine counts, counted in pandas."""
    lines = transactions.to_pandas().assign(date=lambda t: pd.to_datetime(t["date"]))
    bought = lines.groupby(["customer_id", "date"], as_index=False)["amount"].sum()
    return bought[bought["amount"] >= 0]


@pytest.fixture(scope="module")
def held(transactions, customers, model):
    return lifetime.holdout(transactions, customers, model, SPLIT, END)


def each_customer(held):
    """Return one row per customer."""
    return held.loc[held.index.repeat(held["customers"])]


class TestSplit:
    def test_half_of_the_history_in_whole_weeks(self, data):
        assert lifetime.split_date(data.period, data.as_of) == SPLIT
        assert lifetime.split_date(data.period, data.as_of, 8) == dt.date(1998, 5, 5)

    @pytest.mark.parametrize(("weeks", "error"), [(78, Unanswerable), (-1, ValueError)])
    def test_refuses_what_leaves_no_history(self, data, weeks, error):
        with pytest.raises(error, match=r"too short to hold out|at least a week"):
            lifetime.split_date(data.period, data.as_of, weeks)


class TestHoldout:
    def test_counts_what_customers_did(self, held, days, customers, model):
        later = days[days["date"] > str(SPLIT)].groupby("customer_id").size()
        frame = customers.to_pandas().set_index("customer_id")
        frame["actual"] = later.reindex(frame.index, fill_value=0)
        history = [frame[name].to_numpy() for name in ("frequency", "recency", "T")]
        frame["expected"] = model.conditional_expected_number_of_purchases_up_to_time(39.0, *history)
        frame["p_alive"] = model.conditional_probability_alive(*history)
        key = ["frequency", "recency", "T", "actual"]
        by_hand = frame.groupby(key, as_index=False).agg(
            customers=("purchases", "size"), expected=("expected", "mean"), p_alive=("p_alive", "mean")
        )
        pd.testing.assert_frame_equal(held, by_hand, check_dtype=False)

    def test_covariates_are_those_of_the_customers(self, transactions, customers, divided):
        held = lifetime.holdout(transactions, customers, divided, SPLIT, END)
        frame = customers.to_pandas()
        assert held["customers"].sum() == len(frame)
        history = [frame[name].to_numpy() for name in ("frequency", "recency", "T")]
        each = divided.conditional_expected_number_of_purchases_up_to_time(39.0, *history, covariates=frame[["even"]])
        assert (held["expected"] * held["customers"]).sum() == pytest.approx(each.sum(), rel=1e-12)
        by_even = (held["expected"] * held["customers"]).groupby(held["even"]).sum()
        assert by_even[1.0] == pytest.approx(each[frame["even"] == 1].sum(), rel=1e-12)

    def test_reads_nothing_after_its_end(self, transactions, customers, model, held):
        until = dt.date(1998, 3, 31)
        cut = transactions.filter(transactions["date"] <= until)
        short = lifetime.holdout(transactions, customers, model, SPLIT, until)
        pd.testing.assert_frame_equal(short, lifetime.holdout(cut, customers, model, SPLIT, until))
        assert (short["actual"] * short["customers"]).sum() < (held["actual"] * held["customers"]).sum()


class TestErrors:
    def test_by_hand(self):
        held = pd.DataFrame({"actual": [0, 2], "expected": [0.5, 1.0], "customers": [3, 1]})
        assert lifetime.errors(held) == {
            "mae": pytest.approx((3 * 0.5 + 1) / 4),
            "rmse": pytest.approx(np.sqrt((3 * 0.25 + 1) / 4)),
            "aggregate_error": pytest.approx(2.5 / 2 - 1),
            "auc": 1.0,
        }
        nobody = lifetime.errors(held.assign(actual=0))
        assert np.isnan(nobody["aggregate_error"])
        assert np.isnan(nobody["auc"])

    def test_agree_with_scikit_learn(self, held):
        from sklearn.metrics import mean_absolute_error, roc_auc_score, root_mean_squared_error

        found, weight = lifetime.errors(held), held["customers"]
        ties = held.assign(expected=held["expected"].round(1))
        assert found["mae"] == pytest.approx(
            mean_absolute_error(held["actual"], held["expected"], sample_weight=weight)
        )
        assert found["rmse"] == pytest.approx(
            root_mean_squared_error(held["actual"], held["expected"], sample_weight=weight)
        )
        for frame in (held, ties):
            auc = roc_auc_score(frame["actual"] > 0, frame["expected"], sample_weight=weight)
            assert lifetime.errors(frame)["auc"] == pytest.approx(auc)

    def test_by_frequency_keeps_the_totals(self, held):
        groups = lifetime.holdout_by_frequency(held)
        assert list(groups["frequency"]) == ["0", "1", "2", "3", "4", "5", "6", "7+"]
        assert groups["customers"].sum() == held["customers"].sum()
        totals = lifetime.held_totals(held)
        for column in ("actual", "expected"):
            assert (groups[column] * groups["customers"]).sum() == pytest.approx(totals[column])


class TestCalibration:
    def test_tenths_of_customers(self, held):
        """Sorted one by one and cut into tenths, customers are off by as much; ties straddle few cuts."""
        each = each_customer(held).sort_values("expected", kind="stable")
        tenth = (np.arange(len(each)) * 10) // len(each)
        means = each.groupby(tenth)[["actual", "expected"]].mean()
        found = calibration(held)
        assert list(found["group"]) == list(range(1, 11))
        assert found["customers"].sum() == len(each)
        assert found["expected"].to_numpy() == pytest.approx(means["expected"].to_numpy(), rel=0.1)
        by_hand = (means["actual"] - means["expected"]).abs().mean()
        assert calibration_error(held) == pytest.approx(by_hand, rel=0.1)

    def test_by_hand(self):
        held = pd.DataFrame({"actual": [0, 4, 1], "expected": [0.5, 2.0, 0.5], "customers": [4, 2, 4]})
        found = calibration(held, groups=2)
        assert found.to_dict("list") == {
            "group": [1, 2],
            "expected": [0.5, 2.0],
            "actual": [0.5, 4.0],
            "customers": [8, 2],
        }
        assert calibration_error(held) == pytest.approx((8 * 0 + 2 * 2) / 10)


class TestGini:
    def test_of_single_customers(self, held):
        """The Gini coefficient of n sorted amounts is 2 sum(i y_i) / (n sum(y)) - (n + 1) / n."""

        def coefficient(amounts):
            n = len(amounts)
            return 2 * (np.arange(1, n + 1) @ amounts) / (n * amounts.sum()) - (n + 1) / n

        each = each_customer(held)
        shared = each.groupby("expected")["actual"].transform("mean")  # equals each have their mean
        ranked = shared.to_numpy()[np.argsort(each["expected"].to_numpy(), kind="stable")]
        best = coefficient(np.sort(each["actual"].to_numpy()))
        assert gini(held) == pytest.approx(coefficient(ranked) / best, rel=1e-9)

    @pytest.mark.parametrize(("expected", "found"), [([1, 2, 3], 1.0), ([3, 2, 1], -1.0), ([1, 1, 1], 0.0)])
    def test_the_order_alone_counts(self, expected, found):
        held = pd.DataFrame({"actual": [0, 1, 5], "expected": expected, "customers": [2, 2, 2]})
        assert gini(held) == pytest.approx(found)

    def test_of_customers_who_are_all_alike(self):
        assert np.isnan(gini(pd.DataFrame({"actual": [1, 1], "expected": [1.0, 2.0], "customers": [2, 3]})))


class TestCounted:
    @pytest.mark.parametrize("level", [0.9, 0.5])
    def test_against_the_whole_distribution(self, held, model, level):
        found = counted(held, model, 39.0, level)
        history = [held[name].to_numpy() for name in ("frequency", "recency", "T")]
        whole = model.conditional_distribution(39.0, *history, most=400)
        below = np.cumsum(whole, axis=0)
        out = (1 - level) / 2
        for row in range(0, len(held), 7):
            low = next(k for k in range(401) if below[k, row] > out)
            high = next(k for k in range(401) if 1 - below[k, row] <= out)
            assert found["probability"].iloc[row] == pytest.approx(whole[held["actual"].iloc[row], row], rel=1e-9)
            assert (found["low"].iloc[row], found["high"].iloc[row]) == (low, high)
            assert found["coverage"].iloc[row] == pytest.approx(whole[low : high + 1, row].sum(), rel=1e-9)
        assert (found["coverage"] >= level - 1e-12).all()

    def test_many_purchases(self, model):
        """What is far above the first probabilities looked at is found, too."""
        held = pd.DataFrame(
            {"frequency": [300, 300, 0], "recency": [38.0, 38.0, 0.0], "T": 39.0, "actual": [280, 0, 90]}
        )
        found = counted(held, model, 39.0)
        whole = model.conditional_distribution(39.0, 300, 38.0, 39.0, most=1000)[:, 0]
        assert found["probability"].iloc[0] == pytest.approx(whole[280], rel=1e-9)
        assert found["probability"].iloc[1] == pytest.approx(whole[0], rel=1e-9)
        assert 0 < found["probability"].iloc[2] < 1e-6


class TestTracking:
    def test_ends_at_what_happened(self, transactions, model, days, customers):
        found = lifetime.tracking(transactions, model, SPLIT, END)
        assert (found["date"].diff().dropna().dt.days == 7).all()
        assert found["date"].iloc[-1] == pd.Timestamp("1998-06-30")
        first = days.groupby("customer_id")["date"].min()
        assert (first <= str(SPLIT)).all()
        for row in (0, 10, 40, -1):
            end = found["date"].iloc[row]
            assert found["actual"].iloc[row] == (days["date"] <= end).sum() - (first <= end).sum()
            age = np.maximum((end - first).dt.days, 0) / 7
            expected = model.expected_number_of_purchases_up_to_time(age.to_numpy()).sum()
            assert found["expected"].iloc[row] == pytest.approx(expected, rel=1e-6)
        assert found["actual_weekly"].sum() == found["actual"].iloc[-1]
        assert found["expected_weekly"].sum() == pytest.approx(found["expected"].iloc[-1])

    @pytest.mark.parametrize("fitter", ["BetaGeoFitter", "ModifiedBetaGeoFitter", "NBDFitter"])
    def test_works_for_every_model(self, transactions, customers, fitter):
        model = getattr(lifetime, fitter)().fit_histories(lifetime.histories(customers))
        found = lifetime.tracking(transactions, model, SPLIT, END)
        ages = (pd.Timestamp(END) - pd.to_datetime(customers.to_pandas()["first_purchase"])).dt.days / 7
        each = model.expected_number_of_purchases_up_to_time(ages.to_numpy())
        assert found["expected"].iloc[-1] == pytest.approx(each.sum(), rel=1e-6)

    def test_season_depends_on_when_they_came(self, transactions, customers, model):
        levels = pd.Series(1 + 0.8 * np.cos(np.arange(1, 13) / 12 * 2 * np.pi), range(1, 13))
        seasonal = lifetime.ParetoNBDFitter(season=lifetime.Season(levels, SPLIT))
        seasonal.fit_histories(lifetime.histories(customers))
        found = lifetime.tracking(transactions, seasonal, SPLIT, END).iloc[-1]
        first = pd.to_datetime(customers.to_pandas()["first_purchase"])
        age, came = ((pd.Timestamp(end) - first).dt.days.to_numpy() / 7 for end in (END, SPLIT))
        each = seasonal.expected_number_of_purchases_up_to_time(age, came)
        assert found["expected"] == pytest.approx(each.sum(), rel=1e-9)
        without = lifetime.tracking(transactions, model, SPLIT, END).iloc[-1]
        assert abs(found["expected"] / without["expected"] - 1) > 0.02

    def test_covariates(self, transactions, customers, divided):
        found = lifetime.tracking(transactions, divided, SPLIT, END, customers).iloc[-1]
        frame = customers.to_pandas()
        age = (pd.Timestamp(END) - pd.to_datetime(frame["first_purchase"])).dt.days.to_numpy() / 7
        new = np.zeros((3, len(frame)))
        each = divided.conditional_expected_number_of_purchases_up_to_time(age, *new, covariates=frame[["even"]])
        assert found["expected"] == pytest.approx(each.sum(), rel=1e-6)

    def test_error_after_the_split(self, transactions, customers, model):
        weeks, cohorts = repeats(transactions, customers, END)
        curve = tracked(weeks, cohorts, model)
        later = curve[curve["date"] > str(SPLIT)]
        assert len(later) == 39
        by_hand = np.mean(np.abs(later["expected"] - later["actual"]) / later["actual"])
        assert tracking_error(curve, SPLIT) == pytest.approx(by_hand)
        assert np.isnan(tracking_error(curve, END))
