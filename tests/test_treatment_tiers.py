"""Contacts, chances of rising, costs to serve, small customers and loads: plain Python, planted facts, edge cases."""

from __future__ import annotations

import datetime as dt
import io
import math
import warnings

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import charts, customers, lifetime, open_dataset, periods, receivables, treatment
from crm_analysis.errors import Unanswerable

START, SPLIT, AS_OF = dt.date(2023, 12, 31), dt.date(2024, 6, 30), dt.date(2024, 12, 31)
TIERS = ["important", "major", "ordinary", "small"]
HOSTILE = "$x_1$ <b>'; --"


def by_id(table, index="customer_id"):
    return table.to_pandas().set_index(index)


def tiered(*rows):
    """Return customers (id, tier, value, revenue, purchases) who first bought at the start."""
    frame = pd.DataFrame(rows, columns=["customer_id", "tier", "value", "revenue", "purchases"])
    return frame.astype({"value": float, "revenue": float}).assign(first_purchase=START)


CONTACTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", HOSTILE]),
        st.integers(0, 360),
        st.sampled_from(["market", "sales", "service"]),
        st.sampled_from(["in", "out", None]),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=20, deadline=None)
@given(CONTACTS, st.lists(st.sampled_from([0, 30, 180, 370]), min_size=4, max_size=4), st.booleans())
def test_visits_due_agree_with_plain_python(made, cadence, directed):
    people = tiered(*zip(["a", "b", "c", "d", HOSTILE], [*TIERS, "major"], range(5), range(5), range(5), strict=True))
    contacts = pd.DataFrame(made, columns=["customer_id", "day", "purpose", "direction"])
    contacts["time"] = pd.Timestamp(AS_OF) - pd.to_timedelta(contacts.pop("day"), "D") + pd.Timedelta("10h")
    contacts["direction"] = contacts["direction"].astype("string")
    if not directed:
        contacts = contacts.drop(columns="direction")
    visits = treatment.visits_due(people, contacts, cadence, as_of=AS_OF)
    found = by_id(visits)
    limit = dict(zip(TIERS, cadence, strict=True))
    for row in people.itertuples():
        ours = [
            days
            for who, days, purpose, direction in made
            if who == row.customer_id and purpose != "market" and not (directed and direction == "in")
        ]
        since = min(ours, default=366)
        due = 0 < limit[row.tier] < since
        assert (found["days_since"][row.customer_id], found["due"][row.customer_id]) == (since, due)
        assert found["days_overdue"][row.customer_id] == (since - limit[row.tier] if due else 0)
        assert pd.isna(found["last_contact"][row.customer_id]) == (not ours)
    state = treatment.in_cadence(visits, cadence).set_index("tier")
    assert state["cadence"].to_list() == cadence
    assert state.index.to_list() == TIERS
    assert state["due"].to_dict() == found.groupby("tier")["due"].sum().reindex(TIERS, fill_value=0).to_dict()
    assert (state["within"] + state["due"]).to_dict() == {"important": 1, "major": 2, "ordinary": 1, "small": 1}
    assert state["value_due"].sum() == found["value"][found["due"]].sum()


def test_contacts_of_nobody_and_impossible_cadences():
    people = tiered(("a", "major", 5, 5, 1)).assign(first_purchase=pd.Series([None], dtype="datetime64[s]"))
    nobody = pd.DataFrame({"customer_id": ["z"], "time": [pd.Timestamp(AS_OF)], "purpose": ["sales"]})
    found = treatment.visits_due(people, nobody, (1, 1, 1, 1), as_of=AS_OF).to_pandas()
    assert (found["due"].to_list(), found["days_overdue"].to_list()) == ([False], [0])
    empty = treatment.in_cadence(treatment.visits_due(people.head(0), nobody, as_of=AS_OF))
    assert (empty["customers"].sum(), empty["cadence"].to_list()) == (0, [30, 60, 180, 0])
    for wrong in ((1, 2, 3), (1, 2, 3, -1)):
        with pytest.raises(ValueError, match="cadence"):
            treatment.visits_due(people, nobody, wrong, as_of=AS_OF)


class TestAccountManagers:
    def test_are_those_of_the_day(self):
        rows = [
            ("a", "old", "2023-01-01", "2024-06-01"),
            ("a", "new", "2024-06-02", None),
            ("b", "later", "2025-01-01", None),
            ("b", "last day", "2023-01-01", "2024-12-31"),
            ("c", "gone", "2023-01-01", "2024-12-30"),
            ("d", "z", "2024-01-01", None),
            ("d", "y", "2024-01-01", None),
        ]
        given = pd.DataFrame(rows, columns=["customer_id", "account_manager_id", "start", "end"])
        given = given.assign(start=pd.to_datetime(given["start"]), end=pd.to_datetime(given["end"]))
        expected = {"a": "new", "b": "last day", "d": "y"}
        for frame in (given, given[::-1].reset_index(drop=True)):
            assert by_id(treatment.managers(None, frame, AS_OF))["account_manager_id"].to_dict() == expected
        people = pd.DataFrame({"customer_id": ["a", "b"], "account_manager_id": ["m", None]})
        found = by_id(treatment.managers(people, None, AS_OF))
        assert found["account_manager_id"].to_dict() == {"a": "m"}
        open_ended = treatment.managers(people, given.drop(columns="end"), AS_OF)
        assert by_id(open_ended)["account_manager_id"].to_dict() == expected | {"c": "gone"}
        with pytest.raises(Unanswerable, match="'account_manager_id'"):
            treatment.managers(people[["customer_id"]], None, AS_OF)

    def test_load(self):
        warned = pd.DataFrame({"customer_id": [*"abcde"], "value": [5.0, 4, 3, 2, 1], "signs": [0, 2, 0, 1, 0]})
        owners = pd.DataFrame({"customer_id": [*"abcz"], "account_manager_id": ["m", HOSTILE, "m", "m"]})
        visits = pd.DataFrame(
            {
                "customer_id": [*"acdz"],
                "tier": ["major", "important", "major", "small"],
                "due": [True, False, True, True],
            }
        )
        found = treatment.load(warned, owners, visits, most_accounts=1)
        columns = ["account_manager_id", "key_customers", "value", "with_signs", "value_warned", "due", "too_many"]
        assert found[columns].to_numpy().tolist() == [
            [HOSTILE, 1, 4.0, 1, 4.0, 0, 0],
            [treatment.NOBODY, 2, 3.0, 1, 2.0, 1, 0],
            ["m", 2, 8.0, 0, 0.0, 1, 1],
        ]
        assert "due" not in treatment.load(warned, owners, most_accounts=9).columns
        with pytest.raises(ValueError, match="at least 1 customer"):
            treatment.load(warned, owners, most_accounts=0)

    def test_of_the_sample_company_after_a_manager_left(self, sample, truth):
        data = open_dataset(sample)
        owners = treatment.managers(None, data.table("assignments"), data.as_of).to_pandas()
        assert owners["customer_id"].is_unique
        assert truth["leaving_manager"] not in set(owners["account_manager_id"])
        before = treatment.managers(None, data.table("assignments", dt.date(2024, 6, 30)), dt.date(2024, 6, 30))
        assert truth["leaving_manager"] in set(before.to_pandas()["account_manager_id"])


def test_upgrades_are_ordered_by_gain():
    people = tiered(("a", "ordinary", 50, 0, 1), ("b", "ordinary", 90, 0, 1), ("c", "ordinary", 10, 0, 1))
    likely = pd.DataFrame({"customer_id": [*"abcz"], "expected_value": 7.0, "chance": [0.5, 0.9, 0.2, 1.0]})
    found = treatment.upgrades(people, likely, least=100, typical=150, from_chance=0.25).to_pandas()
    assert found.to_numpy().tolist() == [
        ["b", pytest.approx(54), 90, 7, 0.9, 10],
        ["a", pytest.approx(50), 50, 7, 0.5, 50],
    ]
    for wrong in (0, 1.1, math.nan):
        with pytest.raises(ValueError, match="chance of a candidate"):
            treatment.upgrades(people, likely, least=1, typical=1, from_chance=wrong)


def test_calibration_counts_who_rose_in_fifths():
    likely = pd.DataFrame(
        {"customer_id": [*"abcdefghij"], "chance": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.4, 0.4, 0.2, 0.1]}
    )
    later = pd.DataFrame({"customer_id": [*"acj"], "value": [11.0, 10.0, 12.0]})
    found = treatment.calibration(likely, later, 10.0)
    assert found["fifth"].to_list() == [1, 2, 3, 5]
    assert found["customers"].to_list() == [2, 2, 4, 2]
    assert found["expected"].to_list() == pytest.approx([0.85, 0.65, 0.425, 0.15])
    assert found["rose"].to_list() == [1, 0, 0, 1]
    assert found["rate"].to_list() == [0.5, 0, 0, 0.5]


def chances(data, as_of, since, months=12):
    """Return the chances of the sample company's ordinary customers, and the least value of a major one."""
    everyone = data.customers(as_of).cache()
    tiers = treatment.tiered(everyone, data.by_period([since, as_of])).cache()
    least = treatment.entry(tiers, "major")[0]
    model = lifetime.ParetoNBDFitter().fit_histories(lifetime.histories(everyone))
    spend = lifetime.GammaGammaFitter().fit_histories(lifetime.spend_histories(everyone))
    valued = lifetime.value(everyone, model, spend, months=months, annual_discount=0.0)
    ordinary = tiers.filter(tiers["tier"] == "ordinary")["customer_id"]
    own = valued.filter(valued["customer_id"].isin(ordinary))
    return treatment.chances(own, model, spend, months=months, amount=least).cache(), least


def test_chances_came_true(sample):
    data = open_dataset(sample)
    since, then, now = periods.edges(data.period[0], data.as_of, months=12, count=2)
    found, least = chances(data, then, since)
    checked = treatment.calibration(found, data.by_period([then, now]), least)
    assert checked["customers"].sum() == 294
    assert (checked["expected"] * checked["customers"]).sum() == pytest.approx(43.7, abs=0.05)
    assert checked["rose"].sum() == 39
    assert checked["expected"].between(checked["low"], checked["high"]).all()
    assert checked["expected"].is_monotonic_decreasing


def test_chances_of_nobody(sample):
    data = open_dataset(sample)
    everyone = data.customers()
    model = lifetime.ParetoNBDFitter().fit_histories(lifetime.histories(everyone))
    spend = lifetime.GammaGammaFitter().fit_histories(lifetime.spend_histories(everyone))
    valued = lifetime.value(everyone, model, spend, months=12, annual_discount=0.0)
    found = treatment.chances(valued.filter(valued["customer_id"] == ""), model, spend, months=12, amount=1.0)
    assert found.to_pandas().empty


def test_costly_to_serve():
    costs = pd.DataFrame(
        [("a", AS_OF, 30.0), ("a", START, 900.0), ("b", AS_OF, 10.0), ("c", AS_OF, 5.0)],
        columns=["customer_id", "date", "cost"],
    )
    people = tiered(
        ("a", "ordinary", 70, 0, 2), ("b", "ordinary", 90, 0, 1), ("c", "small", -15, 0, 1), ("d", "small", 0, 0, 0)
    )
    served = treatment.with_service_cost(people, costs, START)
    assert by_id(served)["service_cost"].to_dict() == {"a": 30, "b": 10, "c": 5, "d": 0}
    found = treatment.costly(served, most=0.2).to_pandas()
    columns = ["customer_id", "saving", "service_cost", "brought", "value", "purchases"]
    assert found[columns].to_numpy().tolist() == [["a", 10, 30, 100, 70, 2], ["c", 5, 5, -10, -15, 1]]
    with pytest.raises(ValueError, match="at least 0"):
        treatment.costly(served, most=-0.1)


def bought(*rows):
    """Return purchases: who, when (month and day of 2024), value."""
    frame = pd.DataFrame(rows, columns=["customer_id", "date", "value"])
    return frame.assign(date=[dt.date(2024, *when) for when in frame["date"]], amount=10.0)


class TestSmallCustomers:
    def test_growing_takes_three_months_and_twice_as_much(self):
        steady = [(month, 3) for month in (2, 4, 6, 8, 10, 12)]
        log = bought(
            *(("grows", when, 10.0 if when[0] <= 6 else 40.0) for when in steady),
            *(("grows", (month, 20), 40.0) for month in (8, 10, 12)),
            *(("steady", when, 10.0) for when in steady),
            *(("one month", (12, number), 90.0) for number in range(1, 9)),
            ("one month", (2, 1), 1.0),
            *(("new", when, 50.0) for when in steady[3:]),
            *(("from nothing", when, 0.0 if when[0] <= 6 else 40.0) for when in steady),
        )
        small = pd.DataFrame({"customer_id": log["customer_id"].unique()})
        found = by_id(treatment.growing(small, log, START, SPLIT, AS_OF))
        assert set(found.index) == {"grows", "from nothing"}
        ratio = 184 / (SPLIT - dt.date(2024, 2, 3)).days
        assert found["growth"]["grows"] == pytest.approx(240 / (30 * ratio))
        assert found["at_stake"]["grows"] == pytest.approx((240 - 30 * ratio) * 365.25 / 184)
        assert math.isnan(found["growth"]["from nothing"])

    def test_a_low_margin_is_judged_from_three_months(self):
        people = tiered(
            ("a", "small", 5, 100, 3),
            ("b", "small", 5, 100, 3),
            ("c", "small", 25, 100, 3),
            ("d", "major", 165, 200, 9),
            ("e", "small", -50, 0, 3),
            ("f", "small", -10, 100, 3),
        )
        log = bought(
            *(("a", (month, 1), 1.0) for month in (2, 3, 4)),
            *(("b", (3, number), 1.0) for number in (1, 2, 3)),
            *((who, (month, 1), 1.0) for who in "cdef" for month in (1, 2, 3)),
        )
        found = by_id(treatment.adjust(people, log, START, low_margin=0.5, least_purchases=3))
        usual = 140 / 600
        assert found["at_stake"].to_dict() == pytest.approx({"a": 100 * usual - 5, "f": 100 * usual + 10})
        assert found["margin"].to_dict() == {"a": 0.05, "f": -0.1}
        served = people.assign(service_cost=1.0)
        assert "service_cost" in treatment.adjust(served, log, START, low_margin=0.5, least_purchases=3).columns
        assert treatment.adjust(people, log, START, low_margin=0.5, least_purchases=4).to_pandas().empty
        revenue = people.assign(value=people["revenue"])
        assert treatment.adjust(revenue, log, START, low_margin=1, least_purchases=1).to_pandas().empty
        losses = people.assign(value=-1.0)
        assert len(treatment.adjust(losses, log, START, low_margin=1, least_purchases=1).to_pandas()) == 3
        for wrong in ({"low_margin": 2, "least_purchases": 1}, {"low_margin": 0.5, "least_purchases": 0}):
            with pytest.raises(ValueError, match="margin"):
                treatment.adjust(people, log, START, **wrong)

    def test_credit_ends_after_three_late_months(self):
        rows = [
            *(("late", f"l{month}", 10.0, dt.date(2024, month, 1), dt.date(2024, month, 1), 40) for month in (2, 3, 4)),
            *(("one month", f"o{n}", 10.0, dt.date(2024, 2, n), dt.date(2024, 12, 1), 99) for n in (1, 2, 3)),
            *(("long ago", f"a{n}", 10.0, dt.date(2023, n, 1), dt.date(2023, 12, 1), 99) for n in (1, 2, 3)),
            *(("owes", f"w{n}", 10.0, dt.date(2024, n, 1), dt.date(2024, n, 1), 0) for n in (1, 2)),
            ("owes", "w9", 7.0, dt.date(2024, 9, 1), None, 121),
            ("first", "f1", 7.0, dt.date(2024, 2, 1), None, 334),
            *(("credits", f"c{n}", -10.0, dt.date(2024, n, 1), None, 200) for n in (1, 2, 3)),
        ]
        frame = pd.DataFrame(rows, columns=["customer_id", "order_id", "amount", "due", "paid", "days_late"])
        frame = frame.assign(open=frame["paid"].isna())
        found = by_id(treatment.bad_credit(frame[["customer_id"]].drop_duplicates(), frame, START, late_days=30))
        assert found["open"].to_dict() == {"late": 0, "owes": 7}
        assert found["late_invoices"].to_dict() == {"late": 3, "owes": 1}
        with pytest.raises(ValueError, match="late after"):
            treatment.bad_credit(frame, frame, START, late_days=-1)

    def test_each_is_treated_once(self):
        people = tiered(*((who, "small", 1, 1, 1) for who in "abcd"))
        grow = pd.DataFrame({"customer_id": [*"abc"], "at_stake": [9.0, 8, 7], "chance": 0.5})
        growing = pd.DataFrame({"customer_id": [*"cd"], "at_stake": [5.0, 7], "growth": 3.0})
        adjust = pd.DataFrame({"customer_id": [*"ab"], "at_stake": [2.0, 30], "margin": 0.1})
        credit = pd.DataFrame({"customer_id": ["a"], "at_stake": [4.0], "open": 4.0, "late_invoices": 3})
        found = treatment.treated(people, end_credit=credit, adjust=adjust, could_grow=grow, growing=growing)
        columns = ["customer_id", "treatment", "at_stake"]
        assert found.to_pandas()[columns].to_numpy().tolist() == [
            ["b", "adjust price or service", 30],
            ["c", "could grow", 7],
            ["d", "could grow", 7],
            ["a", "end credit", 4],
        ]
        counted = treatment.by_treatment(found)
        assert counted["treatment"].to_list() == [*treatment.TREATMENTS]
        assert counted["customers"].to_list() == [1, 1, 2]
        assert counted["at_stake"].to_list() == [4, 30, 14]
        looked_at = treatment.by_treatment(treatment.treated(people, adjust=adjust.head(0)), ["adjust"])
        assert looked_at.to_numpy().tolist() == [["adjust price or service", 0, 0]]
        with pytest.raises(Unanswerable, match="three different months"):
            treatment.treated(people)
        alone = treatment.treated(people, growing=growing, adjust=None)
        assert alone.columns == ("customer_id", "treatment", "at_stake", "value", "purchases", "growth")

    def test_regular_is_who_bought_in_three_months_of_the_period(self):
        log = bought(
            *(("a", (month, 1), 1.0) for month in (1, 2, 3)),
            *(("b", (1, number), 1.0) for number in (1, 2, 3)),
            *(("z", (month, 1), 1.0) for month in (1, 2, 3)),
        )
        small = pd.DataFrame({"customer_id": [*"ab"]})
        assert treatment.regular(small, log, START).to_pandas()["customer_id"].to_list() == ["a"]
        assert treatment.regular(small, log, dt.date(2024, 1, 1)).to_pandas().empty  # the first was before the period
        assert treatment.spans(dt.date(2024, 10, 31), AS_OF) is False
        assert treatment.spans(dt.date(2024, 10, 30), AS_OF) is True
        assert treatment.spans(dt.date(2024, 11, 15), dt.date(2025, 1, 15)) is True

    def test_finds_what_is_planted_in_the_sample_company(self, sample, truth):
        data = open_dataset(sample)
        tiers = treatment.tiered(data.customers(), data.by_period([AS_OF, data.as_of])).cache()
        found = treatment.adjust(tiers, data.purchases(), AS_OF, low_margin=0.5, least_purchases=3).to_pandas()
        assert {*truth["unprofitable_big"]} <= {*found["customer_id"]}
        assert len(found) == 11
        invoices = receivables.invoices(data.table("payments"), data.as_of)
        late = treatment.bad_credit(data.customers(), invoices, AS_OF, late_days=30).to_pandas()
        assert {*truth["bad_payers"]} <= {*late["customer_id"]}
        assert len(late) == 28  # of all tiers: the others owe for more than 90 days
        small = tiers.filter(tiers["tier"] == "small")
        assert len(treatment.bad_credit(small, invoices, AS_OF, late_days=30).to_pandas()) == 2

    def test_finds_the_rising_ones_while_they_are_small(self, sample, truth):
        """Half a year before the end all of the twelve planted ones are small; at the end none of them is."""
        data = open_dataset(sample, as_of="2025-06-30")
        since, split, now = dt.date(2024, 6, 30), dt.date(2024, 12, 31), data.as_of
        tiers = treatment.tiered(data.customers(), data.by_period([since, now])).cache()
        small = tiers.filter(tiers["tier"] == "small")
        found = treatment.growing(small, data.purchases(), since, split, now).to_pandas()
        assert len(small.filter(small["customer_id"].isin(truth["rising_small"])).to_pandas()) == 12
        assert (found["customer_id"].isin(truth["rising_small"]).sum(), len(found)) == (8, 11)


def test_speaks_other_dialects(dialect):
    money = "decimal(18, 6)"
    log = ibis.table({"customer_id": "string", "date": "date", "amount": money, "cost": money}, name="transactions")
    costs = ibis.table({"customer_id": "string", "date": "date", "cost": money}, name="service_costs")
    contacts = ibis.table(
        {"customer_id": "string", "time": "timestamp", "purpose": "string", "direction": "string"}, name="contacts"
    )
    held = ibis.table(
        {"customer_id": "string", "account_manager_id": "string", "start": "date", "end": "date"}, name="assignments"
    )
    payments = ibis.table(
        {"customer_id": "string", "order_id": "string", "amount": money, "due": "date", "paid": "date"}, name="payments"
    )
    worth = periods.by_period(customers.transaction_lines(log), costs, [START, AS_OF])
    tiers = treatment.tiered(customers.summary(log, as_of=AS_OF), worth)
    served = treatment.with_service_cost(tiers, costs, START)
    for expression in (
        treatment.visits_due(tiers, contacts, as_of=AS_OF),
        treatment.managers(None, held, AS_OF),
        treatment.costly(served, most=0.2),
        treatment.growing(tiers, customers.purchases(log), START, SPLIT, AS_OF),
        treatment.treated(
            tiers,
            end_credit=treatment.bad_credit(tiers, receivables.invoices(payments, AS_OF), START, late_days=30),
            growing=treatment.growing(tiers, customers.purchases(log), START, SPLIT, AS_OF),
        ),
    ):
        assert "memtable" not in ibis.to_sql(expression, dialect=dialect)


class TestCharts:
    @pytest.fixture(autouse=True)
    def strict(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield

    def saved(self, figure):
        figure.savefig(io.BytesIO(), format="png", dpi=150)
        return figure

    def test_warning_signs_draw_customers_and_value(self):
        frame = pd.DataFrame(
            {"sign": ["silent", HOSTILE, "any sign"], "customers": [5, 0, 1234], "value": [9e6, -3, 0]}
        )
        left, right = self.saved(charts.warning_signs(frame, "profit")).axes
        assert [bar.get_width() for bar in left.patches] == [5, 0, 1234]
        assert [bar.get_width() for bar in right.patches] == [9e6, -3, 0]
        assert [text.get_text() for text in left.texts] == ["5", "0", "1,234"]
        assert [text.get_text() for text in right.texts] == ["9,000,000", "−3", "0"]
        assert [label.get_text() for label in left.get_yticklabels()] == ["silent", HOSTILE, "any sign"]

    def test_account_load_splits_each_bar_and_marks_the_most(self):
        frame = pd.DataFrame({"account_manager_id": [HOSTILE, "b"], "key_customers": [40, 3], "with_signs": [9, 0]})
        ax = self.saved(charts.account_load(frame, 30)).axes[0]
        assert [bar.get_width() for bar in ax.patches] == [40, 3, 9, 0]
        assert [text.get_text() for text in ax.texts] == ["9 of 40", "0 of 3"]
        assert [30, 30] in [list(line.get_xdata()) for line in ax.lines]
        self.saved(charts.account_load(frame.head(0), 30))
