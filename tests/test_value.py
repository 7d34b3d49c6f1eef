"""Values are those that independent integration gives, and margins are drawn to the average as the data tell."""

import datetime as dt
from importlib.resources import files

import lifetimes
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import gammaln, hyperu

from crm_analysis import open_dataset
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.family import NBDFitter, ParetoNBDFitter
from crm_analysis.lifetime.geometric import BetaGeoFitter
from crm_analysis.lifetime.histories import histories
from crm_analysis.lifetime.spend import GammaGammaFitter, spend_histories
from crm_analysis.lifetime.value import average_margin, by_channel, new_customer_value, totals, value

YEAR = 365.25 / 7
HISTORY = ["frequency", "recency", "T"]


@pytest.fixture(scope="module")
def sample():
    """The 1/10 sample of CDNOW, as customers of whom only revenue is known."""
    path = files("lifetimes") / "datasets" / "cdnow_customers_summary_with_transactions.csv"
    frame = pd.read_csv(str(path)).set_axis(["customer_id", *HISTORY, "monetary_value"], axis=1)
    bought = 30 + frame["frequency"] * frame["monetary_value"]
    return frame.assign(purchases=frame["frequency"] + 1, purchased=bought, value=bought)


@pytest.fixture(scope="module")
def pareto(sample):
    return ParetoNBDFitter().fit_histories(histories(sample))


@pytest.fixture(scope="module")
def geometric(sample):
    return BetaGeoFitter().fit_histories(histories(sample))


@pytest.fixture(scope="module")
def spend(sample):
    return GammaGammaFitter().fit_histories(spend_histories(sample))


def discounted(valued):
    """Return the discounted purchases over the horizon and after it."""
    each = valued["expected_spend"] * valued["margin"]
    return (valued["lifetime_value"] / each).to_numpy(), (valued["residual_value"] / each).to_numpy()


class TestPresentValue:
    @pytest.mark.parametrize(("months", "rate"), [(12, 0.1), (1, 0.3), (60, 0.05)])
    def test_pareto_nbd_by_integration(self, sample, pareto, spend, months, rate):
        """The rate of purchases at u is P(alive) (r + x) / (alpha + T) S(T + u) / S(T)."""
        some = sample.iloc[::300]
        valued = value(some, pareto, spend, months=months, annual_discount=rate).to_pandas()
        r, alpha, s, beta = pareto.params_
        t, delta = months * YEAR / 12, np.log1p(rate) / YEAR
        now = valued["p_alive"] * (r + valued["frequency"]) / (alpha + valued["T"])
        shares = [
            [
                quad(lambda u, T=T: np.exp(-delta * u) * ((beta + T) / (beta + T + u)) ** s, *limits, limit=500)[0]
                for limits in ((0, t), (t, t + 100), (t + 100, 60 / delta))
            ]
            for T in valued["T"]
        ]
        horizon, *after = now.to_numpy() * np.transpose(shares)
        found = discounted(valued)
        assert found[0] == pytest.approx(horizon, rel=2e-5)
        assert found[1] == pytest.approx(sum(after), rel=5e-5)

    def test_pareto_nbd_by_the_published_formula(self, sample, pareto, spend):
        """DERT of Fader, Hardie and Lee, "RFM and CLV" (2005), equation 6, at their 15 % a year."""
        valued = value(sample, pareto, spend, annual_discount=0.15).to_pandas()
        r, alpha, s, beta = pareto.params_
        x, t_x, T = (valued[name].to_numpy() for name in HISTORY)
        delta = np.log(1.15) / YEAR
        log_l = pareto.log_likelihoods(list(pareto.params_), x, t_x, T)[0]
        log_dert = r * np.log(alpha) + s * np.log(beta) + (s - 1) * np.log(delta) + gammaln(r + x + 1) - gammaln(r)
        dert = np.exp(log_dert - (r + x + 1) * np.log(alpha + T) - log_l) * hyperu(s, s, delta * (beta + T))
        assert sum(discounted(valued)) == pytest.approx(dert, rel=3e-5)

    def test_bg_nbd_day_by_day(self, sample, geometric, spend):
        """Each day's expected purchases by the formula of lifetimes, counted from its noon."""
        some = sample.iloc[::300]
        valued = value(some, geometric, spend, months=24, annual_discount=0.2).to_pandas()
        own = lifetimes.BetaGeoFitter()
        own.params_ = geometric.params_
        history = [valued[name].to_numpy()[:, None] for name in HISTORY]
        ends = np.concatenate([np.linspace(0, 2 * YEAR, 731), 2 * YEAR + np.arange(1, 12_000) / 7 * 2])
        until = own.conditional_expected_number_of_purchases_up_to_time(ends[None, 1:], *history)
        each = np.diff(until, prepend=0) * 1.2 ** (-(ends[1:] + ends[:-1]) / 2 / YEAR)
        horizon, residual = discounted(valued)
        assert valued["expected_purchases"].to_numpy() == pytest.approx(until[:, 729], rel=1e-8)
        assert horizon == pytest.approx(each[:, :730].sum(axis=1), rel=2e-5)
        assert residual == pytest.approx(each[:, 730:].sum(axis=1), rel=2e-4)

    def test_who_never_stops_brings_an_annuity(self, sample, spend):
        """Rate over discount: exact for any rule that is right."""
        model = NBDFitter().fit_histories(histories(sample))
        valued = value(sample, model, spend, annual_discount=0.1).to_pandas()
        r, alpha = model.params_
        rate = ((r + valued["frequency"]) / (alpha + valued["T"])).to_numpy()
        horizon, residual = discounted(valued)
        assert horizon == pytest.approx(rate * (1 - 1 / 1.1) / (np.log(1.1) / YEAR), rel=1e-9)
        assert residual == pytest.approx(rate / 1.1 / (np.log(1.1) / YEAR), rel=2e-5)

    def test_without_discount_the_value_is_purchases_times_spend(self, sample, geometric, spend):
        valued = value(sample, geometric, spend, months=7, annual_discount=0).to_pandas()
        product = valued["expected_purchases"] * valued["expected_spend"]
        assert valued["lifetime_value"].to_numpy() == pytest.approx(product.to_numpy(), rel=1e-12)
        assert valued["residual_value"].isna().all()
        assert np.isnan(totals(valued)["residual_value"])
        more = value(sample, geometric, spend, months=7, annual_discount=-0.05).to_pandas()
        assert (more["lifetime_value"] > valued["lifetime_value"]).all()
        assert more["residual_value"].isna().all()

    def test_horizon_and_residual_are_the_same_money_at_any_horizon(self, sample, pareto, spend):
        each = [totals(value(sample, pareto, spend, months=months)) for months in (1, 12, 60)]
        sums = [found["lifetime_value"] + found["residual_value"] for found in each]
        assert sums == pytest.approx([sums[0]] * 3, rel=3e-5)

    @pytest.mark.parametrize("wrong", [{"months": 0}, {"annual_discount": -1}, {"annual_discount": float("nan")}])
    def test_refuses_senseless_horizons(self, sample, geometric, spend, wrong):
        with pytest.raises(ValueError, match="months must be at least 1"):
            value(sample, geometric, spend, **wrong)

    def test_refuses_expectations_that_are_no_numbers(self, sample, spend):
        class Broken(BetaGeoFitter):
            def conditional_expected_number_of_purchases_up_to_time(self, t, frequency, recency, T):
                return np.where(frequency > 20, np.nan, 1.0) + 0 * t

        broken = Broken()
        broken.params_ = pd.Series({"r": 1.0})
        with pytest.raises(Unanswerable, match=r"^What \d+ purchase histories lead to cannot be computed"):
            value(sample, broken, spend)


class TestNewCustomer:
    def test_the_first_purchase_counts(self, pareto, spend):
        found = new_customer_value(pareto, spend, 0.4, annual_discount=0.15)
        r, alpha, s, beta = pareto.params_
        delta = np.log(1.15) / YEAR
        dert = r / alpha * delta ** (s - 1) * beta**s * hyperu(s, s, delta * beta)
        usual = float(spend.conditional_expected_average_profit(0, 0))
        assert found["expected_spend"] == usual
        assert found["value_without_end"] == pytest.approx((1 + dert) * usual * 0.4, rel=1e-4)
        repeats = pareto.expected_number_of_purchases_up_to_time(YEAR)
        assert found["expected_purchases"] == pytest.approx(1 + repeats)
        plain = new_customer_value(pareto, spend, 0.4, annual_discount=0)
        assert plain["lifetime_value"] == pytest.approx((1 + repeats) * usual * 0.4)
        assert np.isnan(plain["value_without_end"])


def with_margins(seed, between, within, size=20_000, cents=0):
    """Simulate customers whose margins differ between them and between purchases; return them and the margins.

    The first `cents` paid 0.02 for what cost 20.
    """
    rng = np.random.default_rng(seed)
    purchases = rng.geometric(0.3, size)
    bought = rng.gamma(6 * purchases) / rng.gamma(4, 1 / 15, size)
    true = 0.3 + between * rng.normal(size=size)
    profit = bought * (true + within / np.sqrt(purchases) * rng.normal(size=size))
    bought[:cents], profit[:cents] = 0.02, -20.0
    columns = {"frequency": purchases - 1, "recency": 0.0 + (purchases > 1), "T": 9.0, "purchases": purchases}
    money = np.where(purchases > 1, bought / purchases, 0.0)
    columns |= {"monetary_value": money, "purchased": bought, "value": profit}
    return pd.DataFrame({"customer_id": np.arange(size), **columns}), true


def margins(customers, model, spend):
    found = value(customers, model, spend).to_pandas().set_index("customer_id")
    return found["margin"].loc[customers["customer_id"]].to_numpy()


class TestMargin:
    def test_without_costs_and_returns_it_is_exactly_1(self, cdnow, geometric, spend):
        customers = open_dataset(cdnow).customers()
        assert set(value(customers, geometric, spend)["margin"].to_pandas()) == {1.0}

    @pytest.mark.parametrize(("between", "within"), [(0.1, 0.3), (0.03, 0.3), (0.2, 0.1)])
    def test_closer_to_the_truth_than_the_own_or_the_average_one(self, geometric, spend, between, within):
        customers, true = with_margins(1, between, within)
        found = margins(customers, geometric, spend)
        own = customers["value"] / customers["purchased"]

        def error(guess):
            return np.sqrt(np.mean((guess - true) ** 2))

        # The best that is possible: the true variances, the own margin's weight being n / (n + k).
        weight = customers["purchases"] / (customers["purchases"] + (within / between) ** 2)
        best = error(0.3 + weight * (own - 0.3))
        assert error(found) < min(error(own), error(average_margin(customers))) * (0.95 if between > 0.05 else 1.01)
        assert error(found) < 1.06 * best

    @pytest.mark.parametrize("amount", [0.02, 0.0])
    def test_those_who_paid_next_to_nothing_stay_sane(self, geometric, spend, amount):
        """20 lost on 0.02 is a margin of -1000; it tells little of them and nothing of the others."""
        customers, _ = with_margins(1, 0.1, 0.3)
        usual = margins(customers, geometric, spend)
        customers, _ = with_margins(1, 0.1, 0.3, cents=20)
        customers.loc[:19, "purchased"] = amount
        found = margins(customers, geometric, spend)
        assert (found[:20] < 0.25).all()
        assert (found[:20] > -1).all()
        assert found[20:] == pytest.approx(usual[20:], abs=0.05)

    def test_by_the_formula(self, geometric, spend):
        customers, _ = with_margins(2, 0.3, 0.3, size=500, cents=1)
        n, amount, profit = (customers[name].to_numpy() for name in ("purchases", "purchased", "value"))
        average, usual = profit.sum() / amount.sum(), amount.sum() / n.sum()
        r, y = (profit - average * amount) / (amount + n * usual), amount / (amount + n * usual)
        # mean r^2 = t mean y^2 + s mean y^2 / n, and the same times n
        terms = [[np.mean(y**2), np.mean(y**2 / n)], [np.mean(n * y**2), np.mean(y**2)]]
        t, s = np.linalg.solve(terms, [np.mean(r**2), np.mean(n * r**2)])
        added = s / t * (amount / n + usual) / 2
        expected = (profit + added * average) / (amount + added)
        assert margins(customers, geometric, spend) == pytest.approx(expected, rel=1e-6)
        assert expected.min() < 0

    def test_losses_are_values_below_0(self, geometric, spend):
        customers, _ = with_margins(2, 0.1, 0.3, size=500)
        losing = customers.assign(value=customers["value"] - customers["purchased"])
        frame = value(losing, geometric, spend).to_pandas()
        assert (frame["lifetime_value"] < 0).mean() > 0.9
        assert (np.sign(frame["residual_value"]) == np.sign(frame["margin"])).all()

    def test_who_all_bought_equally_often_have_the_average(self, geometric, spend):
        customers, _ = with_margins(2, 0.1, 0.3, size=500)
        same = customers.assign(purchases=2, frequency=1, recency=1.0)
        assert set(margins(same, geometric, spend)) == {average_margin(same)}

    def test_order_of_rows_changes_no_digit(self, geometric, spend):
        customers, _ = with_margins(2, 0.1, 0.3)
        mixed = customers.sample(frac=1, random_state=1)
        assert totals(value(customers, geometric, spend)) == totals(value(mixed, geometric, spend))
        one, other = (margins(frame, geometric, spend) for frame in (customers, mixed))
        assert (one[mixed.index] == other).all()


class TestByChannel:
    @pytest.fixture
    def attributes(self, sample):
        """Three customers of four are in two channels; one channel is tiny, and the last customers in no channel."""
        place = np.arange(len(sample))
        where = [place % 4 == 0, place % 100 == 1, place % 100 == 2, place > 2300]
        via = np.select(where, ["shop", "fair", "", None], "web")
        cost = np.where(via == "shop", 5.0, np.where(via == "web", np.where(place % 2, 30.0, np.nan), np.nan))
        return pd.DataFrame({"customer_id": sample["customer_id"], "acquired_via": via, "acquisition_cost": cost})

    @pytest.fixture
    def found(self, sample, attributes, geometric, spend):
        return by_channel(sample, attributes, geometric, spend, months=24, annual_discount=0.1).set_index("channel")

    def test_every_customer_is_in_one_channel_and_the_models_stay(self, found, sample, geometric, spend):
        assert set(found.index) == {"shop", "web", "other channels"}
        assert found["customers"].sum() == len(sample)
        assert found["lifetime_value"].dropna().is_monotonic_decreasing
        assert geometric.data["weights"].sum() == len(sample)
        assert spend.data["weights"].sum() == (sample["frequency"] > 0).sum()

    def test_each_has_its_own_models_and_costs(self, found, sample, attributes):
        shop = sample[(attributes["acquired_via"] == "shop").to_numpy()]
        model = BetaGeoFitter().fit_histories(histories(shop))
        spent = GammaGammaFitter().fit_histories(spend_histories(shop))
        expected = new_customer_value(model, spent, 1.0, months=24, annual_discount=0.1)
        assert found.loc["shop", list(expected)].to_dict() == pytest.approx(expected)
        assert found.loc["shop", "value_minus_cost"] == pytest.approx(expected["lifetime_value"] - 5)
        assert found.loc["web", "acquisition_cost"] == 30
        assert np.isnan(found.loc["other channels", "value_minus_cost"])

    def test_what_cannot_be_told_of_a_channel_is_empty(self, sample, attributes, geometric, spend):
        few = attributes.assign(acquired_via=["fair"] * 20 + ["web"] * (len(sample) - 20))
        found = by_channel(sample, few, geometric, spend).set_index("channel")
        assert found.loc["other channels", "customers"] == 20
        assert found.loc["other channels", ["expected_purchases", "lifetime_value"]].isna().all()

    def test_needs_to_know_the_channels(self, sample, attributes, geometric, spend):
        with pytest.raises(Unanswerable, match="needs the column 'acquired_via'"):
            by_channel(sample, attributes.drop(columns="acquired_via"), geometric, spend)

    def test_of_a_dataset_in_one_line(self, write_dataset, tmp_path, geometric, spend):
        """Costs, a return and customers who are not in the customers table are there, too."""
        rng = np.random.default_rng(1)
        days = [(k, day) for k in range(300) for day in np.unique(rng.integers(0, 300, rng.geometric(0.4)))]
        dates = [(k, dt.date(2024, 1, 1) + dt.timedelta(days=int(day))) for k, day in days]
        lines = [f"{k},{date},{rng.gamma(3, 10):.2f},{rng.gamma(2, 5):.2f}" for k, date in dates]
        people = "\n".join(f"{k},{'shop' if k % 2 else 'web'},{3 + k % 2}" for k in range(290))
        (tmp_path / "people.csv").write_text(f"customer_id,acquired_via,acquisition_cost\n{people}\n")
        path = write_dataset("customer_id,date,amount,cost\n" + "\n".join(lines) + "\n0,2024-11-01,-5,0\n")
        path.write_text(path.read_text() + '\n[tables.customers]\npath = "people.csv"\n')
        data = open_dataset(path)
        found = by_channel(data.customers(), data.table("customers"), geometric, spend).set_index("channel")
        assert found["customers"].to_dict() == {"shop": 145, "web": 145, "other channels": 10}
        assert found.loc["shop", "acquisition_cost"] == 4
        assert (found.loc[["shop", "web"], "margin"] < 0.9).all()
        assert (found.loc[["shop", "web"], "lifetime_value"] > 0).all()
