"""What is shown of the models: silences, the forecast for all, and the tables behind the charts."""

import warnings

import numpy as np
import pandas as pd
import pytest

from crm_analysis import lifetime, open_dataset
from crm_analysis.errors import Unanswerable


@pytest.fixture(scope="module")
def customers(cdnow):
    return lifetime.with_spend_level(open_dataset(cdnow).customers()).cache()


@pytest.fixture(scope="module")
def model(customers):
    return lifetime.ParetoNBDFitter().fit_histories(lifetime.histories(customers))


@pytest.fixture(scope="module")
def spend(customers):
    return lifetime.GammaGammaFitter().fit_histories(lifetime.spend_histories(customers))


@pytest.fixture(scope="module")
def valued(customers, model, spend):
    return lifetime.value(customers, model, spend).cache()


@pytest.fixture(scope="module")
def frame(valued):
    return valued.to_pandas()


def test_histories_count_every_customer_with_a_purchase(customers):
    found = lifetime.histories(customers)
    assert found["customers"].sum() == 23570
    assert len(found) == len(found.drop_duplicates(["frequency", "recency", "T"])) == 11104


def test_fitting_leaves_the_warning_filters_as_they_were(customers):
    before = list(warnings.filters)
    lifetime.BetaGeoFitter().fit_histories(lifetime.histories(customers))
    assert warnings.filters == before


class TestSilence:
    def test_probability_against_simulated_buyers(self):
        """Of many who had bought 4 times in 20 weeks, the share who buy nothing in the next 10 although they stay."""
        model = lifetime.NBDFitter()
        model.params_ = pd.Series({"r": 0.8, "alpha": 12.0})
        rng = np.random.default_rng(2)
        rate = rng.gamma(0.8, 1 / 12.0, 2_000_000)
        alike = rate[rng.poisson(rate * 20) == 4]
        silent = (rng.poisson(alike * 10) == 0).mean()
        found = model.conditional_probability_of_silence(4, 20.0, 30.0)
        assert found == pytest.approx(silent, abs=4 * np.sqrt(silent * (1 - silent) / len(alike)))

    def test_lists_those_whose_silence_is_improbable(self, valued, frame, model):
        found = lifetime.silent(valued, model, below=0.02).to_pandas()
        r, alpha = model.params_[["r", "alpha"]]
        x, t_x, T = (frame[name] for name in ("frequency", "recency", "T"))
        probable = ((alpha + t_x) / (alpha + T)) ** (r + x)
        assert set(found["customer_id"]) == set(frame["customer_id"][(probable < 0.02) & (x >= 2)])
        assert len(found) > 100
        assert found["value"].is_monotonic_decreasing
        one = found.iloc[0]
        assert one["silence"] == round(7 * (one["T"] - one["recency"]))
        assert one["usual_gap"] == round(7 * one["recency"] / one["frequency"])

    def test_with_covariates(self, customers):
        rows = lifetime.histories(customers, "spend_level")
        columns = [rows[name] for name in ("frequency", "recency", "T", "customers")]
        model = lifetime.ParetoNBDFitter().fit(*columns, covariates=rows[["spend_level"]])
        found = lifetime.silent(customers, model, below=0.02).to_pandas()
        one = found.iloc[7]
        alpha = model.params_["alpha"] * np.exp(-model.params_["rate: spend_level"] * one["spend_level"])
        probable = ((alpha + one["recency"]) / (alpha + one["T"])) ** (model.params_["r"] + one["frequency"])
        assert one["silence_probability"] == pytest.approx(probable)


class TestForecast:
    def test_bounds_enclose_what_is_expected(self, valued, frame, model, spend):
        found = lifetime.forecast(valued, model, spend, months=12)
        assert found["low"] < frame["expected_purchases"].sum() < found["high"]
        assert found["value_low"] < frame["lifetime_value"].sum() < found["value_high"]
        assert 0 < found["parameter_share"] < 1

    def test_is_that_of_the_intervals(self, valued, frame, model, spend):
        weeks = 365.25 / 7
        rows = frame[["frequency", "recency", "T"]].assign(customers=1)
        together = lifetime.total_interval(
            model, rows.groupby(["frequency", "recency", "T"], as_index=False).sum(), weeks
        )
        found = lifetime.forecast(valued, model, spend, months=12)
        assert {name: found[name] for name in ("low", "high")} == {name: together[name] for name in ("low", "high")}

    def test_bounds_of_a_group_are_wider_for_its_size(self, valued, model, spend):
        few = valued.filter(valued["frequency"] > 20)
        of_few, of_all = (lifetime.forecast(some, model, spend, months=12) for some in (few, valued))
        width = [(found["high"] - found["low"]) / (found["high"] + found["low"]) for found in (of_few, of_all)]
        assert width[0] > 2 * width[1]


class TestTables:
    def test_alive_bands(self, valued, frame):
        bands = lifetime.alive_bands(valued)
        assert bands["customers"].sum() == 23570
        assert bands["customers"].iloc[-1] == (frame["p_alive"] >= 0.9).sum()

    def test_surface_has_everybody_once(self, valued, frame):
        found = lifetime.surface(valued)
        assert found["customers"].sum() == 23570
        assert (found["p_alive"] * found["customers"]).sum() == pytest.approx(frame["p_alive"].sum())
        cell = found[(found["weeks_since_last"] == "26–52") & (found["frequency"] == "4–5")].iloc[0]
        since = frame["T"] - frame["recency"]
        alike = frame[(since >= 26) & (since < 52) & frame["frequency"].isin([4, 5])]
        assert cell["customers"] == len(alike)
        assert cell["expected_purchases"] == pytest.approx(alike["expected_purchases"].mean())
        assert list(dict.fromkeys(found["frequency"])) == ["0", "1", "2", "3", "4–5", "6–9", "10–19", "20+"]

    def test_value_bands_have_all_value(self, valued, frame):
        bands = lifetime.value_bands(valued)
        assert bands["customers"].sum() == 23570
        assert bands["value_share"].sum() == pytest.approx(1)
        assert list(bands["band"]) == ["0–1", "1–3", "3–10", "10–30", "30–100", "100–300", "300 or more"]
        best = frame["lifetime_value"][frame["lifetime_value"] >= 300]
        assert bands["customers"].iloc[-1] == len(best)
        assert bands["value_share"].iloc[-1] == pytest.approx(best.sum() / frame["lifetime_value"].sum())

    def test_value_bands_with_losses(self):
        bands = lifetime.value_bands(pd.DataFrame({"lifetime_value": [-5.0, 4.0, 40.0, 61.0]}))
        assert bands["band"].iloc[0] == "below 0"
        assert list(bands["customers"]) == [1, 0, 0, 1, 0, 2, 0, 0]
        assert bands["value_share"].iloc[0] == pytest.approx(-0.05)

    def test_value_bands_of_losses_only(self):
        bands = lifetime.value_bands(pd.DataFrame({"lifetime_value": [-5.0, -4.0]}))
        assert list(bands["band"]) == ["below 0", "0 or more"]
        assert list(bands["customers"]) == [2, 0]


class TestValue:
    def test_valuing_again_replaces_the_columns(self, valued, model, spend):
        again = lifetime.value(valued, model, spend, months=36)
        anew = lifetime.value(
            valued.select(
                "customer_id", "purchases", "frequency", "recency", "T", "monetary_value", "purchased", "value"
            ),
            model,
            spend,
            months=36,
        )
        assert lifetime.totals(again) == lifetime.totals(anew)

    def test_a_horizon_far_beyond_the_history_is_refused(self, customers):
        lifetime.refuse_far_horizon(customers, 60)
        with pytest.raises(
            Unanswerable, match=r"^The first purchase was 545 days ago: too short a time to foretell 96 m"
        ):
            lifetime.refuse_far_horizon(customers, 96)

    def test_bounds_of_single_customers(self, valued, model, spend):
        few = valued.filter((valued["frequency"] > 20) & (valued["p_alive"] > 0.5))
        found = lifetime.with_intervals(few, model, spend, months=12).to_pandas()
        assert len(found) == few.count().execute() > 10
        assert (found["purchases_low"] <= found["expected_purchases"]).all()
        assert (found["purchases_high"] >= found["expected_purchases"]).all()
        assert (found["value_low"] < found["value_high"]).all()


def test_growth_is_that_of_those_known_before():
    before = pd.DataFrame({"customer_id": ["a", "b"], "value": [10.0, 5.0]})
    now = pd.DataFrame({"customer_id": ["a", "b", "new"], "value": [12.0, 5.0, 100.0]})
    assert lifetime.growth(before, now) == 2


def test_at_risk_are_neither_safe_nor_lost(valued, frame):
    found = lifetime.at_risk(valued, below=0.3).to_pandas()
    alive = frame["p_alive"]
    assert set(found["customer_id"]) == set(frame["customer_id"][(alive < 0.3) & (alive >= 0.05)])
    assert found["lifetime_value"].is_monotonic_decreasing
    assert (found["value_if_alive"] * found["p_alive"]).to_numpy() == pytest.approx(found["lifetime_value"].to_numpy())
