"""Prediction intervals contain what simulated customers do as often as they say, and follow from closed forms.

What is simulated here shares no code with the package. `python tests/test_intervals.py 200` fits as many data sets and
prints how often the intervals for the total and for groups of 20 contain what happened (the suite fits a few).
"""

import copy
import itertools
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime import NBDFitter, ParetoNBDFitter, WeibullGammaNBDFitter, intervals
from crm_analysis.lifetime.geometric import BetaGeoFitter
from crm_analysis.lifetime.intervals import (
    chance_above,
    purchase_intervals,
    total_interval,
    total_value_interval,
    value_intervals,
)
from crm_analysis.lifetime.process import PurchaseProcess

R, ALPHA, S, BETA = 0.5533, 10.578, 0.606, 11.66  # the Pareto/NBD on CDNOW
P, Q, V = 6.25, 3.74, 15.44  # and the Gamma-Gamma
WEEKS = 52.0
HISTORY = ["frequency", "recency", "T"]


def simulate(seed, size, ages=(52, 104)):
    """Return customers' histories and, over the next 52 weeks, how much they buy (`future`) and spend (`spent`)."""
    rng = np.random.default_rng(seed)
    age = rng.integers(7 * ages[0], 7 * ages[1], size) / 7
    rate, life = rng.gamma(R, 1 / ALPHA, size), rng.exponential(size=size) / rng.gamma(S, 1 / BETA, size)
    active = np.minimum(life, age)
    x, future = rng.poisson(rate * active), rng.poisson(rate * np.clip(life - age, 0, WEEKS))
    recency = np.where(x > 0, active * rng.random(size) ** (1 / np.maximum(x, 1)), 0)
    unit = 1 / rng.gamma(Q, 1 / V, size)
    monetary_value = rng.gamma(P * np.maximum(x, 1)) * unit / np.maximum(x, 1)
    spent = rng.gamma(P * np.maximum(future, 1)) * unit * (future > 0)
    columns = [x, recency, age, monetary_value * (x > 0), future, spent]
    return pd.DataFrame(dict(zip([*HISTORY, "monetary_value", "future", "spent"], columns, strict=True)))


def fitted(model, customers):
    return model.fit(*(customers[name] for name in HISTORY))


def certain(model, **parameters):
    """Return a model whose parameters are known without doubt."""
    sure = copy.copy(model)
    sure.params_ = pd.Series(parameters) if parameters else model.params_
    sure.neighbours = lambda: [sure]
    return sure


class Spend:
    """A Gamma-Gamma model with given parameters, and perhaps uncertain ones."""

    def __init__(self, p=P, q=Q, v=V, others=()):
        self.params_ = pd.Series({"p": p, "q": q, "v": v})
        self.neighbours = lambda: [Spend(*other) for other in others] or [self]


class Exactly:
    """A purchase model by which everybody makes n purchases."""

    params_, attributes = pd.Series({"n": 0.0}), ()
    known = PurchaseProcess.known

    def __init__(self, n):
        self.n = n

    def neighbours(self):
        return [self]

    def conditional_expected_number_of_purchases_up_to_time(self, t, frequency, recency, T):
        return np.full(len(T), float(self.n))

    def conditional_distribution(self, t, frequency, recency, T, *, most):
        return np.repeat(np.arange(most + 1)[:, None] == self.n, len(T), axis=1).astype(float)


@pytest.fixture(scope="module")
def customers():
    return simulate(1, 6000)


@pytest.fixture(scope="module")
def model(customers):
    return fitted(ParetoNBDFitter(), customers)


@pytest.fixture(scope="module")
def known(model):
    """The model with the parameters that the customers were simulated with."""
    return certain(model, r=R, alpha=ALPHA, s=S, beta=BETA)


@pytest.fixture(scope="module")
def nbd(customers):
    return fitted(NBDFitter(), customers)


def negative_binomials(model, rows, weeks=WEEKS):
    """Return a negative binomial distribution for each parameter set (a row) of an NBD model and each history."""
    r, alpha = (np.array([one.params_[name] for one in model.neighbours()])[:, None] for name in ("r", "alpha"))
    age = rows["T"].to_numpy()
    return stats.nbinom(r + rows["frequency"].to_numpy(), (alpha + age) / (alpha + age + weeks))


def near(share, wanted, count):
    """Whether a share among `count` is within four standard errors of what is wanted."""
    return abs(share - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / count) + 1e-9


class TestPurchases:
    @pytest.mark.parametrize("sure", [True, False], ids=["parameters known", "parameters uncertain"])
    @pytest.mark.parametrize("level", [0.5, 0.9, 0.999])
    def test_if_nobody_stops_they_are_negative_binomial(self, nbd, customers, sure, level):
        rows = customers.iloc[:300]
        nbd = certain(nbd) if sure else nbd
        found = purchase_intervals(nbd, rows, WEEKS, level)
        each = negative_binomials(nbd, rows)
        chances = np.stack([each.pmf(k) for k in range(400)]).mean(axis=1)
        below = np.concatenate([np.zeros((1, 300)), np.cumsum(chances, axis=0)])  # P(X < k)
        out = (1 - level) / 2
        low, high = (below <= out).sum(axis=0) - 1, (1 - below[1:] > out).sum(axis=0)
        assert found["low"].tolist() == low.tolist()
        assert found["high"].tolist() == high.tolist()
        covered = below[high + 1, np.arange(300)] - below[low, np.arange(300)]
        assert found["coverage"].to_numpy() == pytest.approx(covered, abs=1e-9)
        assert (found["coverage"] >= level - 1e-9).all()
        between = each.mean().var(axis=0)
        share = between / (between + each.var().mean(axis=0))
        assert found["parameter_share"].to_numpy() == pytest.approx(share, rel=1e-3, abs=1e-12)
        own = nbd.params_["r"] + rows["frequency"], nbd.params_["alpha"] + rows["T"]
        assert found["expected"].to_numpy() == pytest.approx((own[0] / own[1] * WEEKS).to_numpy())

    @pytest.mark.parametrize("history", [(0, 0, 60), (3, 50, 60), (12, 40, 60), (30, 58, 60)])
    def test_agree_with_what_is_drawn_at_random(self, model, history):
        """Of each parameter set lives are drawn that pass through the history: rates and stops, weighted by it."""
        x, recency, T = history
        rng = np.random.default_rng(1)
        found = purchase_intervals(model, pd.DataFrame([history], columns=HISTORY), WEEKS).iloc[0]
        below, above, noise = np.zeros((3, 8))
        for j, one in enumerate(model.neighbours()):
            r, alpha, s, beta = one.params_
            rate = rng.gamma(r + x, 1 / (alpha + recency), 200_000)
            life = rng.exponential(size=200_000) / rng.gamma(s, 1 / beta, 200_000)
            weight = np.exp(-rate * (np.minimum(life, T) - recency)) * (life > recency)
            future = rng.poisson(rate * np.clip(life - T, 0, WEEKS))
            outside = np.stack([future < found["low"], future > found["high"]])
            below[j], above[j] = outside @ weight / weight.sum()
            noise[j] = (weight**2).sum() / weight.sum() ** 2
        error = 4 * np.sqrt(0.05 * noise.mean() / 8)
        assert below.mean() < 0.05 + error
        assert above.mean() < 0.05 + error
        assert 1 - below.mean() - above.mean() == pytest.approx(found["coverage"], abs=2 * error)

    def test_contain_what_customers_do_as_often_as_they_say(self, model):
        later = simulate(2, 6000)
        found = purchase_intervals(model, later, WEEKS)
        inside = later["future"].between(found["low"], found["high"])
        assert near(inside.mean(), found["coverage"].mean(), 6000)
        assert near((later["future"] > found["high"]).mean(), 0.03, 6000)
        best = found["expected"] > found["expected"].quantile(0.9)
        assert near(inside[best].mean(), found["coverage"][best].mean(), 600)

    def test_had_they_no_steps_nine_in_ten_would_be_inside(self, model):
        """The rank of what happened in its distribution, at random within its step, is uniform."""
        later = simulate(3, 6000)
        each = np.mean([one.conditional_distribution(WEEKS, *later[HISTORY].to_numpy().T, most=400)
                        for one in model.neighbours()], axis=0)  # fmt: skip
        own = np.arange(6000)
        chance = each[later["future"], own]
        rank = np.cumsum(each, axis=0)[later["future"], own] - chance * np.random.default_rng(1).random(6000)
        assert 0.88 < ((rank > 0.05) & (rank < 0.95)).mean() < 0.92
        assert stats.kstest(rank, "uniform").pvalue > 1e-3

    def test_probabilities_add_up_and_a_higher_level_is_wider(self, model, customers):
        rows = customers.iloc[:500]
        seen = []
        for at, mixture, means in intervals._distributions(model, rows, WEEKS, 0.05):
            seen.extend(at)
            assert (mixture >= 0).all()
            assert ((mixture.sum(axis=0) > 1 - 1.01e-6) & (mixture.sum(axis=0) < 1 + 1e-9)).all()
            assert means.shape == (8, len(at))
        assert sorted(seen) == list(range(500))
        each = [purchase_intervals(model, rows, WEEKS, level) for level in (0.5, 0.8, 0.9, 0.99, 0.9999999)]
        for narrow, wide in itertools.pairwise(each):
            assert (wide["low"] <= narrow["low"]).all()
            assert (wide["high"] >= narrow["high"]).all()
            assert (wide["coverage"] >= narrow["coverage"] - 1e-12).all()

    @pytest.mark.parametrize("fitter", [BetaGeoFitter, NBDFitter, WeibullGammaNBDFitter])
    def test_of_other_models(self, fitter, customers):
        model = fitted(fitter(), customers)
        rows = customers[HISTORY].iloc[::20].set_index(np.arange(300)[::-1])
        found = purchase_intervals(model, rows, WEEKS)
        assert found.index.equals(rows.index)
        assert found["coverage"].between(0.9, 1).all()
        assert (found["low"] <= found["expected"]).all()
        assert found["parameter_share"].between(0, 0.5).all()
        backwards = purchase_intervals(model, rows[::-1], WEEKS)[::-1]
        pd.testing.assert_frame_equal(backwards, found)

    def test_take_covariates(self, customers):
        rows = customers.iloc[:1500].assign(large=np.arange(1500) % 2)
        rows["frequency"] *= 1 + rows["large"]
        model = ParetoNBDFitter().fit(*(rows[name] for name in HISTORY), covariates=rows[["large"]])
        twins = pd.DataFrame({"frequency": 2, "recency": 40.0, "T": 60.0, "monetary_value": 9.0, "large": [0, 1]})
        found = purchase_intervals(model, twins, WEEKS)
        arguments = [twins[name] for name in HISTORY]
        expected = model.conditional_expected_number_of_purchases_up_to_time(WEEKS, *arguments, twins[["large"]])
        assert found["expected"].tolist() == expected.tolist()
        assert found["coverage"][0] != found["coverage"][1]
        worth = value_intervals(model, Spend(), twins, WEEKS)
        assert worth["high"][0] != worth["high"][1]
        assert total_interval(model, twins, WEEKS)["expected"] == pytest.approx(found["expected"].sum())

    def test_senseless_questions(self, model, customers, monkeypatch):
        for weeks, level in [(0, 0.9), (np.nan, 0.9), (9, 0), (9, 1), (9, np.nan)]:
            with pytest.raises(ValueError, match="weeks must be above 0 and level between 0 and 1"):
                purchase_intervals(model, customers, weeks, level)
        monkeypatch.setattr(intervals, "MOST", 15)
        with pytest.raises(Unanswerable, match=r"^What [\d,]+ purchase histories lead to in 52 weeks cannot be"):
            purchase_intervals(model, customers, WEEKS)

    def test_of_nobody(self, model, customers):
        nobody = customers.iloc[:0]
        assert len(purchase_intervals(model, nobody, WEEKS)) == len(value_intervals(model, Spend(), nobody, WEEKS)) == 0
        for total in (total_interval(model, nobody, WEEKS), total_value_interval(model, Spend(), nobody, WEEKS)):
            assert total["expected"] == total["low"] == total["high"] == total["parameter_share"] == 0


class TestTotal:
    @pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
    @pytest.mark.parametrize("size", [1, 20, 700])
    def test_of_equals_who_never_stop_is_negative_binomial(self, nbd, level, size):
        nbd = certain(nbd)
        rows = pd.DataFrame({"frequency": [4], "recency": [50.0], "T": [60.0], "customers": [size]})
        r, alpha = nbd.params_
        total = stats.nbinom(size * (r + 4), (alpha + 60) / (alpha + 60 + WEEKS))
        out = (1 - level) / 2
        found = total_interval(nbd, rows, WEEKS, level)
        low, high = (total.cdf(np.arange(5000)) <= out).sum(), (total.sf(np.arange(5000)) > out).sum()
        assert (found["low"], found["high"]) == (low, high)
        assert found["coverage"] == pytest.approx(total.cdf(high) - total.cdf(low - 1), abs=1e-5)
        assert found["expected"] == pytest.approx(total.mean())
        assert found["parameter_share"] == 0

    def test_of_one_customer_is_the_customers_interval(self, model, customers):
        found = purchase_intervals(model, customers.iloc[:40], WEEKS)
        for row in range(40):
            alone = total_interval(model, customers.iloc[row : row + 1], WEEKS)
            for name in ("expected", "low", "high", "coverage", "parameter_share"):
                assert alone[name] == pytest.approx(found[name].iloc[row], rel=1e-4, abs=1e-5)

    def test_a_history_counts_as_often_as_customers_have_it(self, model, customers):
        rows = customers.iloc[:50].assign(customers=np.arange(50) % 3 + 1)
        each = rows.loc[rows.index.repeat(rows["customers"])].drop(columns="customers")
        assert total_interval(model, rows, WEEKS) == pytest.approx(total_interval(model, each[::-1], WEEKS))
        worth = total_value_interval(model, Spend(), rows, WEEKS)
        assert worth == pytest.approx(total_value_interval(model, Spend(), each[::-1], WEEKS))

    @pytest.mark.parametrize("size", [300, 3000])
    def test_what_is_too_much_to_convolve_is_next_to_gamma(self, model, customers, size, monkeypatch):
        exact = total_interval(model, customers.iloc[:size], WEEKS)
        assert 0.9 - 1e-9 <= exact["coverage"] < 0.91
        monkeypatch.setattr(intervals, "EXACT", 0)
        about = total_interval(model, customers.iloc[:size], WEEKS)
        width = exact["high"] - exact["low"]
        assert abs(about["low"] - exact["low"]) <= 1 + 0.01 * width
        assert abs(about["high"] - exact["high"]) <= 1 + 0.01 * width

    def test_variance_is_that_within_and_that_of_the_neighbours(self, nbd, customers):
        each = negative_binomials(nbd, customers)
        between, within = each.mean().sum(axis=1).var(), each.var().sum(axis=1).mean()
        found = total_interval(nbd, customers, WEEKS)
        assert found["parameter_share"] == pytest.approx(between / (between + within), rel=1e-3)
        assert (found["high"] - found["low"]) / 3.29 == pytest.approx(np.sqrt(between + within), rel=0.01)

    def test_contains_what_happens_as_often_as_it_says(self):
        """10 data sets: the share covered has a standard error of 10 points, that of 100 groups of 20 one of 3."""
        found = covered(10)
        assert stats.binom.cdf(found["total"].sum(), 10, 0.9) > 1e-3
        assert near(found["groups"].mean(), found["said"].mean(), 100)


class TestValue:
    def test_of_a_known_number_of_purchases_is_beta_prime(self, customers):
        rows = customers.iloc[:200]
        found = value_intervals(Exactly(7), Spend(), rows, WEEKS, 0.8)
        relative = stats.betaprime(P * 7, Q + P * rows["frequency"])
        unit = V + rows["frequency"] * rows["monetary_value"]
        for name, share in (("low", 0.1), ("high", 0.9)):
            assert found[name].to_numpy() == pytest.approx((unit * relative.ppf(share)).to_numpy(), rel=2e-4)
        assert found["expected"].to_numpy() == pytest.approx((unit * relative.mean()).to_numpy())
        assert (found["coverage"] == 0.8).all()
        none = value_intervals(Exactly(0), Spend(), rows, WEEKS)
        assert (none[["expected", "low", "high"]] == 0).all(axis=None)
        assert (none["coverage"] == 1).all()
        total = total_value_interval(Exactly(0), Spend(), rows, WEEKS)
        assert total["expected"] == total["low"] == total["high"] == 0

    def test_expected_is_that_of_lifetimes(self, model, customers):
        from lifetimes import GammaGammaFitter

        spend = GammaGammaFitter()
        spend.params_ = Spend().params_
        found = value_intervals(model, spend, customers, WEEKS)
        purchases = model.conditional_expected_number_of_purchases_up_to_time(WEEKS, *customers[HISTORY].to_numpy().T)
        each = spend.conditional_expected_average_profit(customers["frequency"], customers["monetary_value"])
        assert found["expected"].to_numpy() == pytest.approx((purchases * each).to_numpy())
        total = total_value_interval(model, spend, customers, WEEKS)
        assert total["expected"] == pytest.approx(found["expected"].sum())

    def test_contain_what_customers_spend_as_often_as_they_say(self, model):
        later = simulate(4, 6000)
        found = value_intervals(model, Spend(), later, WEEKS)
        inside = later["spent"].between(found["low"], found["high"])
        assert near(inside.mean(), found["coverage"].mean(), 6000)
        above = np.where(found["high"] > 0, 0.05, 1 - found["coverage"])
        assert near((later["spent"] > found["high"]).mean(), above.mean(), 6000)
        surely = found["low"] > 0
        assert near(inside[surely].mean(), 0.9, surely.sum())

    def test_are_multiplied_and_a_loss_turns_them(self, model, customers):
        rows = customers.iloc[:300]
        one = value_intervals(model, Spend(), rows, WEEKS)
        total = partial(total_value_interval, model, Spend(), rows, WEEKS)
        factor = np.where(np.arange(300) % 2, 0.3, -0.2)
        found = value_intervals(model, Spend(), rows, WEEKS, factor=factor)
        for name, other in (("low", "high"), ("high", "low"), ("expected", "expected")):
            wanted = np.where(factor > 0, one[name], one[other]) * factor
            assert found[name].to_numpy() == pytest.approx(wanted)
        gain, loss = total(factor=0.4), total(factor=-0.4)
        assert (gain["low"], gain["high"]) == pytest.approx((-loss["high"], -loss["low"]))
        assert total(factor=np.full(300, 0.4)) == pytest.approx(gain)
        both = total(factor=factor)
        assert both["expected"] == pytest.approx(found["expected"].sum())
        assert both["low"] < both["expected"] < both["high"]
        assert both["high"] - both["low"] < total(factor=0.3)["high"] - total(factor=0.3)["low"]

    @pytest.mark.parametrize("size", [3, 20, 300])
    def test_total_agrees_with_what_is_drawn_at_random(self, known, customers, size):
        rows = customers.iloc[:size]
        rng = np.random.default_rng(1)
        each = known.conditional_distribution(WEEKS, *rows[HISTORY].to_numpy().T, most=300)
        spent = np.zeros(10_000)
        for row, chances in zip(rows.itertuples(), each.T, strict=True):
            count = rng.choice(301, 10_000, p=chances / chances.sum())
            rate = rng.gamma(Q + P * row.frequency, 1 / (V + row.frequency * row.monetary_value), 10_000)
            spent += rng.gamma(P * np.maximum(count, 1)) / rate * (count > 0)
        found = total_value_interval(known, Spend(), rows, WEEKS)
        assert found["expected"] == pytest.approx(spent.mean(), abs=4 * spent.std() / 100)
        assert (spent < found["low"]).mean() == pytest.approx(0.05 if found["low"] > 0 else 0, abs=0.015)
        assert (spent > found["high"]).mean() == pytest.approx(0.05, abs=0.015)

    def test_total_contains_what_happens_as_often_as_it_says(self, known):
        later = simulate(5, 20_000)
        groups = [later.iloc[start : start + 50] for start in range(0, 20_000, 50)]
        found = pd.DataFrame([total_value_interval(known, Spend(), group, WEEKS) for group in groups])
        spent = np.array([group["spent"].sum() for group in groups])
        assert near(((found["low"] <= spent) & (spent <= found["high"])).mean(), 0.9, len(groups))

    def test_uncertain_spend_widens_a_total(self, known, customers):
        sure = total_value_interval(known, Spend(), customers, WEEKS)
        unsure = total_value_interval(known, Spend(others=[(P, Q, 0.9 * V), (P, Q, 1.1 * V)]), customers, WEEKS)
        assert sure["parameter_share"] == 0
        assert unsure["parameter_share"] > 0
        assert unsure["high"] - unsure["low"] > sure["high"] - sure["low"]

    def test_amounts_without_variance_or_mean(self, model, customers):
        once = customers[customers["frequency"] == 0]
        with pytest.raises(
            Unanswerable, match=f"^What {len(once):,} of the 6,000 customers spend on a purchase has no"
        ):
            total_value_interval(model, Spend(q=2), customers, WEEKS)
        found = value_intervals(model, Spend(q=0.9), once, WEEKS)
        assert np.isinf(found["expected"]).all()
        assert np.isfinite(found["high"]).all()


class TestChance:
    @pytest.mark.parametrize("factor", [1.0, 0.3])
    def test_of_more_than_the_bounds_is_what_they_leave_out(self, model, customers, factor):
        """Nobody else has a customer's bounds: the chance is asked of one customer after the other."""
        rows = customers.iloc[:60]
        found = value_intervals(model, Spend(), rows, WEEKS, 0.8, factor=factor)
        for bound, share in (("low", 0.9), ("high", 0.1)):
            for row in np.flatnonzero(found[bound] > 0):
                one = rows.iloc[row : row + 1]
                above = chance_above(model, Spend(), one, WEEKS, found[bound].iloc[row], factor=factor)
                assert above["chance"].iloc[0] == pytest.approx(share, abs=2e-4)

    def test_of_a_known_number_of_purchases_is_beta_prime(self, customers):
        rows = customers.iloc[:200]
        found = chance_above(Exactly(7), Spend(), rows, WEEKS, 300.0)["chance"]
        unit = V + rows["frequency"] * rows["monetary_value"]
        expected = stats.betaprime(P * 7, Q + P * rows["frequency"]).sf(300 / unit)
        assert found.to_numpy() == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize("amount", [20.0, 100.0, 400.0])
    def test_is_that_of_what_simulated_customers_spend(self, known, amount):
        later = simulate(4, 6000)
        found = chance_above(known, Spend(), later, WEEKS, amount)
        above = (later["spent"] > amount).to_numpy()
        assert near(above.mean(), found["chance"].mean(), 6000)
        for group in np.array_split(np.argsort(found["chance"].to_numpy()), 10):
            assert near(above[group].mean(), found["chance"].iloc[group].mean(), 600)

    def test_is_each_customers_own_in_any_order(self, model, customers):
        rows = customers.iloc[:900].set_index(np.arange(900)[::-1])
        factor = 0.2 + (np.arange(900) % 7) / 7
        found = chance_above(model, Spend(), rows, WEEKS, 60.0, factor=factor)
        assert found.index.equals(rows.index)
        backwards = chance_above(model, Spend(), rows[::-1], WEEKS, 60.0, factor=factor[::-1])[::-1]
        assert found["chance"].to_numpy() == pytest.approx(backwards["chance"].to_numpy(), abs=1e-12)
        twins = chance_above(model, Spend(), pd.concat([rows, rows]), WEEKS, 60.0, factor=np.tile(factor, 2))
        assert twins["chance"].to_numpy() == pytest.approx(np.tile(found["chance"], 2), abs=1e-12)

    def test_of_losses_and_of_amounts_below_nothing(self, model, customers):
        rows = customers.iloc[:200]
        some = 1 - chance_above(model, Spend(), rows, WEEKS, 50.0)["chance"]
        loss = partial(chance_above, model, Spend(), rows, WEEKS, factor=-1.0)
        assert loss(-50.0)["chance"].to_numpy() == pytest.approx(some.to_numpy(), abs=1e-6)
        assert (loss(0.0)["chance"] == 0).all()
        assert (chance_above(model, Spend(), rows, WEEKS, -1.0)["chance"] == 1).all()
        assert (chance_above(model, Spend(), rows, WEEKS, -1.0, factor=0.0)["chance"] == 1).all()
        assert (chance_above(model, Spend(), rows, WEEKS, 0.0, factor=0.0)["chance"] == 0).all()
        nothing = model.conditional_distribution(WEEKS, *rows[HISTORY].to_numpy().T, most=0)[0]
        buys = chance_above(certain(model), Spend(), rows, WEEKS, 0.0)["chance"]
        assert buys.to_numpy() == pytest.approx(1 - nothing, abs=1e-9)
        assert chance_above(model, Spend(), rows.iloc[:0], WEEKS, 1.0)["chance"].empty


def covered(repetitions, size=1500, ages=(52, 104), fitter=ParetoNBDFitter):
    """Fit simulated data sets; return whether their totals, and those of ten groups of 20, were in the intervals."""
    found = []
    for seed in range(1000, 1000 + repetitions):
        customers = simulate(seed, size, ages)
        model = fitted(fitter(), customers)
        whole = total_interval(model, customers, WEEKS)
        groups = [customers.iloc[start : start + 20] for start in range(0, 200, 20)]
        each = [total_interval(model, group, WEEKS) for group in groups]
        inside = [one["low"] <= group["future"].sum() <= one["high"] for one, group in zip(each, groups, strict=True)]
        row = {"total": whole["low"] <= customers["future"].sum() <= whole["high"], "groups": np.mean(inside)}
        error = customers["future"].sum() / whole["expected"] - 1
        found.append(
            row
            | {"said": np.mean([one["coverage"] for one in each]), "share": whole["parameter_share"], "error": error}
        )
    return pd.DataFrame(found)


if __name__ == "__main__":
    results = covered(int(sys.argv[1]), *(int(value) for value in sys.argv[2:3]))
    print(results.mean().round(4).to_string(), f"\nstandard error of total: {0.3 / np.sqrt(len(results)):.3f}")
