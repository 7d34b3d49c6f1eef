"""The spend model reproduces the published estimates, holds where it is hard to fit, and foretells simulated totals."""

import datetime as dt
from importlib.resources import files
from itertools import pairwise

import lifetimes
import mpmath
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import gammaln

from crm_analysis import open_dataset
from crm_analysis.customers import summary
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.spend import GammaGammaFitter, independence, spend_by_frequency, spend_histories
from crm_analysis.lifetime.spend import _log_likelihood as log_likelihood

SPLIT = dt.date(1997, 9, 30)


def simulated(rng, x, p, q, v):
    """Return average amounts of x purchases each."""
    return rng.gamma(p * x) / rng.gamma(q, 1 / v, len(x)) / x


def density(x, money, p, q, v):
    """Log of equation (1a) of the Gamma-Gamma note."""
    a = p * x
    lead = gammaln(a + q) - gammaln(a) - gammaln(q) + q * np.log(v)
    return lead + (a - 1) * np.log(money) + a * np.log(x) - (a + q) * np.log(v + x * money)


@pytest.fixture(scope="module")
def sample():
    """Spend histories of the 1/10 sample of CDNOW on which the note estimates, 39 weeks of calibration."""
    path = files("lifetimes") / "datasets" / "CDNOW_sample.txt"
    lines = pd.read_csv(str(path), sep=r"\s+", header=None, usecols=[1, 2, 4], dtype={2: str})
    lines = lines.set_axis(["customer_id", "date", "amount"], axis=1).assign(date=pd.to_datetime(lines[2]))
    return spend_histories(summary(lines, as_of=SPLIT))


@pytest.fixture(scope="module")
def model(sample):
    return GammaGammaFitter().fit_histories(sample)


class TestEstimates:
    def test_published_on_the_sample(self, model):
        assert model.params_["p"] == pytest.approx(6.2494, abs=3e-4)
        assert model.params_["q"] == pytest.approx(3.7443, abs=2e-4)
        assert model.params_["v"] == pytest.approx(15.4443, abs=1e-3)
        assert model.log_likelihood_ == pytest.approx(-4055.918, abs=5e-4)

    def test_published_on_all_customers(self, cdnow):
        spent = spend_histories(open_dataset(cdnow).customers(SPLIT))
        found = GammaGammaFitter().fit_histories(spent).params_
        assert found.to_dict() == {
            "p": pytest.approx(6.2753, abs=2e-4),
            "q": pytest.approx(3.6244, abs=1e-4),
            "v": pytest.approx(14.984, abs=1e-3),
        }

    def test_log_likelihood_is_that_of_the_averages(self, model, sample):
        x, money, count = (sample[name].to_numpy() for name in ("frequency", "monetary_value", "customers"))
        assert model.log_likelihood_ == pytest.approx(count @ density(x, money, *model.params_), abs=1e-6)

    def test_weighted_rows_are_the_customers_in_any_order(self, model, sample):
        each = sample.loc[sample.index.repeat(sample["customers"])].sample(frac=1, random_state=1)
        alone = GammaGammaFitter().fit(each["frequency"], each["monetary_value"])
        assert alone.params_.equals(model.params_)
        assert alone.data.equals(model.data)

    @pytest.mark.parametrize("unit", [1e-4, 1e6])
    def test_the_currency_does_not_matter(self, model, sample, unit):
        other = GammaGammaFitter().fit(sample["frequency"], sample["monetary_value"] * unit, sample["customers"])
        assert other.params_.to_numpy() == pytest.approx(model.params_.to_numpy() * [1, 1, unit], rel=1e-6)
        moved = model.log_likelihood_ - sample["customers"].sum() * np.log(unit)
        assert other.log_likelihood_ == pytest.approx(moved, abs=1e-6)

    def test_recovers_what_it_was_simulated_with(self):
        rng = np.random.default_rng(3)
        x = rng.geometric(0.3, 20_000)
        found = GammaGammaFitter().fit(x, simulated(rng, x, 2.0, 5.0, 120.0))
        assert (np.abs(found.params_ - [2.0, 5.0, 120.0]) < 3 * found.standard_errors_).all()
        inside = found.confidence_intervals_
        assert (inside.iloc[:, 0] < [2.0, 5.0, 120.0]).all()
        assert (inside.iloc[:, 1] > [2.0, 5.0, 120.0]).all()

    @pytest.mark.parametrize("at", [(6, 4, 0.5), (0.1, 0.2, 3), (5e4, 3, 1e-4), (2, 4e5, 2e5), (3e5, 3e5, 1)])
    def test_likelihood_and_slopes_have_all_digits(self, at):
        """Against 50 digits, also where p and q are large and terms of millions cancel."""
        x, money = np.array([1.0, 3, 40]), np.array([0.2, 1.0, 1.003])
        values, slopes = log_likelihood(np.log(at), x, money)
        with mpmath.workdps(50):

            def exact(row, *logs):
                p, q, v = map(mpmath.exp, logs)
                a, z, n = p * x[row], mpmath.mpf(money[row]), mpmath.mpf(x[row])
                lead = mpmath.loggamma(a + q) - mpmath.loggamma(a) - mpmath.loggamma(q) + q * mpmath.log(v)
                found = lead + (a - 1) * mpmath.log(z) + a * mpmath.log(n) - (a + q) * mpmath.log(v + n * z)
                return found - (p**4 + q**4) / 10**24  # the wall against telling rounded amounts apart

            logs = [mpmath.mpf(log) for log in np.log(at)]
            for row in range(3):
                # The logarithms of the parameters have 16 digits: so the sum of p and q has 1e-16 of itself.
                digits = 1e-13 * (1 + x[row] * at[0] + at[1])
                assert values[row] == pytest.approx(float(exact(row, *logs)), rel=1e-12, abs=digits)
                for j in range(3):
                    step = [mpmath.mpf(10) ** -15 * (i == j) for i in range(3)]
                    up, down = ([log + sign * by for log, by in zip(logs, step, strict=True)] for sign in (1, -1))
                    slope = (exact(row, *up) - exact(row, *down)) / (2 * mpmath.mpf(10) ** -15)
                    assert slopes[j, row] == pytest.approx(float(slope), rel=1e-11, abs=digits)


class TestHardToFit:
    @pytest.mark.parametrize("seed", range(10))
    def test_customers_who_do_not_differ(self, seed):
        rng = np.random.default_rng(seed)
        x, p = rng.integers(1, 30, 400), [0.3, 1, 3, 10, 100][seed % 5]
        found = GammaGammaFitter().fit(x, 50 * rng.gamma(p * x) / (p * x))
        assert found.params_["p"] == pytest.approx(p, rel=0.4)
        expected = found.conditional_expected_average_profit(1, np.array([20.0, 100.0]))
        assert expected == pytest.approx([50, 50], rel=0.15)

    def test_all_always_pay_the_same(self):
        found = GammaGammaFitter().fit(np.random.default_rng(1).geometric(0.4, 500), np.full(500, 9.99))
        assert found.conditional_expected_average_profit(np.array([0, 1, 9]), 9.99) == pytest.approx(9.99, rel=1e-4)

    def test_refuses_an_infinite_average(self):
        with pytest.raises(Unanswerable, match=r"q = 0\.\d\d\) that it has no finite average"):
            GammaGammaFitter().fit(np.full(2000, 5), 1 / np.random.default_rng(1).gamma(0.5, size=2000))

    def test_refuses_too_few_customers(self):
        with pytest.raises(
            Unanswerable, match=r"^Only 29 customers had bought again and paid; 30 are needed to fit the Gamma-"
        ):
            GammaGammaFitter().fit([1, 2], [5.0, 6.0], [20, 9])

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            (([1, 2, 0], [5.0, 6.0, 7.0]), r"frequency is not a whole number from 1 on in 1 of 3 rows \(row 2,"),
            (([1, 1.5, 2.5], [5.0, 6.0, 7.0]), r"frequency is not a whole number from 1 on in 2 of 3 rows \(row 1, 2,"),
            (([1, 2, 3], [5.0, np.nan, 7.0]), r"monetary_value is not a number in 1 of 3 rows \(row 1,"),
            (([1, 2, 3], [5.0, np.inf, 7.0]), r"monetary_value is not a number in 1 of 3 rows \(row 1,"),
            (([1, 2, 3], [0.0, 6.0, -7.0]), r"monetary_value is not above 0 in 2 of 3 rows \(row 0, 2,"),
            (([1, 2, 3], [5.0, 6.0, 7.0], [1, -1, 1]), r"weights is negative in 1 of 3 rows \(row 1,"),
            (([1, 2, 3], [5.0, 6.0]), "columns must be of one length"),
        ],
    )
    def test_counts_and_names_bad_rows(self, columns, message):
        with pytest.raises(ValueError, match=message):
            GammaGammaFitter().fit(*columns)


class TestAsInLifetimes:
    def test_expected_spend(self, model):
        own = lifetimes.GammaGammaFitter()
        own.params_ = model.params_
        x, money = np.array([0, 1, 7]), np.array([0.0, 20.0, 90.0])
        expected = own.conditional_expected_average_profit(x, money)
        assert model.conditional_expected_average_profit(x, money) == pytest.approx(expected)
        assert expected[0] == pytest.approx(35.17, abs=0.01)
        assert len(model.conditional_expected_average_profit()) == len(model.data)

    def test_lifetime_value(self, model):
        purchases = lifetimes.BetaGeoFitter()
        purchases.params_ = pd.Series({"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426})
        purchases.predict = purchases.conditional_expected_number_of_purchases_up_to_time
        history = pd.DataFrame({"x": [1, 7], "t_x": [3.0, 30.0], "T": [30.0, 35.0], "money": [20.0, 90.0]})
        columns = [history[name] for name in history]
        found = model.customer_lifetime_value(purchases, *columns, time=1, discount_rate=0.01, freq="W")
        once = purchases.predict(4.345, *columns[:3]) - purchases.predict(0, *columns[:3])
        spend = model.conditional_expected_average_profit(history["x"], history["money"])
        assert found.to_numpy() == pytest.approx((once * spend / 1.01).to_numpy())


class TestTotals:
    """What further purchases will bring together, given what was bought."""

    @pytest.mark.parametrize("further", [1, 4])
    def test_foretells_simulated_totals(self, model, further):
        """Of each group of histories, totals lie below a quantile as often as they should."""
        rng = np.random.default_rng(4)
        p, q, v = model.params_
        x = rng.integers(0, 4, 40_000)
        rate = rng.gamma(q, 1 / v, len(x))
        money = np.where(x > 0, rng.gamma(p * np.maximum(x, 1)) / rate / np.maximum(x, 1), 0.0)
        place = model.total_cdf(rng.gamma(p * further, 1 / rate), further, x, money)
        for group in (x == 0, (x == 1) & (money < 20), (x == 1) & (money > 50), x == 3):
            assert group.sum() > 1500
            assert stats.kstest(place[group], "uniform").pvalue > 1e-3

    def test_quantile_is_the_inverse_also_far_out(self, model):
        share = np.array([1e-9, 0.025, 0.5, 0.975, 1 - 1e-9])
        total = model.total_quantile(share, 3, 2, 40.0)
        assert (np.diff(total) > 0).all()
        assert model.total_cdf(total, 3, 2, 40.0) == pytest.approx(share, rel=1e-9)

    def test_moments_by_integration(self, model):
        mean, variance = model.total_moments(3, 2, 40.0)
        ends = [0, 50, 200, 1000, 20_000, 1e6]

        def above(power):
            each = (
                quad(lambda y: power * y ** (power - 1) * (1 - model.total_cdf(y, 3, 2, 40.0)), *limits)[0]
                for limits in pairwise(ends)
            )
            return sum(each)

        assert mean == pytest.approx(above(1), rel=1e-6)
        assert variance == pytest.approx(above(2) - mean**2, rel=1e-5)
        assert mean == pytest.approx(3 * model.conditional_expected_average_profit(2, 40.0))

    def test_of_no_purchases_nothing(self, model):
        assert model.total_cdf([-1.0, 0.0, 5.0], 0, 2, 40.0).tolist() == [0, 1, 1]
        assert model.total_quantile(0.9, [0, 1], 2, 40.0)[0] == 0
        assert [moment.tolist() for moment in model.total_moments([0], 2, 40.0)] == [[0], [0]]


def valued(x, money, first=30.0, future=1.0, model=None):
    """Return customers as `value` does."""
    frame = pd.DataFrame({"frequency": x, "monetary_value": money, "expected_purchases": future})
    p, q, v = model.params_ if model is not None else (6.0, 4.0, 15.0)
    spend = p * (v + frame["frequency"] * frame["monetary_value"]) / (p * frame["frequency"] + q - 1)
    return frame.assign(purchased=first + frame["frequency"] * frame["monetary_value"], expected_spend=spend)


class TestIndependence:
    @pytest.fixture
    def known(self):
        found = GammaGammaFitter()
        found.params_ = pd.Series({"p": 6.0, "q": 4.0, "v": 15.0})
        return found

    def test_holds_its_level_where_the_model_holds(self, known):
        """Averages of few purchases scatter more: the correlation of logarithms would be taken for real each time."""
        rejected = logs = 0
        for seed in range(40):
            rng = np.random.default_rng(seed)
            x = rng.geometric(0.3, 3000)
            money = simulated(rng, x, *known.params_)
            found = independence(valued(x, money), known)
            assert (found["p_value"] < 0.05) == (found["low"] > 0 or found["high"] < 0)
            rejected += found["p_value"] < 0.05
            logs += stats.pearsonr(np.log(x), np.log(money)).pvalue < 0.05
        assert rejected <= 6
        assert logs > 16  # of 40; 2 are expected by chance

    def test_finds_dependence_and_what_it_changes(self, known):
        rng = np.random.default_rng(2)
        x = rng.integers(0, 12, 30_000)
        money = np.where(x > 0, simulated(rng, np.maximum(x, 1), *known.params_) * (0.5 + 0.1 * x), 0.0)
        future = 0.2 * (1 + x)
        found = independence(valued(x, money, first=30 * (0.5 + 0.1 * x), future=future), known)
        assert found["customers"] == (x > 0).sum()
        assert found["correlation"] > 0.2
        assert found["p_value"] < 1e-12
        again, kept = x > 0, known.params_["p"] * x / (known.params_["p"] * x + known.params_["q"] - 1)
        level = {group: money[np.minimum(x, 7) == group].mean() for group in range(1, 8)}
        level[0] = 30 * 0.5 / (30 * (0.5 + 0.1 * x[again])).mean() * 30
        own = np.array([level[min(count, 7)] for count in x])
        model, other = (future @ (kept * money + (1 - kept) * usual) for usual in (30.0, own))
        assert found["change"] == pytest.approx(other / model - 1, rel=1e-5)

    def test_by_frequency(self, known):
        x, money = [0, 0, 1, 1, 1, 7, 9], [0, 0, 20.0, 30.0, 0.0, 50.0, 60.0]
        first = np.array([10.0, 20, 30, 30, 30, 30, 30])
        found = spend_by_frequency(valued(x, money, first), known)
        assert found["frequency"].tolist() == ["0", "1", "7+"]
        assert found["customers"].tolist() == [2, 3, 2]
        assert found["expected"].tolist() == [30, 30, 30]
        assert found["actual"].tolist() == pytest.approx([30 * 15 / 30, 25, 55])

    def test_order_of_rows_changes_no_digit(self, known):
        rng = np.random.default_rng(2)
        x = rng.geometric(0.3, 5000)
        frame = valued(x, simulated(rng, x, *known.params_).round(2))
        assert independence(frame, known) == independence(frame.sample(frac=1, random_state=1), known)

    def test_who_all_bought_equally_often(self, known):
        found = independence(valued([2, 2, 2], [20.0, 30.0, 40.0]), known)
        assert np.isnan(found["correlation"])
        assert np.isnan(found["p_value"])
        assert np.isfinite(found["change"])


def test_spend_histories_are_of_those_who_paid_again():
    frame = pd.DataFrame(
        {
            "frequency": [0, 1, 1, 1, 2, 2],
            "monetary_value": [0.0, 0.0, 5.0, 5.0, 5.0, 7.0],
            "via": ["a", "a", "a", "b", "b", "b"],
        }
    )
    assert spend_histories(frame).to_numpy().tolist() == [[1, 5, 2], [2, 5, 1], [2, 7, 1]]
    apart = spend_histories(frame, "via")
    assert apart["via"].tolist() == ["a", "b", "b", "b"]
