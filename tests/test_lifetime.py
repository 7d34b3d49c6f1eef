"""The lifetime models reproduce the published estimates, and what is told of customers follows from them."""

import datetime as dt
import warnings
from importlib.resources import files

import ibis
import numpy as np
import pandas as pd
import pytest

from crm_analysis import lifetime, open_dataset
from crm_analysis.errors import Unanswerable

SPLIT = dt.date(1997, 9, 30)


@pytest.fixture(scope="module")
def sample():
    """The 1/10 sample of CDNOW on which the BG/NBD and Gamma-Gamma papers estimate, 39 weeks of calibration."""
    path = files("lifetimes") / "datasets" / "cdnow_customers_summary_with_transactions.csv"
    frame = pd.read_csv(str(path)).set_axis(["id", "frequency", "recency", "T", "monetary_value"], axis=1)
    return frame.assign(customers=1)


@pytest.fixture(scope="module")
def data(cdnow):
    return open_dataset(cdnow)


@pytest.fixture(scope="module")
def customers(data):
    return data.customers().cache()


@pytest.fixture(scope="module")
def purchase_model(customers):
    return lifetime.fit_purchases(lifetime.histories(customers))


@pytest.fixture(scope="module")
def spend_model(customers):
    return lifetime.fit_spend(lifetime.spend_histories(customers))


@pytest.fixture(scope="module")
def early(data):
    return lifetime.fit_purchases(lifetime.histories(data.customers(SPLIT)))


@pytest.fixture(scope="module")
def held(data, early):
    return lifetime.holdout(data.table("transactions"), data.customers(SPLIT), early, SPLIT, data.as_of)


def grouped(frame, *columns):
    return frame.groupby([*columns], as_index=False)["customers"].sum()


class TestPublishedEstimates:
    def test_bg_nbd(self, sample):
        model = lifetime.fit_purchases(grouped(sample, "frequency", "recency", "T"))
        assert model.params_.round(3).to_dict() == {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
        repeats = (model.data["frequency"] * model.data["weights"]).sum()
        total = -model._negative_log_likelihood_ * 2357 + repeats * np.log(model._scale)
        assert total == pytest.approx(-9582.429, abs=0.02)

    def test_gamma_gamma(self, sample):
        model = lifetime.fit_spend(grouped(sample[sample["frequency"] > 0], "frequency", "monetary_value"))
        assert model.params_["p"] == pytest.approx(6.25, abs=0.005)
        assert model.params_["q"] == pytest.approx(3.74, abs=0.005)
        assert model.params_["v"] == pytest.approx(15.45, abs=0.01)

    def test_expected_spend_of_the_papers_example(self, sample):
        """A customer without repeat purchases is expected to spend about $35 (Fader, Hardie and Lee 2005)."""
        spend = lifetime.fit_spend(sample[sample["frequency"] > 0])
        purchases = lifetime.fit_purchases(sample)
        history = {"purchases": 1, "frequency": 0, "recency": 0.0, "T": 1.0, "monetary_value": 0.0}
        nobody = pd.DataFrame({"customer_id": ["new"], **history})
        valued = lifetime.value(nobody, purchases, spend).to_pandas()
        assert valued["expected_spend"][0] == pytest.approx(35.2, abs=0.1)

    def test_weighted_rows_are_the_customers(self, sample):
        each = lifetime.fit_purchases(sample)
        together = lifetime.fit_purchases(grouped(sample, "frequency", "recency", "T"))
        assert together.params_.to_numpy() == pytest.approx(each.params_.to_numpy(), rel=1e-4)
        assert together.standard_errors_.to_numpy() == pytest.approx(each.standard_errors_.to_numpy(), rel=1e-3)

    def test_standard_errors_against_finite_differences(self, sample):
        model = lifetime.fit_purchases(sample)
        at = model.params_.to_numpy()
        history = [sample[c].to_numpy() for c in ("frequency", "recency", "T", "customers")]

        def loss(parameters):
            return 2357 * model._negative_log_likelihood(np.log(parameters), *history, 0)

        steps = np.diag(at * 1e-3)
        curvature = [
            [
                (loss(at + i + j) - loss(at + i - j) - loss(at - i + j) + loss(at - i - j)) / (4 * i.sum() * j.sum())
                for j in steps
            ]
            for i in steps
        ]
        errors = np.sqrt(np.diag(np.linalg.inv(curvature)))
        assert lifetime.parameters(model)["standard_error"].to_numpy() == pytest.approx(errors, rel=1e-2)


class TestFitting:
    def test_too_few_repeat_customers(self):
        once = pd.DataFrame({"frequency": [0, 1], "recency": [0.0, 3.0], "T": [9.0, 9.0], "customers": [900, 29]})
        with pytest.raises(Unanswerable, match=r"^Only 29 customers had bought again; 30 are needed to fit"):
            lifetime.fit_purchases(once)

    def test_a_fit_that_does_not_converge_says_so(self, sample, monkeypatch):
        monkeypatch.setattr("crm_analysis.lifetime.fitting.STEEPEST", 1e-15)
        with pytest.raises(Unanswerable, match=r"^The BG/NBD model did not converge on the 2,357 customers"):
            lifetime.fit_purchases(sample)

    @pytest.mark.parametrize("alike", [True, False], ids=["customers are alike", "each always spends the same"])
    def test_what_the_data_do_not_bound_is_said_and_predictions_hold(self, alike):
        rng = np.random.default_rng(1)
        frequency = rng.integers(1, 30, 400)
        by_chance, constant = 50 * rng.gamma(3 * frequency, 1 / (3 * frequency)), 100 / rng.gamma(3, size=400)
        spend = by_chance if alike else constant
        model = lifetime.fit_spend(pd.DataFrame({"frequency": frequency, "monetary_value": spend, "customers": 1}))
        notes = lifetime.parameters(model).set_index("parameter")["note"]
        assert notes["q" if alike else "p"] == "hardly bounded by the data"
        expected = model.conditional_expected_average_profit(9, np.array([20.0, 100.0]))
        assert expected == pytest.approx([50, 50] if alike else [20, 100], rel=0.01)

    def test_infinite_average_spend(self):
        rng = np.random.default_rng(1)
        spend = 1 / rng.gamma(0.5, size=2000)
        wild = pd.DataFrame({"frequency": 5, "monetary_value": spend, "customers": 1})
        with pytest.raises(Unanswerable, match="no finite average"):
            lifetime.fit_spend(wild)

    def test_warning_filters_stay_as_they_were(self, sample):
        before = list(warnings.filters)
        lifetime.fit_purchases(sample)
        assert warnings.filters == before

    def test_histories_count_every_customer_with_a_purchase(self, customers):
        found = lifetime.histories(customers)
        assert found["customers"].sum() == 23570
        assert len(found) == len(found.drop_duplicates(["frequency", "recency", "T"])) == 11104


class TestValue:
    def test_agrees_with_lifetimes_customer_by_customer(self, customers, purchase_model, spend_model):
        valued = lifetime.value(customers, purchase_model, spend_model, months=12, annual_discount=0.1).to_pandas()
        assert len(valued) == 23570
        history = [valued[c].to_numpy() for c in ("frequency", "recency", "T")]
        expected = purchase_model.conditional_expected_number_of_purchases_up_to_time(365.25 / 7, *history)
        alive = purchase_model.conditional_probability_alive(*history)
        spend = spend_model.conditional_expected_average_profit(valued["frequency"], valued["monetary_value"])
        assert valued["expected_purchases"].to_numpy() == pytest.approx(expected, rel=1e-12)
        assert valued["p_alive"].to_numpy() == pytest.approx(alive, rel=1e-12)
        assert valued["expected_spend"].to_numpy() == pytest.approx(spend.to_numpy(), rel=1e-12)

    def test_without_discount_the_value_is_purchases_times_spend(self, customers, purchase_model, spend_model):
        valued = lifetime.value(customers, purchase_model, spend_model, months=7, annual_discount=0, margin=0.4)
        frame = valued.to_pandas()
        product = frame["expected_purchases"] * frame["expected_spend"] * 0.4
        assert frame["lifetime_value"].to_numpy() == pytest.approx(product.to_numpy(), rel=1e-9)

    def test_the_discount_is_a_rate_a_year(self, customers, purchase_model, spend_model):
        def total(**rate):
            return lifetime.totals(lifetime.value(customers, purchase_model, spend_model, months=1, **rate))

        ratio = total(annual_discount=0.21)["lifetime_value"] / total(annual_discount=0.0)["lifetime_value"]
        assert ratio == pytest.approx(1.21 ** (-1 / 24), rel=1e-12)

    def test_sums_over_all_customers(self, customers, purchase_model, spend_model):
        valued = lifetime.value(customers, purchase_model, spend_model)
        frame, sums = valued.to_pandas(), lifetime.totals(valued)
        repeat = frame["frequency"] > 0
        assert sums["customers"] == 23570
        assert sums["repeaters"] == repeat.sum()
        assert sums["repeaters_alive"] == pytest.approx(frame["p_alive"][repeat].sum())
        assert sums["lifetime_value"] == pytest.approx(frame["lifetime_value"].sum())
        bands = lifetime.alive_bands(valued)
        assert bands["customers"].sum() == 23570
        assert bands["customers"].iloc[-1] == (frame["p_alive"] >= 0.9).sum()
        risk = lifetime.at_risk(valued, below=0.3).to_pandas()
        assert set(risk["customer_id"]) == set(frame["customer_id"][(frame["p_alive"] < 0.3) & (frame["p_alive"] > 0)])
        assert risk["lifetime_value"].is_monotonic_decreasing
        assert (risk["value_if_alive"] * risk["p_alive"]).to_numpy() == pytest.approx(risk["lifetime_value"].to_numpy())

    @pytest.mark.parametrize("wrong", [{"months": 0}, {"annual_discount": -1}, {"annual_discount": float("nan")}])
    def test_refuses_senseless_horizons(self, customers, purchase_model, spend_model, wrong):
        with pytest.raises(ValueError, match="months must be at least 1"):
            lifetime.value(customers, purchase_model, spend_model, **wrong)

    def test_margin(self):
        """Of 200 purchased 50 were returned and 110 went to costs: a fifth is left."""
        known = pd.DataFrame({"customer_id": ["a", "b"], "purchased": [120.0, 80.0], "value": [50.0, -10.0]})
        assert lifetime.average_margin(known) == pytest.approx(0.2)

    def test_growth(self, data, customers):
        table = data.table("transactions")
        later = table.filter(table["date"] > SPLIT)["amount"].sum().cast("float64").execute()
        assert lifetime.growth(data.customers(SPLIT), customers) == pytest.approx(later)

    def test_regular_buyers_have_finite_expectations(self):
        """All buy about every 14 days: lifetimes' hypergeometric function is undefined here."""
        rng = np.random.default_rng(1)
        age = rng.integers(40, 100, 500)
        frequency = age // 2
        regular = pd.DataFrame({"frequency": frequency, "recency": frequency * 2.0, "T": age + 1.0, "customers": 1})
        model = lifetime.fit_purchases(regular)
        history = [regular[c].to_numpy() for c in ("frequency", "recency", "T")]
        expected = model.conditional_expected_number_of_purchases_up_to_time(26.0, *history)
        assert np.isfinite(expected).all()
        assert expected == pytest.approx(13 * model.conditional_probability_alive(*history), rel=0.1)
        assert np.isfinite(model.expected_number_of_purchases_up_to_time(np.array([0.0, 26.0]))).all()

    def test_the_other_way_to_the_expectation_agrees_with_lifetimes(self, purchase_model, customers):
        from crm_analysis.lifetime.fitting import _until_they_stop

        history = lifetime.histories(customers).iloc[::50]
        x, recency, T = (history[c].to_numpy() for c in ("frequency", "recency", "T"))
        r, alpha, a, b = purchase_model.params_
        usual = purchase_model.conditional_expected_number_of_purchases_up_to_time(52.0, x, recency, T)
        alive = purchase_model.conditional_probability_alive(x, recency, T)
        assert alive * _until_they_stop(r + x, 52 / (alpha + T), a, b + x) == pytest.approx(usual, rel=1e-4)
        assert _until_they_stop(r, np.array([52 / alpha]), a, b) == pytest.approx(
            purchase_model.expected_number_of_purchases_up_to_time(52.0), rel=1e-4
        )


class TestHoldout:
    def test_split_is_half_of_the_history_in_whole_weeks(self, data):
        assert lifetime.split_date(data.period, data.as_of) == SPLIT
        assert lifetime.split_date(data.period, data.as_of, 8) == dt.date(1998, 5, 5)
        with pytest.raises(Unanswerable, match="too short to hold out"):
            lifetime.split_date(data.period, data.as_of, 78)

    def test_estimates_on_all_customers(self, early):
        """An independent BG/NBD fit of all 23,570 customers ends at a log-likelihood of -95,368.444."""
        repeats = (early.data["frequency"] * early.data["weights"]).sum()
        total = -early._negative_log_likelihood_ * 23570 + repeats * np.log(early._scale)
        assert total == pytest.approx(-95368.444, abs=0.02)

    def test_counts_what_customers_did(self, data, held):
        table = data.table("transactions")
        later = table.filter(table["date"] > ibis.date("1997-09-30")).select("customer_id", "date").distinct()
        assert held["customers"].sum() == 23570
        assert (held["actual"] * held["customers"]).sum() == later.count().execute()

    def test_errors_by_hand(self):
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

    def test_by_frequency_keeps_the_totals(self, held):
        groups = lifetime.holdout_by_frequency(held)
        assert list(groups["frequency"]) == ["0", "1", "2", "3", "4", "5", "6", "7+"]
        assert groups["customers"].sum() == 23570
        for column in ("actual", "expected"):
            total = (held[column] * held["customers"]).sum()
            assert (groups[column] * groups["customers"]).sum() == pytest.approx(total)

    def test_tracking_ends_at_what_happened(self, data, early, customers):
        tracked = lifetime.tracking(data.table("transactions"), early, SPLIT, data.as_of)
        assert (tracked["date"].diff().dropna().dt.days == 7).all()
        assert str(tracked["date"].iloc[-1].date()) == "1998-06-30"
        assert tracked["actual"].iloc[-1] == customers["frequency"].sum().execute()
        assert tracked["actual_weekly"].sum() == tracked["actual"].iloc[-1]
        first = customers.group_by("first_purchase").aggregate(n=lambda t: t.count()).to_pandas()
        ages = (pd.Timestamp(data.as_of) - pd.to_datetime(first["first_purchase"])).dt.days / 7
        expected = (early.expected_number_of_purchases_up_to_time(ages.to_numpy()) * first["n"]).sum()
        assert tracked["expected"].iloc[-1] == pytest.approx(expected)
