"""BG/NBD and MBG/NBD reproduce the published estimates, and what is told of customers is what their models imply."""

import datetime as dt
from importlib.resources import files

import matplotlib.pyplot as plt
import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from autograd import value_and_grad

from crm_analysis import open_dataset
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.fitting import lifetimes, parameters
from crm_analysis.lifetime.geometric import BetaGeoFitter, ModifiedBetaGeoFitter
from crm_analysis.lifetime.histories import histories

BOTH = pytest.mark.parametrize("fitter", [BetaGeoFitter, ModifiedBetaGeoFitter])
THEIRS = {BetaGeoFitter: lifetimes.BetaGeoFitter, ModifiedBetaGeoFitter: lifetimes.ModifiedBetaGeoFitter}


@pytest.fixture(scope="module")
def sample():
    """Frequency, recency and T of the 1/10 sample of CDNOW on which the BG/NBD paper estimates, and the spend."""
    frame = pd.read_csv(files("lifetimes") / "datasets" / "cdnow_customers_summary_with_transactions.csv", index_col=0)
    return [frame[name] for name in frame]


@pytest.fixture(scope="module")
def fitted(sample):
    return {fitter: fitter().fit(*sample[:3]) for fitter in THEIRS}


def model_of(fitter, r, alpha, a, b):
    model = fitter()
    model.params_ = pd.Series({"r": r, "alpha": alpha, "a": a, "b": b})
    return model


def simulate(fitter, r, alpha, a, b, T, t):
    """Return x and t_x until T, the purchases in the t after, and who was alive at T: purchase by purchase."""
    rng = np.random.default_rng(3)
    rate, p, clock = rng.gamma(r, 1 / alpha, len(T)), rng.beta(a, b, len(T)), np.zeros(len(T))
    x, t_x, later = np.zeros(len(T), int), np.zeros(len(T)), np.zeros(len(T), int)
    alive = rng.random(len(T)) > p if fitter is ModifiedBetaGeoFitter else np.ones(len(T), bool)
    buying = np.flatnonzero(alive)
    while len(buying):
        clock[buying] += rng.exponential(size=len(buying)) / rate[buying]
        buying = buying[clock[buying] <= T[buying] + t]
        stays = rng.random(len(buying)) > p[buying]
        before = clock[buying] <= T[buying]
        x[buying[before]] += 1
        t_x[buying[before]] = clock[buying[before]]
        later[buying[~before]] += 1
        alive[buying[before & ~stays]] = False
        buying = buying[stays]
    return x, t_x, later, alive


class TestEstimates:
    def test_as_published(self, fitted):
        """Fader, Hardie and Lee (2005), their spreadsheet's example (brucehardie.com/notes/004), and BTYDplus."""
        model = fitted[BetaGeoFitter]
        assert model.params_.to_list() == pytest.approx([0.2426, 4.4136, 0.79292, 2.42589], rel=2e-3)
        assert model.log_likelihood_ == pytest.approx(-9582.429, abs=0.02)
        assert model.predict(39, 2, 30.43, 38.86) == pytest.approx(1.226, abs=1e-3)
        assert fitted[ModifiedBetaGeoFitter].params_.to_list() == pytest.approx([0.525, 6.183, 0.891, 1.614], abs=1e-3)

    def test_all_customers_of_cdnow(self, cdnow):
        model = BetaGeoFitter().fit_histories(histories(open_dataset(cdnow).customers(dt.date(1997, 9, 30))))
        assert model.data["weights"].sum() == 23570
        assert model.log_likelihood_ == pytest.approx(-95368.444, abs=0.02)

    @BOTH
    def test_log_likelihood_and_slopes_are_those_of_lifetimes(self, fitter):
        rng = np.random.default_rng(0)
        theirs = value_and_grad(THEIRS[fitter]._negative_log_likelihood)
        rows = [(0, 0, 0), (0, 0, 30), (1, 0.5, 30), (1, 30, 30), (7, 29, 30), (120, 3, 500), (500, 90, 91)]
        for x, t_x, T in rows:
            at = rng.normal(0, 1.5, 4)
            loss, slope = theirs(at, np.array([x]), np.array([t_x]), np.array([T]), np.ones(1), 0.0)
            values, slopes = fitter.log_likelihoods(np.exp(at), x, t_x, T)
            assert values[0] == pytest.approx(-loss, rel=1e-9, abs=1e-12)
            assert slopes[:, 0] == pytest.approx(-slope, rel=1e-8, abs=1e-9)

    @BOTH
    def test_weights_are_repeated_rows_in_any_order(self, fitter, sample):
        history = pd.concat(sample[:3], axis=1)
        distinct = history.value_counts(sort=False).rename("weights").reset_index().sample(frac=1, random_state=1)
        each = fitter().fit(*history.sample(frac=1, random_state=2).to_numpy().T)
        together = fitter().fit(*distinct.to_numpy().T)
        pd.testing.assert_frame_equal(each.data, together.data)
        pd.testing.assert_series_equal(each.params_, together.params_, rtol=1e-12)
        assert len(each.data) < len(history)

    @BOTH
    def test_the_unit_of_time_does_not_matter(self, fitter, sample, fitted):
        x, t_x, T = sample[:3]
        seconds = fitter().fit(x, t_x * 604800, T * 604800)
        assert (seconds.params_ / fitted[fitter].params_).to_list() == pytest.approx([1, 604800, 1, 1], rel=1e-4)
        more = x.sum() * np.log(604800)
        assert seconds.log_likelihood_ == pytest.approx(fitted[fitter].log_likelihood_ - more, rel=1e-9)

    @BOTH
    def test_penalty_is_that_of_lifetimes(self, fitter, sample):
        ours, theirs = (one(penalizer_coef=0.01).fit(*sample[:3]) for one in (fitter, THEIRS[fitter]))
        assert ours.params_.to_list() == pytest.approx(theirs.params_.to_list(), rel=1e-4)
        assert ours.log_likelihood_ == pytest.approx(ours.log_likelihoods(ours.params_, *sample[:3])[0].sum())

    @BOTH
    def test_simulated_customers_give_their_parameters_back(self, fitter):
        truth = [0.8, 6.0, 0.7, 1.8]
        T = np.random.default_rng(4).uniform(20, 100, 20_000)
        x, t_x, _, _ = simulate(fitter, *truth, T, 0.0)
        model = fitter().fit(x, t_x, T)
        relative = model.standard_errors_ / model.params_
        assert (relative < 0.2).all()
        assert (np.abs(np.log(model.params_ / truth)) < 3.5 * relative).all()

    @BOTH
    def test_customers_who_are_alike_have_finite_predictions(self, fitter):
        """All buy about every 14 days, and nobody stops: of a and b only that p is about 0 is known."""
        age = np.random.default_rng(1).integers(40, 100, 500)
        history = [age // 2, age // 2 * 2.0, age + 1.0]
        model, usual = fitter().fit(*history), 26 * history[0].sum() / history[2].sum()
        assert list(parameters(model)["note"]) == ["hardly bounded by the data"] * 4
        assert model.predict(26.0, *history) == pytest.approx(np.full(500, usual), rel=1e-4)
        assert model.expected_number_of_purchases_up_to_time([0.0, 26.0]) == pytest.approx([0.0, usual], rel=1e-4)
        assert model.conditional_distribution(26.0, *history, most=60).sum(axis=0) == pytest.approx(np.ones(500))

    @BOTH
    def test_histories_that_cannot_be_are_refused(self, fitter):
        right = {"frequency": [1, 2, 1], "recency": [3.0, 4.0, 5.0], "T": [9.0, 9.0, 9.0], "weights": [50, 60, 70]}
        for name, wrong, message in [
            ("recency", [3.0, -1.0, 5.0], r"recency is negative in 1 of 3 rows \(row 1, counted from 0\)"),
            ("frequency", [1, 2, np.nan], r"frequency is not a number in 1 of 3 rows \(row 2, counted"),
            ("T", [2.0, 9.0, 4.0], r"recency is above T in 2 of 3 rows \(row 0, 2, counted"),
        ]:
            with pytest.raises(ValueError, match=message):
                fitter().fit(**right | {name: wrong})
        with pytest.raises(Unanswerable, match=rf"^Only 29 customers .* to fit the {fitter.label} model"):
            fitter().fit([0, 1], [0.0, 3.0], [9.0, 9.0], [900, 29])


class TestPredictions:
    @BOTH
    def test_agree_with_lifetimes(self, fitter, sample, fitted):
        model, theirs, history = fitted[fitter], THEIRS[fitter], sample[:3]
        alive = theirs.conditional_probability_alive(model, *history)
        assert model.conditional_probability_alive(*history) == pytest.approx(alive, rel=1e-12)
        for t in (1.0, 39.0, 500.0):
            expected = theirs.conditional_expected_number_of_purchases_up_to_time(model, t, *history)
            found = model.conditional_expected_number_of_purchases_up_to_time(t, *history)
            assert found == pytest.approx(expected.to_numpy(), rel=1e-9)
            new = theirs.expected_number_of_purchases_up_to_time(model, t)
            assert model.expected_number_of_purchases_up_to_time(t) == pytest.approx(new, rel=1e-9)
        for n in (0, 1, 9):
            expected = theirs.probability_of_n_purchases_up_to_time(model, 30.0, n)
            assert model.probability_of_n_purchases_up_to_time(30.0, n) == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("a", [0.02, 1.0, 2.5, 300.0])
    def test_expectation_has_nine_digits_where_lifetimes_has_none(self, a):
        """All numbers of purchases, wherever the hypergeometric function is undefined, overflows or cancels."""
        r, alpha = 0.24, 4.4
        for b in (0.03, 2.4, 900.0):
            model = model_of(BetaGeoFitter, r, alpha, a, b)
            for x in (0, 1, 40, 500):
                for t in (1e-3, 26.0, 5e4):
                    with mp.workdps(60):
                        near = mp.mpf(a) + mp.mpf("1e-25")  # the formula is 0/0 at a = 1
                        c, ratio = near + b + x - 1, t / (mp.mpf(alpha) + 50)
                        expected = c / (near - 1) * (1 - mp.hyp2f1(mp.mpf(r) + x, near - 1, c, -ratio))
                    found = model.predict(t, x, 50.0, 50.0) / model.conditional_probability_alive(x, 50.0, 50.0)[0]
                    assert found == pytest.approx(float(expected), rel=1e-9), (b, x, t)

    @BOTH
    def test_distribution_is_what_simulated_customers_do(self, fitter):
        """Over all who bought so often, the mean of the probabilities is the share who then bought n times."""
        truth, T, t = (0.8, 6.0, 0.7, 1.8), np.full(300_000, 30.0), 25.0
        x, t_x, later, alive = simulate(fitter, *truth, T, t)
        model = model_of(fitter, *truth)
        for bought in (0, 1, 4):
            of = x == bought
            history = x[of], t_x[of], T[of]
            probability = model.conditional_distribution(t, *history, most=5).mean(axis=1)
            share, error = np.bincount(later[of])[:6] / of.sum(), np.sqrt(probability / of.sum())
            assert (np.abs(share - probability) < 4 * error).all()
            assert (error < 0.1 * probability).all()
            now = model.conditional_probability_alive(*history).mean()
            assert alive[of].mean() == pytest.approx(now, abs=2 / np.sqrt(of.sum()))

    @BOTH
    def test_mean_of_the_distribution_is_the_expectation(self, fitter):
        model = model_of(fitter, 0.5, 4.0, 0.7, 2.0)
        history = [np.array([0, 1, 6, 500]), np.array([0.0, 9.0, 20.0, 39.9]), np.array([40.0, 40.0, 20.0, 40.0])]
        found = model.conditional_distribution(26.0, *history, most=5000)
        assert found.sum(axis=0) == pytest.approx(np.ones(4), rel=1e-10)
        assert np.arange(5001) @ found == pytest.approx(model.predict(26.0, *history), rel=1e-9)
        one = model.conditional_probability_of_n_purchases_up_to_time(3, 26.0, *history)
        assert one == pytest.approx(found[3], rel=1e-12)
        assert list(model.conditional_distribution(0.0, 3, 9.0, 40.0, most=2)[:, 0]) == [1, 0, 0]

    def test_times_and_histories_broadcast(self, fitted):
        table = fitted[BetaGeoFitter].predict(np.array([[10.0], [20.0]]), [1, 2, 3], 9.0, 30.0)
        assert table.shape == (2, 3)
        assert table[1, 2] == fitted[BetaGeoFitter].predict(20.0, 3, 9.0, 30.0)


class TestLifetimesInterface:
    @BOTH
    def test_plots_of_lifetimes(self, fitter, fitted):
        from lifetimes import plotting

        model = fitted[fitter]
        assert isinstance(model, THEIRS[fitter])
        image = plotting.plot_probability_alive_matrix(model, 5, 20).images[-1].get_array()
        assert image[12, 3] == pytest.approx(model.conditional_probability_alive(3, 12.0, 20.0)[0])
        image = plotting.plot_frequency_recency_matrix(model, 39, 5, 20).images[-1].get_array()
        assert image[12, 3] == pytest.approx(model.predict(39, 3, 12, 20))
        bars = plotting.plot_period_transactions(model).patches
        assert sum(bar.get_height() for bar in bars) > len(model.data)
        plt.close("all")

    @BOTH
    def test_customer_lifetime_value_of_lifetimes(self, fitter, sample, fitted):
        *history, money = sample
        value = lifetimes.GammaGammaFitter.customer_lifetime_value
        spend = lifetimes.GammaGammaFitter().fit(history[0][history[0] > 0], money[history[0] > 0])
        found = value(spend, fitted[fitter], *history, money, time=2, discount_rate=0.1, freq="M")
        first, both = (fitted[fitter].predict(t, *history) for t in (1, 2))
        expected = spend.conditional_expected_average_profit(history[0], money) * (first / 1.1 + (both - first) / 1.21)
        assert found.to_numpy() == pytest.approx(expected.to_numpy())

    @BOTH
    def test_generated_customers_follow_the_model(self, fitter, fitted):
        model = fitted[fitter]
        made = model.generate_new_data(200_000, seed=5)
        ages = model.expected_number_of_purchases_up_to_time(made["T"])
        assert made["frequency"].mean() == pytest.approx(ages.mean(), rel=0.02)
        history = made[["frequency", "recency", "T"]].to_numpy().T
        alive = model.conditional_probability_alive(*history)
        for group in (made["recency"] < 5, made["recency"] > 20):
            assert made["alive"][group].mean() == pytest.approx(alive[group].mean(), abs=0.01)
        again = fitter().fit(*history)
        assert (np.abs(again.params_ / model.params_ - 1) < 4 * again.standard_errors_ / again.params_).all()
        assert model.generate_new_data(50).equals(model.generate_new_data(50, seed=0))
