"""Models with a lifetime of its own reproduce the published estimates, and recover what data were simulated from."""

import datetime as dt
import pickle
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import customers as customer
from crm_analysis import lifetime, open_dataset
from crm_analysis.errors import Unanswerable

SPLIT = dt.date(1997, 9, 30)
HISTORY = ["frequency", "recency", "T"]
FAMILY = [
    lifetime.ParetoNBDFitter,
    lifetime.GammaGompertzNBDFitter,
    lifetime.WeibullGammaNBDFitter,
    lifetime.NBDFitter,
]
TRUE = {
    "Pareto/NBD": (0.55, 10.6, 0.6, 11.7),
    "Gamma-Gompertz/NBD": (0.55, 10.6, 0.6, 5.0, 0.1),
    "Weibull-gamma/NBD": (0.55, 10.6, 0.6, 20.0, 1.6),
    "NBD": (0.55, 10.6),
}


@pytest.fixture(scope="module")
def sample():
    """The 1/10 sample of CDNOW on which the papers estimate, 39 weeks of calibration."""
    path = files("lifetimes") / "datasets" / "cdnow_customers_summary_with_transactions.csv"
    return pd.read_csv(str(path)).set_axis(["id", "frequency", "recency", "T", "monetary_value"], axis=1)


@pytest.fixture(scope="module")
def everyone(cdnow):
    return lifetime.histories(open_dataset(cdnow).customers(SPLIT))


def history(frame):
    return [frame[name].to_numpy() for name in ("frequency", "recency", "T")]


def simulated(fitter, size, seed):
    """Customers of a model with the parameters of TRUE, 26 to 104 weeks old."""
    model = fitter()
    model.params_ = pd.Series(TRUE[fitter.label], fitter.names)
    model.data = pd.DataFrame({"T": np.arange(26 * 7, 104 * 7 + 1) / 7, "weights": 1.0})
    return model, model.generate_new_data(size, seed)


class TestPublishedEstimates:
    def test_pareto_nbd_on_the_sample(self, sample):
        model = lifetime.ParetoNBDFitter().fit(*history(sample))
        assert model.params_.to_numpy() == pytest.approx([0.5533, 10.578, 0.6060, 11.664], rel=0.002)
        assert model.log_likelihood_ == pytest.approx(-9594.976, abs=0.02)

    def test_pareto_nbd_on_all(self, everyone):
        model = lifetime.ParetoNBDFitter().fit_histories(everyone)
        assert model.params_.to_numpy() == pytest.approx([0.59741, 11.5851, 0.52217, 8.826], rel=0.002)
        assert model.log_likelihood_ == pytest.approx(-95415.119, abs=0.02)

    def test_gamma_gompertz_ends_where_pareto_does_on_the_sample(self, sample):
        """The risk of stopping does not rise there: b goes to 0, and the two models are the same."""
        model = lifetime.GammaGompertzNBDFitter().fit(*history(sample))
        assert model.log_likelihood_ == pytest.approx(-9594.98, abs=0.02)
        notes = lifetime.parameters(model).set_index("parameter")["note"]
        assert notes["b"] == notes["beta"] == "hardly bounded by the data"

    def test_weibull_gamma_finds_more_on_the_sample(self, sample):
        model = lifetime.WeibullGammaNBDFitter().fit(*history(sample))
        assert model.log_likelihood_ == pytest.approx(-9592.2, abs=0.1)

    @pytest.mark.parametrize("fitter", FAMILY[1:3])
    def test_a_wider_family_is_never_worse(self, everyone, fitter):
        pareto = lifetime.ParetoNBDFitter().fit_histories(everyone)
        assert fitter().fit_histories(everyone).log_likelihood_ > pareto.log_likelihood_ - 0.05

    def test_information_criteria(self, sample):
        model = lifetime.ParetoNBDFitter().fit(*history(sample))
        assert model.aic_ == pytest.approx(2 * 4 + 2 * 9594.976, abs=0.05)
        assert model.bic_ == pytest.approx(4 * np.log(2357) + 2 * 9594.976, abs=0.05)


class TestPredictions:
    def test_agree_with_lifetimes(self, sample):
        """Lifetimes' own Pareto/NBD, given our estimates."""
        import lifetimes

        ours = lifetime.ParetoNBDFitter().fit(*history(sample))
        theirs = lifetimes.ParetoNBDFitter()
        theirs.params_ = ours.params_
        some = history(sample.iloc[::20])
        for name in ("conditional_probability_alive",):
            assert getattr(ours, name)(*some) == pytest.approx(getattr(theirs, name)(*some), rel=1e-9)
        for t in (0.5, 39.0, 300.0):
            expected = theirs.conditional_expected_number_of_purchases_up_to_time(t, *some)
            assert ours.predict(t, *some) == pytest.approx(expected, rel=1e-9)
            new = theirs.expected_number_of_purchases_up_to_time(t)
            assert ours.expected_number_of_purchases_up_to_time(t) == pytest.approx(new, rel=1e-9)
        few = [column[:5] for column in some]
        for n in (0, 1, 4):
            probable = theirs.conditional_probability_of_n_purchases_up_to_time(n, 39.0, *few)
            found = ours.conditional_probability_of_n_purchases_up_to_time(n, 39.0, *few)
            assert found == pytest.approx(probable, rel=1e-6)

    @pytest.mark.parametrize("fitter", FAMILY, ids=lambda fitter: fitter.label)
    def test_distribution_has_the_expected_mean(self, fitter):
        model, _ = simulated(fitter, 1, 0)
        rows = [[0, 2, 10, 50], [0, 20.0, 30.0, 90.0], [38.0, 38.0, 40.0, 91.0]]
        found = model.conditional_distribution(52.0, *rows, most=400)
        assert found.sum(axis=0) == pytest.approx(1, abs=1e-8)
        assert np.arange(401) @ found == pytest.approx(model.predict(52.0, *rows), rel=1e-7)

    @pytest.mark.parametrize("fitter", FAMILY, ids=lambda fitter: fitter.label)
    def test_against_simulated_lives(self, fitter):
        """Of simulated customers alike in what is known of them, the share alive and the mean of later purchases."""
        model, found = simulated(fitter, 100_000, 1)
        alive = model.conditional_probability_alive(*history(found))
        group = np.digitize(alive, [0.2, 0.4, 0.6, 0.8])
        for part in np.unique(group):
            at = group == part
            error = np.sqrt(alive[at] @ (1 - alive[at])) / at.sum()
            assert abs(found["alive"][at].mean() - alive[at].mean()) < 4 * error + 1e-12
        young = found[found["T"] < 27]
        expected = model.expected_number_of_purchases_up_to_time(young["T"].to_numpy())
        assert young["frequency"].mean() == pytest.approx(
            expected.mean(), abs=4 * young["frequency"].std() / np.sqrt(len(young))
        )

    def test_the_plots_of_lifetimes_take_the_model(self, sample):
        import matplotlib

        matplotlib.use("Agg")
        from lifetimes import plotting

        model = lifetime.WeibullGammaNBDFitter().fit(*history(sample))
        for plot in (
            plotting.plot_frequency_recency_matrix,
            plotting.plot_probability_alive_matrix,
            plotting.plot_period_transactions,
        ):
            assert plot(model).has_data()

    def test_can_be_stored(self, sample):
        model = lifetime.ParetoNBDFitter().fit(*history(sample))
        again = pickle.loads(pickle.dumps(model))
        assert again.standard_errors_.to_dict() == model.standard_errors_.to_dict()
        assert again.predict(9.0, 2, 3, 9) == model.predict(9.0, 2, 3, 9)


class TestUncertainty:
    @pytest.mark.parametrize("fitter", FAMILY, ids=lambda fitter: fitter.label)
    def test_recovers_its_parameters(self, fitter):
        """Of all parameters of 6 fits on 4,000 simulated customers, few are 3 standard errors away."""
        off = []
        for seed in range(6):
            model, found = simulated(fitter, 4_000, seed)
            fitted = fitter().fit(*history(found))
            sizes = np.sqrt(np.diag(fitted._log_variance))
            off += list(np.abs(np.log(fitted.params_ / model.params_)) / sizes)
        assert np.mean(np.array(off) > 3) <= 0.05
        assert np.mean(np.array(off) > 0.5) > 0.3  # the errors are not exaggerated either

    def test_intervals_never_go_below_0(self, sample):
        model = lifetime.GammaGompertzNBDFitter().fit(*history(sample))
        found = model.confidence_intervals_
        assert (found["lower 95% bound"] > 0).all()
        assert (found["lower 95% bound"] < model.params_).all()
        assert (found["upper 95% bound"] > model.params_).all()

    def test_neighbours_have_mean_and_covariance_of_the_estimates(self, sample):
        model = lifetime.ParetoNBDFitter().fit(*history(sample))
        places = np.array([np.log(other.params_) for other in model.neighbours()])
        assert len(places) == 8
        assert places.mean(axis=0) == pytest.approx(np.log(model.params_).to_numpy())
        held = np.linalg.inv(np.linalg.inv(model._log_variance) + np.eye(4) / 4)
        assert np.cov(places.T, bias=True) == pytest.approx(held, rel=1e-6)


class TestData:
    def test_weights_are_repeated_rows(self, sample):
        grouped = sample.groupby(["frequency", "recency", "T"], as_index=False).size()
        each = lifetime.ParetoNBDFitter().fit(*history(sample))
        together = lifetime.ParetoNBDFitter().fit(*history(grouped), weights=grouped["size"])
        assert together.params_.to_dict() == each.params_.to_dict()

    @settings(max_examples=5, deadline=None)
    @given(st.integers(0, 2**32))
    def test_the_order_of_rows_never_matters(self, sample, seed):
        order = np.random.default_rng(seed).permutation(len(sample))
        model = lifetime.ParetoNBDFitter().fit(*history(sample.iloc[order]))
        assert model.params_.to_dict() == lifetime.ParetoNBDFitter().fit(*history(sample)).params_.to_dict()

    @pytest.mark.parametrize(("unit", "per_week"), [("days", 7.0), ("years", 7 / 365.25)])
    def test_the_unit_of_time_does_not_matter(self, sample, unit, per_week):
        frequency, recency, T = history(sample)
        weeks = lifetime.ParetoNBDFitter().fit(frequency, recency, T)
        other = lifetime.ParetoNBDFitter().fit(frequency, recency * per_week, T * per_week)
        power = np.array([0, 1, 0, 1])
        assert other.params_.to_numpy() == pytest.approx(weeks.params_.to_numpy() * per_week**power, rel=1e-5)
        rescaled = other.log_likelihood_ + frequency.sum() * np.log(per_week)
        assert rescaled == pytest.approx(weeks.log_likelihood_, abs=1e-4)

    def test_histories_of_nobody_are_left_out(self, sample):
        weights = np.ones(len(sample))
        weights[::2] = 0
        half = lifetime.ParetoNBDFitter().fit(*history(sample), weights=weights)
        assert half.params_.to_dict() == lifetime.ParetoNBDFitter().fit(*history(sample.iloc[1::2])).params_.to_dict()

    def test_customers_of_today_do_no_harm(self, sample):
        """One who came on the last day (T = 0) tells nothing."""
        newest = pd.DataFrame({"frequency": 0, "recency": 0.0, "T": [0.0] * 9})
        before = lifetime.ParetoNBDFitter().fit(*history(sample))
        after = lifetime.ParetoNBDFitter().fit(*history(pd.concat([sample, newest])))
        assert after.params_.to_numpy() == pytest.approx(before.params_.to_numpy(), rel=1e-4)
        assert after.log_likelihood_ == pytest.approx(before.log_likelihood_, abs=1e-3)
        assert after.conditional_probability_alive(0, 0, 0) == pytest.approx(1)

    @pytest.mark.parametrize(
        ("column", "wrong", "message"),
        [
            ("frequency", np.nan, "frequency is not a number in 3 of 2,357 rows"),
            ("frequency", 1.5, "frequency is not a whole number from 0 on in 3"),
            ("frequency", -1, "frequency is not a whole number from 0 on in 3"),
            ("frequency", 0, "frequency is 0, but recency is not in 3"),
            ("recency", -0.1, "recency is negative in 3"),
            ("recency", 99.0, "recency is above T in 3"),
            ("T", np.inf, "T is not a number in 3"),
            ("T", -1.0, "T is negative in 3"),
        ],
    )
    def test_impossible_histories_are_counted_and_named(self, sample, column, wrong, message):
        frame = sample[sample.columns[1:4]].astype(float)
        rows = frame.index[frame["frequency"] > 0][[0, 5, 9]]
        frame.loc[rows, column] = wrong
        named = ", ".join(map(str, rows))
        with pytest.raises(ValueError, match=rf"^{message}.*\(row {named}, counted from 0\)$"):
            lifetime.ParetoNBDFitter().fit(*history(frame))

    @pytest.mark.parametrize("fitter", FAMILY, ids=lambda fitter: fitter.label)
    def test_too_few_who_bought_again(self, fitter):
        with pytest.raises(Unanswerable, match=r"^Only 0 customers had bought again; 30 are needed to fit the"):
            fitter().fit([0] * 500, [0] * 500, [30] * 500)
        with pytest.raises(Unanswerable, match=r"^Only 1 customer had bought again"):
            fitter().fit([3], [20], [30])
        with pytest.raises(Unanswerable, match=r"^Only 0 customers had bought again"):
            fitter().fit([3], [20], [30], weights=[0])

    @pytest.mark.parametrize("fitter", FAMILY, ids=lambda fitter: fitter.label)
    def test_customers_who_are_alike(self, fitter):
        """All buy at one rate and none stops: the data bound neither; what is expected is right all the same."""
        rng = np.random.default_rng(1)
        T = rng.uniform(26, 104, 3000)
        frequency = rng.poisson(0.2 * T)
        recency = np.where(frequency > 0, T * rng.random(3000) ** (1 / np.maximum(frequency, 1)), 0)
        model = fitter().fit(frequency, recency, T)
        assert "hardly bounded by the data" in set(lifetime.parameters(model)["note"])
        assert model.predict(26.0, frequency, recency, T).mean() == pytest.approx(5.2, rel=0.02)


class TestCovariates:
    def test_recovers_coefficients(self):
        """Firms buy twice as often and stop half as often as persons."""
        rng = np.random.default_rng(3)
        firm = rng.integers(0, 2, 20_000)
        T = rng.uniform(26, 104, 20_000)
        rate = rng.gamma(0.55, 1 / 10.6, 20_000) * 2.0**firm
        until = np.minimum(rng.exponential(11.7 / rng.gamma(0.6, 1, 20_000) * 2.0**firm), T)
        frequency = rng.poisson(rate * until)
        recency = np.where(frequency > 0, until * rng.random(20_000) ** (1 / np.maximum(frequency, 1)), 0)
        known = pd.DataFrame({"firm": firm})
        model = lifetime.ParetoNBDFitter().fit(frequency, recency, T, covariates=known)
        truth = [*np.log([0.55, 10.6, 0.6, 11.7]), np.log(2), -np.log(2)]
        off = (model._at - truth) / np.sqrt(np.diag(model._log_variance))
        off[[1, 3]] += np.log(model._scale) / np.sqrt(np.diag(model._log_variance))[[1, 3]]
        assert np.abs(off).max() < 3
        assert list(model.params_.index[4:]) == ["rate: firm", "dropout: firm"]
        assert model.standard_errors_["rate: firm"] < 0.1
        persons = model.predict(52.0, [3], [20.0], [30.0], covariates=pd.DataFrame({"firm": [0]}))
        firms = model.predict(52.0, [3], [20.0], [30.0], covariates=pd.DataFrame({"firm": [1]}))
        assert firms[0] > persons[0]
        with pytest.raises(ValueError, match="the model has covariates"):
            model.predict(52.0, 3, 20.0, 30.0)
        shrunk = lifetime.ParetoNBDFitter(penalizer_coef=10.0).fit(frequency, recency, T, covariates=known)
        assert np.abs(shrunk.params_[4:]).max() < 0.02

    def test_a_covariate_without_meaning_changes_nothing(self, sample):
        plain = lifetime.ParetoNBDFitter().fit(*history(sample))
        noise = pd.DataFrame({"noise": np.arange(len(sample)) % 2})
        model = lifetime.ParetoNBDFitter().fit(*history(sample), covariates=noise)
        assert model.log_likelihood_ - plain.log_likelihood_ == pytest.approx(1, abs=3)
        assert (np.abs(model.params_[4:]) < 3 * model.standard_errors_[4:]).all()


class TestSeason:
    AS_OF = dt.date(2026, 3, 31)
    LEVELS = pd.Series([0.8, 0.7, 0.9, 1, 1, 1, 0.9, 0.8, 1, 1.1, 1.4, 2.2], range(1, 13))

    @pytest.fixture(scope="class")
    @classmethod
    def log(cls):
        """Purchases day by day of 3,000 customers over three years, at rates that rise before Christmas."""
        rng = np.random.default_rng(5)
        size, season = 6_000, lifetime.Season(cls.LEVELS, cls.AS_OF)
        age = rng.integers(7, 3 * 365, size)
        rate = rng.gamma(0.6, 1 / 10.0, size)
        stop = np.minimum(rng.exponential(25 * 7 / rng.gamma(0.6, 1, size)), age).astype(int)
        customer_id = np.repeat(np.arange(size), stop)
        day = np.arange(len(customer_id)) - np.repeat(np.cumsum(stop) - stop, stop) + 1
        come = np.repeat(age, stop)
        weeks = season.passed(come / 7, day / 7) - season.passed(come / 7, (day - 1) / 7)
        bought = rng.random(len(day)) < -np.expm1(-rate[customer_id] * weeks)
        frame = pd.DataFrame(
            {
                "customer_id": np.concatenate([np.arange(size), customer_id[bought]]),
                "date": pd.Timestamp(cls.AS_OF)
                + pd.to_timedelta(np.concatenate([-age, (day - come)[bought]]), unit="D"),
                "amount": 1.0,
            }
        )
        return frame.assign(date=frame["date"].dt.date)

    @pytest.fixture(scope="class")
    @classmethod
    def histories(cls, log):
        return lifetime.histories(customer.summary(log, as_of=cls.AS_OF))

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, log, histories):
        return lifetime.seasonal(log, histories, cls.AS_OF, lifetime.ParetoNBDFitter)

    def test_recovers_the_levels(self, model):
        true = lifetime.Season(self.LEVELS, self.AS_OF).levels
        assert model.season.levels.to_numpy() == pytest.approx(true.to_numpy(), rel=0.2)
        assert np.corrcoef(model.season.levels, true)[0, 1] > 0.97

    def test_is_more_probable_than_a_level_year(self, model, histories):
        plain = lifetime.ParetoNBDFitter().fit_histories(histories)
        assert model.aic_ < plain.aic_ - 200
        assert model.aic_ == pytest.approx(2 * (4 + 11) - 2 * model.log_likelihood_)

    def test_forecasts_the_month(self, model, histories):
        """December brings more than its share of the year, and January less."""
        rows = history(histories)
        by = [model.predict(weeks, *rows) @ histories["customers"] for weeks in (0.0, 244 / 7, 275 / 7, 306 / 7)]
        december, january = np.diff(by)[1:]
        assert 0.3 < january / december < 0.5  # levels .8 and 2.2, smoothed over a month

    def test_level_rates_change_nothing(self, histories):
        level = lifetime.Season(pd.Series(1.0, range(1, 13)), self.AS_OF)
        plain = lifetime.ParetoNBDFitter().fit_histories(histories)
        same = lifetime.ParetoNBDFitter(season=level).fit_histories(histories)
        assert same.params_.to_numpy() == pytest.approx(plain.params_.to_numpy(), rel=1e-4)
        assert same.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-3)
        rows = history(histories.iloc[::40])
        assert same.predict(40.0, *rows) == pytest.approx(plain.predict(40.0, *rows), rel=1e-4)
        ours, theirs = (m.conditional_distribution(40.0, *rows, most=9) for m in (same, plain))
        assert ours == pytest.approx(theirs, abs=1e-5)

    def test_likelihood_against_plain_integration(self):
        from scipy.integrate import quad
        from scipy.special import gammaln

        season = lifetime.Season(self.LEVELS, self.AS_OF)
        r, alpha, s, beta = 0.6, 10.0, 0.6, 25.0
        model = lifetime.ParetoNBDFitter(season=season)
        model._scale = 1.0
        for x, t_x, T in [(0, 0.0, 100.0), (3, 20.0, 90.0), (12, 51.0, 52.0), (2, 10.0, 150.0)]:

            def power(y, x=x, T=T):
                return (alpha + float(season.passed(T, np.array(y)))) ** -(r + x)

            stopped = quad(lambda y: s / beta * (1 + y / beta) ** (-s - 1) * power(y), t_x, T, limit=2000, epsabs=0)[0]
            want = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + np.log((1 + T / beta) ** -s * power(T) + stopped)
            arrays = (np.array([float(value)]) for value in (x, t_x, T))
            model.season = season
            got = model._likelihood(np.log([r, alpha, s, beta]), *arrays)[0][0]
            assert got == pytest.approx(want, abs=1e-4)

    def test_needs_two_years(self, log, histories):
        with pytest.raises(Unanswerable, match=r"^A season needs two years of purchases; these span 700 days\.$"):
            lifetime.seasonal(log, histories[histories["T"] <= 100], self.AS_OF, lifetime.ParetoNBDFitter)

    @pytest.mark.parametrize("wrong", [pd.Series(1.0, range(12)), pd.Series(0.0, range(1, 13))])
    def test_refuses_levels_that_cannot_be(self, wrong):
        with pytest.raises(ValueError, match="levels"):
            lifetime.Season(wrong, self.AS_OF)


class TestPredictionsOfWhatCannotBe:
    @pytest.mark.parametrize(
        ("history", "message"),
        [
            ((1, 50, 20), "recency is above T in 1 of 1 rows"),
            ((-1, 0, 20), "frequency is not a number from 0 on"),
            ((1, np.nan, 20), "recency is not a number from 0 on"),
        ],
    )
    @pytest.mark.parametrize("fitter", [lifetime.ParetoNBDFitter, lifetime.NBDFitter, lifetime.BetaGeoFitter])
    def test_are_refused(self, sample, fitter, history, message):
        model = fitter().fit(*[sample[name].to_numpy() for name in ("frequency", "recency", "T")])
        for ask in (model.conditional_probability_alive, model.conditional_probability_of_silence):
            with pytest.raises(ValueError, match=message):
                ask(*history)

    def test_the_past_is_no_horizon(self, sample):
        model = lifetime.ParetoNBDFitter().fit(*history(sample))
        with pytest.raises(ValueError, match="t must be 0 or more"):
            model.predict(-1.0, 1, 5, 20)


def test_attributes_of_histories_are_covariates(sample):
    rows = sample.assign(customers=1, even=sample["id"] % 2)[[*HISTORY, "even", "customers"]]
    model = lifetime.ParetoNBDFitter().fit_histories(rows)
    assert model.attributes == ["even"]
    with pytest.raises(ValueError, match="the covariates lack even"):
        model.predict(9.0, 1, 5.0, 20.0, covariates=pd.DataFrame({"odd": [1]}))


def test_extreme_lifetimes_do_not_exhaust_memory():
    """Weibull-gamma with an infinite risk at 0, and with one that is a step."""
    for parameters in ([1.4515, 0.4834, 0.00155, 0.789, 0.0555], [0.5, 10.0, 1e-4, 2.3, 2800.0]):
        values, slopes = lifetime.WeibullGammaNBDFitter.log_likelihoods(parameters, [0, 3], [0, 2.0], [1, 30.0])
        assert np.isfinite(values).all()
        assert np.isfinite(slopes).all()
