"""Propensity of leads: the panel against plain Python, nothing from the future, and what is planted in the sample."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from crm_analysis import charts, customers, open_dataset, prospects
from crm_analysis.errors import Unanswerable
from crm_analysis.examples.sample.people import CHANNELS

START = dt.date(2024, 1, 1)
PEOPLE = ["a", "b", "ü|'; --", "NULL"]
RULES = {"horizon_days": 30, "lead_days": 40}
ALL = {"horizon_days": 90, "lead_days": 90}

talks = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.integers(0, 200),
        st.sampled_from(["market", "sales"]),
        st.sampled_from([None, 0, 1, 2, 3]),
        st.sampled_from([None, "follow up", "declined"]),
    ),
    max_size=25,
)
logs = st.lists(
    st.tuples(st.sampled_from([*PEOPLE, "x"]), st.integers(0, 240), st.sampled_from([-5, 0, 9])), max_size=8
)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def talked(rows: list[tuple]) -> pd.DataFrame:
    """Contacts, numbered in their order; those of one day come in the order of the list."""
    frame = pd.DataFrame(rows, columns=["customer_id", "day", "purpose", "interest", "outcome"])
    times = [pd.Timestamp(day(number)) + pd.Timedelta(minutes=place) for place, number in enumerate(frame["day"])]
    return pd.DataFrame(
        {
            "contact_id": [f"T{place}" for place in range(len(frame))],
            "customer_id": frame["customer_id"].astype("string"),
            "time": pd.to_datetime(times),
            "purpose": frame["purpose"].astype("string"),
            "interest": frame["interest"].astype("Int64"),
            "outcome": frame["outcome"].astype("string"),
        }
    )


def bought(rows: list[tuple]) -> ibis.Table:
    frame = pd.DataFrame(rows, columns=["customer_id", "date", "amount"])
    frame = frame.assign(
        customer_id=frame["customer_id"].astype("string"),
        date=pd.to_datetime([day(number) for number in frame["date"]]),
        amount=frame["amount"].astype(float),
    )
    return customers.purchases(frame)


def first_purchases(rows: list[tuple]) -> dict[str, int]:
    amounts: dict = defaultdict(int)
    for who, number, amount in rows:
        amounts[who, number] += amount
    found: dict[str, int] = {}
    for (who, number), amount in sorted(amounts.items(), key=lambda item: item[0][1]):
        if amount >= 0:
            found.setdefault(who, number)
    return found


def band(number: int, starts: tuple) -> str:
    at = max(place for place, start in enumerate(starts) if start <= number)
    if at == len(starts) - 1:
        return f"{starts[-1]} or more"
    return str(starts[at]) if starts[at + 1] - starts[at] == 1 else f"{starts[at]}–{starts[at + 1] - 1}"


def naive(spoken: list[tuple], log: list[tuple], at: int) -> dict[str, dict]:
    """What is known of each lead at a date."""
    first, found = first_purchases(log), {}
    for who in PEOPLE:
        mine = [talk for _, talk in sorted(enumerate(spoken), key=lambda t: (t[1][1], t[0])) if talk[0] == who]
        mine = [talk for talk in mine if talk[1] <= at]
        if not mine or at - mine[-1][1] >= RULES["lead_days"] or first.get(who, 999) <= at:
            continue
        earlier = [talk[3] for talk in mine[:-1] if talk[3] is not None]
        found[who] = {
            "stage": "target" if any((talk[3] or 0) >= 2 for talk in mine) else "prospect",
            "contacts": len(mine),
            "last_contact": day(mine[-1][1]),
            "contacts_so_far": band(len(mine), (1, 2, 3, 4, 5, 6, 7, 8)),
            "last_contact_days": band(at - mine[-1][1], (0, 7, 14, 30, 60)),
            "known_days": band(at - mine[0][1], (0, 30, 90, 180, 365)),
            "last_interest": "not recorded" if mine[-1][3] is None else str(mine[-1][3]),
            "earlier_interest": str(max(earlier)) if earlier else "not recorded",
            "last_outcome": mine[-1][4] or "not recorded",
            "converted": first.get(who, 999) <= at + RULES["horizon_days"],
        }
    return found


@settings(max_examples=6, deadline=None)
@given(talks, logs, st.lists(st.integers(0, 240), min_size=1, max_size=3, unique=True))
def test_the_panel_holds_what_plain_python_knows_at_each_date(spoken, log, numbers):
    dates = [day(number) for number in numbers]
    found = prospects.panel(talked(spoken), bought(log), dates=dates, **RULES).to_pandas()
    expected = {(who, day(n)): known for n in numbers for who, known in naive(spoken, log, n).items()}
    assert len(found) == len(expected)
    for row in found.to_dict("records"):
        row |= {name: pd.Timestamp(row[name]).date() for name in ("at", "last_contact")}
        assert row == {"customer_id": row["customer_id"], "at": row["at"], **expected[row["customer_id"], row["at"]]}


@settings(max_examples=5, deadline=None)
@given(talks, logs)
def test_people_are_leads_customers_or_non_customers(spoken, log):
    at = 240
    silent = prospects.fallen_silent(talked(spoken), bought(log), as_of=day(at), lead_days=RULES["lead_days"])
    first, met = first_purchases(log), {who for who, *_ in spoken}
    away = met - set(first) - set(naive(spoken, log, at))
    assert prospects.non_customers(silent) == len(away)
    became = prospects.became(silent, as_of=day(at), within_days=60)
    assert (became["people"] == became[["bought", "contacted", "nothing"]].sum(axis=1)).all()
    counted = prospects.not_from_leads(talked(spoken), bought(log))
    begun = {who: min(talk[1] for talk in spoken if talk[0] == who) for who in met}
    assert counted == {
        "customers": len(first),
        "no_contact": len(set(first) - met),
        "bought_first": sum(begun[who] >= first[who] for who in met & set(first)),
    }


def test_what_became_of_people_who_were_spoken_to_no_more():
    spoken = [("a", 0, "sales", 3, None), ("a", 100, "sales", 1, None), ("b", 0, "sales", 0, None)]
    spoken += [("ü|'; --", 0, "market", None, None)]
    silent = prospects.fallen_silent(talked(spoken), bought([("b", 60, 9)]), as_of=day(240), lead_days=40)
    found = prospects.became(silent, as_of=day(240), within_days=90).set_index("stage")
    assert found.loc["prospect", ["people", "bought", "contacted", "nothing"]].to_list() == [2, 1, 0, 1]
    assert found.loc["target", ["people", "bought", "contacted", "nothing"]].to_list() == [2, 0, 1, 1]


def test_a_first_year_counts_all_of_its_days_and_none_later():
    lines = [("a", 0, 100.0), ("a", 364, 10.0), ("a", 365, 1000.0), ("a", 20, -30.0), ("b", 2, 7.0), ("c", 0, 5.0)]
    frame = pd.DataFrame(lines, columns=["customer_id", "date", "amount"])
    frame["date"] = [day(number) for number in frame["date"]]
    sold = customers.transaction_lines(frame)
    costs = pd.DataFrame(
        {"customer_id": ["a", "a", "c"], "date": [day(-9), day(370), day(3)], "cost": [1.5, 50.0, 8.0]}
    )
    found = prospects.first_years(sold, customers.purchases(frame), costs, as_of=day(366)).to_pandas()
    assert found.set_index("customer_id")["value"].to_dict() == {"a": 78.5, "c": -3.0}  # b is known for 364 days
    with pytest.raises(Unanswerable, match="Nobody has been a customer for 365 days"):
        prospects.similar(prospects.first_years(sold, customers.purchases(frame), as_of=day(300)))


def test_few_customers_are_drawn_to_the_mean_of_all():
    rng = np.random.default_rng(1)
    sort = np.repeat(["large", "small", "one"], [400, 400, 1])
    ids = [f"c{number}" for number in range(len(sort))]
    value = rng.normal(0, 50, len(sort)) + pd.Series(sort).map({"large": 300, "small": 100, "one": 5000}).to_numpy()
    years = pd.DataFrame({"customer_id": ids, "value": value})
    people = pd.DataFrame({"customer_id": ids, "kind": sort}).assign(
        acquired_via=pd.Series([None] * len(ids), dtype="string")
    )
    found = prospects.similar(years, people).set_index("kind")
    assert found.loc["large", "value_if_won"] == pytest.approx(300, abs=10)
    assert found.loc["large", "weight"] > 0.99 > found.loc["one", "weight"]
    noise = years.assign(value=rng.normal(100, 50, len(sort)))
    assert prospects.similar(noise, people.assign(kind=rng.permutation(sort)))["value_if_won"].std() < 5
    assert list(prospects.similar(years)["value_if_won"]) == [pytest.approx(value.mean())]


@pytest.mark.parametrize("rules", [{"horizon_days": 0}, {"horizon_days": -3}])
def test_a_horizon_has_a_day(rules):
    with pytest.raises(ValueError, match="at least 1 day"):
        prospects.decision_dates(START, day(400), **rules)


def test_dates_end_a_horizon_before_the_as_of_date():
    dates = prospects.decision_dates(START, day(300))
    assert dates[-1] == day(210)
    assert dates[0] >= day(90)
    assert {(after - before).days for before, after in pairwise(dates)} == {30}
    with pytest.raises(Unanswerable, match="known from 180 days"):
        prospects.decision_dates(START, day(179))


class Company:
    """The sample company, read once."""

    def __init__(self, sample: Path):
        self.data = open_dataset(sample)
        self.tables = (
            *(self.data.table("contacts"), self.data.purchases().cache(), self.data.lines().cache()),
            *(self.data.table("customers"), self.data.table("service_costs")),
        )
        contacts, self.bought, _, people, _ = self.tables
        dates = prospects.decision_dates(self.data.period[0], self.data.as_of)
        self.past = prospects.panel(contacts, self.bought, people, dates=dates).cache()
        self.learnt = prospects.learn(self.past)


@pytest.fixture(scope="module")
def company(sample) -> Company:
    return Company(sample)


@pytest.fixture(scope="module")
def scored(company) -> pd.DataFrame:
    return prospects.scored(*company.tables, as_of=company.data.as_of).to_pandas()


class TestSampleCompany:
    def test_the_propensity_is_calibrated_and_beats_the_base_rate(self, company):
        checked = company.learnt.validation
        bins = prospects.calibration(checked)
        assert len(bins) == 10
        assert bins["leads"].max() < 1.2 * bins["leads"].min()
        assert prospects.calibration_error(bins) <= 0.03
        found = prospects.scores(checked)
        assert found["log_loss"] < 0.8 * found["log_loss_base"]
        assert found["brier"] < 0.8 * found["brier_base"]
        assert found["auc"] > 0.78
        assert found["lift"] > 1.7
        assert checked.useful
        inside = (bins["predicted"] >= bins["low"]) & (bins["predicted"] <= bins["high"])
        assert inside.sum() >= 9

    def test_neither_the_order_of_rows_nor_the_number_of_threads_changes_the_error(self, company):
        frame = company.past.to_pandas().sample(frac=1, random_state=4)
        connection = ibis.duckdb.connect(threads=1)
        turned = prospects.validate(connection.create_table("turned", frame))
        told, again = (prospects.calibration(checked) for checked in (company.learnt.validation, turned))
        assert prospects.calibration_error(again) == pytest.approx(prospects.calibration_error(told), rel=1e-9)

    def test_scores_agree_with_scikit_learn(self, company):
        held = company.learnt.validation.held
        n, hit = held["leads"].to_numpy(), held["buyers"].to_numpy()
        actual = np.concatenate([np.repeat([1, 0], [h, k - h]) for h, k in zip(hit, n, strict=True)])
        chance = np.repeat(held["propensity"].to_numpy(), n)
        found = prospects.scores(company.learnt.validation)
        assert found["auc"] == pytest.approx(roc_auc_score(actual, chance))
        assert found["log_loss"] == pytest.approx(log_loss(actual, chance.clip(1e-6, 1 - 1e-6)))
        assert found["brier"] == pytest.approx(brier_score_loss(actual, chance))

    def test_what_chance_alone_makes_agrees_with_a_simulation(self, company):
        checked, rng = company.learnt.validation, np.random.default_rng(3)
        bins = prospects.calibration(checked)
        n = (bins["leads"] / checked.repeated).round().astype(int)
        errors = np.abs(
            rng.binomial(n, bins["predicted"], (4000, len(bins))) / n.to_numpy() - bins["predicted"].to_numpy()
        )
        simulated = (errors * bins["leads"].to_numpy()).sum(axis=1).mean() / bins["leads"].sum()
        assert prospects.error_by_chance(bins, checked) == pytest.approx(simulated, rel=0.05)
        assert 1.5 < checked.repeated < 4  # each person is there at about four dates

    def test_planted_effects_are_found_in_sign_and_order(self, company, truth):
        effects = company.learnt.effects().set_index(["feature", "category"])["effect"]
        interest = effects["last_interest"][["0", "1", "2", "3"]]
        assert truth["conversion"]["interest"] > 0
        assert interest.is_monotonic_increasing
        assert interest["2"] - interest["0"] > 1
        assert truth["conversion"]["contact"] > 0
        assert effects["contacts_so_far"][["2", "3", "4"]].is_monotonic_increasing
        assert (
            effects["contacts_so_far"]["8 or more"] == effects["contacts_so_far"].min()
        )  # nobody is asked a ninth time
        assert effects["last_outcome"]["declined"] < -3
        channels = effects["acquired_via"].reindex(CHANNELS.index)
        assert channels.corr(CHANNELS["readiness"], method="spearman") > 0.8
        assert channels.idxmax() == "referral"
        assert channels.idxmin() == "telephone"

    def test_what_tells_nothing_is_not_called_a_reason(self, company):
        effects = company.learnt.effects()
        clear = effects[(effects["low"] > 0) | (effects["high"] < 0)]
        assert not clear["feature"].isin(["region", "kind"]).any()
        assert {"last_interest", "acquired_via", "last_outcome"} <= set(clear["feature"])

    def test_shuffled_labels_take_the_lift_away(self, company):
        frame = company.past.to_pandas()
        rng = np.random.default_rng(5)
        shuffled = frame.assign(converted=frame.groupby("at")["converted"].transform(lambda c: rng.permutation(c)))
        found = prospects.learn(ibis.memtable(shuffled))
        assert found.model is None
        assert "not clearly better" in found.why
        assert 0.85 < prospects.scores(found.validation)["lift"] < 1.15
        contacts, bought, _, people, _ = company.tables
        now = prospects.panel(contacts, bought, people, dates=[company.data.as_of])
        judged = prospects.judged(now, found).to_pandas()
        assert set(judged["propensity"]) == {found.base_rate}
        assert set(judged["reasons"]) == {""}
        with pytest.raises(Unanswerable, match="not clearly better"):
            found.effects()

    def test_nothing_after_the_as_of_date_is_read_and_the_order_of_rows_changes_nothing(self, company, sample):
        then = open_dataset(sample, as_of="2025-03-31")
        names = ("contacts", "customers", "service_costs")
        known, people, costs = (then.table(name) for name in names)
        told = prospects.scored(known, then.purchases(), then.lines(), people, costs, as_of=then.as_of)
        contacts, bought, lines, people, costs = company.tables
        turned = contacts.order_by(ibis.desc("contact_id")), bought, lines.order_by(ibis.desc("order_id"))
        later = prospects.scored(*turned, people, costs, as_of=then.as_of)
        pd.testing.assert_frame_equal(told.to_pandas(), later.to_pandas())

    def test_later_contacts_change_no_past_lead(self, company):
        contacts, bought, _, people, _ = company.tables
        at = company.data.as_of - dt.timedelta(days=200)
        frame = contacts.select("contact_id", "customer_id", "time", "purpose", "interest", "outcome").to_pandas()
        frame["interest"] = frame["interest"].astype("Int64")
        late = frame["time"].dt.date > at
        changed = frame.assign(
            interest=frame["interest"].where(~late, 3), outcome=frame["outcome"].where(~late, "order")
        )
        extra = frame.drop_duplicates("customer_id").assign(
            time=pd.Timestamp(at) + pd.Timedelta(days=1), outcome="order", interest=pd.array([3], "Int64")[0]
        )
        extra["contact_id"] = "X" + extra["contact_id"]
        people = people.select("customer_id", *prospects.ATTRIBUTES).to_pandas()
        panels = [
            prospects.panel(table, bought.to_pandas(), people, dates=[at]).order_by("customer_id").to_pandas()
            for table in (frame, pd.concat([changed, extra], ignore_index=True))
        ]
        assert len(panels[0]) > 150
        pd.testing.assert_frame_equal(*panels)

    def test_the_list_is_complete_and_in_order(self, company, scored):
        columns = "customer_id stage contacts last_contact propensity value_if_won expected_value reasons"
        assert list(scored.columns) == columns.split()
        assert scored["customer_id"].is_unique
        assert scored["expected_value"].is_monotonic_decreasing
        assert scored["propensity"].between(0, 1).all()
        assert np.allclose(scored["expected_value"], scored["propensity"] * scored["value_if_won"])
        assert set(scored["stage"]) == {"prospect", "target"}
        assert not set(scored["customer_id"]) & set(company.bought.to_pandas()["customer_id"])
        status = company.tables[3].select("customer_id", "status").to_pandas().set_index("customer_id")["status"]
        declined = scored["customer_id"].map(status) == "none"
        assert scored.loc[declined, "propensity"].mean() < 0.05 < scored.loc[~declined, "propensity"].median()
        assert scored["reasons"].str.contains("interest 2 of 3 in the last contact").any()
        assert scored["reasons"].str.count(",|;").max() <= 2

    def test_reasons_speak_for_those_who_are_likely(self, scored):
        likely, unlikely = (
            scored["reasons"][part] for part in (scored["propensity"] > 0.7, scored["propensity"] < 0.05)
        )
        assert (likely.str.startswith("for: ") | (likely == "")).all()
        assert unlikely.str.contains("against: ").all()


def test_rare_and_new_categories_share_a_coefficient():
    rng = np.random.default_rng(2)
    n = 3000
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(n)],
            "at": START,
            "stage": "prospect",
            "contacts": 1,
            "last_contact": START,
            "colour": rng.choice(["red", "blue"], n),
            "converted": False,
        }
    )
    frame.loc[:9, "colour"] = "mauve"
    frame["converted"] = rng.random(n) < np.where(frame["colour"] == "red", 0.6, 0.2)
    model = prospects.Propensity(["colour"]).fit(ibis.memtable(frame))
    assert model.levels_ == {"colour": ["blue", "red"]}
    rows = model.distinct(ibis.memtable(frame.assign(colour="green").head(3)))
    assert rows["colour"].to_list() == ["rare or new"]
    told = model.distinct(ibis.memtable(frame)).set_index("colour")["propensity"]
    assert told["red"] == pytest.approx(frame.loc[frame["colour"] == "red", "converted"].mean(), abs=0.005)
    effects = model.effects(1.0).set_index("category")
    assert effects.loc["red" if effects.loc["blue", "effect"] == 0 else "blue", "low"] != 0
    with pytest.raises(Unanswerable, match="at least 100"):
        prospects.Propensity(["colour"]).fit(ibis.memtable(frame.head(150)))
    with pytest.raises(Unanswerable, match="30 are needed"):
        prospects.learn(ibis.memtable(frame.head(9)))


def test_nobody_is_no_lead():
    with pytest.raises(Unanswerable, match="known of 0"):
        prospects.learn(prospects.panel(talked([]), bought([]), dates=[START], **RULES))


def test_speaks_other_dialects(dialect):
    connection = ibis.duckdb.connect()
    contacts = connection.create_table(
        "contacts", talked([("a", 0, "sales", 2, "declined"), ("b", 3, "market", None, None)])
    )
    log = connection.create_table("log", pd.DataFrame({"customer_id": ["a"], "date": [day(9)], "amount": [5.0]}))
    people = connection.create_table("people", pd.DataFrame({"customer_id": ["a"], "kind": ["person"]}))
    purchases, lines = customers.purchases(log), customers.transaction_lines(log)
    rows = prospects.panel(contacts, purchases, people, dates=[day(5), day(20)])
    expressions = [
        rows,
        prospects.fallen_silent(contacts, purchases, as_of=day(300)),
        prospects.first_years(lines, purchases, as_of=day(400)),
        prospects.judged(rows, prospects.Learnt(0.2, None, None, "")),
    ]
    for expression in expressions:
        assert "memtable" not in ibis.to_sql(expression, dialect=dialect)


def test_the_chart_draws_the_numbers_of_its_frame():
    bins = pd.DataFrame({"predicted": [0.1, 0.5], "rate": [0.12, 0.4], "low": [0.05, 0.3], "high": [0.2, 0.5]})
    ax = charts.calibration(bins).axes[0]
    assert ax.collections[1].get_offsets().tolist() == [[0.1, 0.12], [0.5, 0.4]]
    assert [path.vertices[:, 1].tolist() for path in ax.collections[0].get_paths()] == [[0.05, 0.2], [0.3, 0.5]]
