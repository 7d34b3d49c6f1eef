"""Ways of finding customers: against plain Python, nothing from the future, and what is planted in the sample."""

from __future__ import annotations

import datetime as dt
import statistics

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import acquisition, customers, open_dataset, periods, prospects
from crm_analysis.acquisition.ratios import ratios
from crm_analysis.errors import Unanswerable
from crm_analysis.examples.sample.people import CHANNELS
from crm_analysis.rates import wilson

START = dt.date(2023, 1, 1)
AS_OF = dt.date(2024, 12, 31)  # day 730
WHO = ["a", "b", "c", "ü|'; --", "NULL"]
WAYS = ["web", "visit", " visit ", "", None]

logs = st.lists(
    st.tuples(st.sampled_from([*WHO, "x"]), st.integers(0, 730), st.sampled_from([-50, 0, 30, 90])), max_size=20
)
talks = st.lists(st.tuples(st.sampled_from([*WHO, "y"]), st.integers(0, 730)), max_size=10)
known = st.lists(st.tuples(st.sampled_from(WAYS), st.sampled_from([None, 0.0, 25.5, 80.0])), min_size=5, max_size=5)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def sales(rows: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["customer_id", "date", "amount"])
    return frame.assign(
        customer_id=frame["customer_id"].astype("string"),
        date=pd.to_datetime([day(number) for number in frame["date"]]),
        amount=frame["amount"].astype(float),
    )


def bought(rows: list[tuple]) -> ibis.Table:
    return customers.purchases(sales(rows))


def talked(rows: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["customer_id", "time"])
    times = pd.to_datetime([pd.Timestamp(day(number)) + pd.Timedelta(hours=15) for number in frame["time"]])
    return frame.assign(customer_id=frame["customer_id"].astype("string"), time=times)


def named(rows: list[tuple], who: list[str] = WHO) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["acquired_via", "acquisition_cost"])
    return pd.DataFrame(
        {
            "customer_id": pd.Series(who, dtype="string"),
            "acquired_via": frame["acquired_via"].astype("string"),
            "acquisition_cost": frame["acquisition_cost"].astype(float),
        }
    )


def purchase_days(log: list[tuple]) -> dict[str, list[int]]:
    totals: dict[tuple, int] = {}
    for who, number, amount in log:
        totals[who, number] = totals.get((who, number), 0) + amount
    found: dict[str, list[int]] = {}
    for (who, number), amount in sorted(totals.items(), key=lambda item: item[0][1]):
        if amount >= 0:
            found.setdefault(who, []).append(number)
    return found


def naive(rows: list[tuple], log: list[tuple], spoken: list[tuple]) -> dict[str, tuple]:
    """Who is known, and: way, cost, day of the first contact, day of the first purchase."""
    via = dict(zip(WHO, rows, strict=True))
    first = {who: days[0] for who, days in purchase_days(log).items()}
    met: dict[str, int] = {}
    for who, number in spoken:
        met[who] = min(number, met.get(who, number))
    found = {}
    for who in {*first, *met}:
        way, cost = via.get(who, (None, None))
        contact = met.get(who)
        if contact is not None and who in first and contact > first[who]:
            contact = None
        found[who] = ((way or "").strip() or "unknown", cost, contact, first.get(who))
    return found


def as_days(people: ibis.Table) -> dict[str, tuple]:
    rows = {}
    for row in people.to_pandas().itertuples():
        dates = [None if pd.isna(date) else (pd.Timestamp(date).date() - START).days
                 for date in (row.approached, row.first_purchase)]  # fmt: skip
        rows[row.customer_id] = (row.way, None if pd.isna(row.cost) else row.cost, *dates)
    return rows


@settings(max_examples=5, deadline=None)
@given(known, logs, talks)
def test_people_count_from_their_first_contact_or_purchase_on(rows, log, spoken):
    people = acquisition.people(named(rows), bought(log), talked(spoken)).cache()
    assert as_days(people) == naive(rows, log, spoken)
    shuffled = acquisition.people(named(rows).iloc[::-1], bought(log[::-1]), talked(spoken[::-1]))
    assert as_days(shuffled) == as_days(people)
    without = acquisition.people(named(rows), bought(log))
    assert set(as_days(without)) == set(purchase_days(log))


@settings(max_examples=5, deadline=None)
@given(known, logs, talks, st.integers(1, 400))
def test_those_approached_against_plain_python(rows, log, spoken, within):
    people = acquisition.people(named(rows), bought(log), talked(spoken)).cache()
    everyone = [row for row in naive(rows, log, spoken).values() if row[2] is not None]
    judged = [row for row in everyone if row[2] <= 730 - within]
    if not judged:
        with pytest.raises(Unanswerable, match="Nobody is known to have been approached"):
            acquisition.approached(people, as_of=AS_OF, within_days=within)
        return
    cells = acquisition.approached(people, as_of=AS_OF, within_days=within)
    assert cells["too_recent"].sum() == len(everyone) - len(judged)
    for row in acquisition.costs(cells).itertuples():
        own = [person for person in judged if person[0] == row.way]
        won = [person for person in own if person[3] is not None and person[3] - person[2] <= within]
        priced = [person[1] for person in own if person[1] is not None]
        assert (row.people, row.won, row.priced) == (len(own), len(won), len(priced))
        each = statistics.mean(priced) if priced else np.nan
        assert row.cost_per_person == pytest.approx(each, nan_ok=True)
        per_customer = each * len(own) / len(won) if won else np.nan
        assert row.cost_per_customer == pytest.approx(per_customer, nan_ok=True)
        if own:
            assert (row.low, row.high) == pytest.approx(wilson(len(won) / len(own), len(own)))


@settings(max_examples=5, deadline=None)
@given(known, logs, st.sampled_from([(0, 1), (6, 12), (12, 24)]))
def test_who_came_back_against_plain_python(rows, log, ages):
    after, until = ages
    people = acquisition.people(named(rows), bought(log)).cache()
    judged = {who: days for who, days in purchase_days(log).items() if (731 - days[0]) * 12 // 365 >= until}
    if not judged:
        with pytest.raises(Unanswerable, match="Nobody has been a customer"):
            acquisition.came_back(people, bought(log), as_of=AS_OF, after_months=after, until_months=until)
        return
    cells = acquisition.came_back(people, bought(log), as_of=AS_OF, after_months=after, until_months=until)
    back = [who for who, (first, *later) in judged.items()
            if any(after <= (number - first) * 12 // 365 < until for number in later)]  # fmt: skip
    assert (cells["customers"].sum(), cells["returned"].sum()) == (len(judged), len(back))


@settings(max_examples=4, deadline=None)
@given(logs, st.sampled_from([0.0, 20.0, 100.0]))
def test_when_the_cost_is_earned_back_against_plain_python(log, cost):
    # Sixty customers of each history, so that no month has few.
    many = [(f"{who}{copy}", number, amount) for who, number, amount in log for copy in range(60)]
    who = sorted({name for name, *_ in many})
    people = acquisition.people(named([("web", None)] * len(who), who), bought(many)).cache()
    lines = customers.transaction_lines(sales(many))
    costs = pd.DataFrame({"way": ["web", "none"], "cost_per_customer": [cost, np.nan]})
    curve = acquisition.earned_back(people, lines, costs, as_of=AS_OF, months=24).set_index("month")
    lives = purchase_days(log)
    for month in range(1, 25):
        known = [who for who, days in lives.items() if (731 - days[0]) * 12 // 365 >= month]
        earned = 0
        for who in known:
            flows = [(number - lives[who][0], amount) for name, number, amount in log if name == who]
            sums = [sum(v for d, v in flows if d >= 0 and d * 12 // 365 < m) for m in range(1, month + 1)]
            ends = [any(d >= 0 and d * 12 // 365 == m - 1 for d, _ in flows) for m in range(1, month + 1)]
            earned += any(total >= cost for total, end in zip(sums, ends, strict=True) if end)
        assert (month in curve.index) == bool(known)
        if known:
            assert (curve.at[month, "customers"], curve.at[month, "earned"]) == (60 * len(known), 60 * earned)
    if len(curve) and curve["rate"].max() >= 0.5:
        assert acquisition.half_by(curve.reset_index())["web"] == curve.index[curve["rate"] >= 0.5].min()


def test_the_cost_of_those_who_never_bought_belongs_to_the_customers_won():
    rows = [("visit", 100.0), ("visit", None), ("visit", 200.0), ("web", 10.0), ("web", 10.0)]
    people = acquisition.people(
        named(rows), bought([("a", 10, 50), ("NULL", 400, 9)]), talked([(who, 1) for who in WHO])
    )
    costs = acquisition.costs(acquisition.approached(people, as_of=AS_OF, within_days=100)).set_index("way")
    # Three visits at 150 on average for one customer; who bought later than 100 days after is not one.
    assert costs.loc["visit", ["people", "won", "cost_per_person", "cost_per_customer"]].tolist() == [3, 1, 150, 450]
    assert costs.loc["web", ["people", "won", "cost_per_person"]].tolist() == [2, 0, 10]
    assert np.isnan(costs.loc["web", "cost_per_customer"])
    own = acquisition.own_costs(people).set_index("way")
    assert own["cost_per_customer"].to_dict() == {"visit": 100, "web": 10}
    assert own["customers"].to_dict() == {"visit": 1, "web": 1}


def test_ways_of_few_people_are_taken_together():
    rows = [("web", 1.0), ("web", 1.0), ("fair", 1.0), ("visit", 1.0), (None, 1.0)]
    log = [(who, 5, 10) for who in WHO]
    table = named(rows)
    told = {
        most: acquisition.people(table, bought(log), ways=most).to_pandas()["way"].value_counts() for most in (1, 2)
    }
    assert told[1].to_dict() == {"web": 2, "other ways": 2, "unknown": 1}
    assert told[2].to_dict() == {"web": 2, "fair": 1, "other ways": 1, "unknown": 1}  # of equals, the first by name
    cells = pd.DataFrame({"way": ["other ways", "unknown", "web"], "kind": "p", "year": 2023, "n": [50, 50, 50]})
    ranked = acquisition.by_way(cells.assign(part=[50, 40, 10]), "part", "n")
    assert ranked["way"].tolist() == ["web", "other ways", "unknown"]


def test_first_years_and_lifetime_values_by_hand():
    rows = [("web", 1.0), ("web", 1.0), ("fair", 1.0), ("fair", 1.0), (None, 1.0)]
    people = acquisition.people(named(rows), bought([(who, 5, 10) for who in WHO])).cache()
    years = pd.DataFrame({"customer_id": WHO, "value": [10.0, 30.0, 5.0, 7.0, 100.0]})
    found = acquisition.first_years(people, years).set_index("way")
    assert found["value"].to_dict() == {"web": 20, "fair": 6, "unknown": 100}
    assert found["median"].to_dict() == {"web": 20, "fair": 6, "unknown": 100}
    reach = 1.959963984540054 * statistics.stdev([10, 30]) / np.sqrt(2)
    assert found.loc["web", ["value_low", "value_high"]].tolist() == pytest.approx([20 - reach, 20 + reach])
    assert found.loc["unknown", ["value_low", "value_high"]].isna().all()
    assert acquisition.above_median(people, years).set_index("way")["returned"].to_dict() == {
        "fair": 0, "unknown": 1, "web": 1,
    }  # fmt: skip
    valued = years.assign(lifetime_value=[1.0, 3.0, 0.0, -8.0, 0.0])
    costs = pd.DataFrame({"way": ["web", "fair"], "cost_per_customer": [11.0, 0.0]})
    worth = acquisition.lifetime_values(people, valued, costs).set_index("way")
    assert worth.loc["web", ["value", "expected", "total", "cost", "net", "times"]].tolist() == [20, 2, 22, 11, 11, 2]
    assert worth.loc["fair", ["total", "net"]].tolist() == [2, 2]
    assert np.isnan(worth.loc["fair", "times"])  # nothing was spent
    assert np.isnan(worth.loc["unknown", "net"])
    so_far = acquisition.lifetime_values(people, years, costs).set_index("way")
    assert so_far["total"].to_dict() == {"web": 20, "fair": 6, "unknown": 100}
    assert so_far["expected"].isna().all()


def test_arrivals_add_up():
    rows = [("web", 1.0), ("referral", 1.0), ("referral", 1.0), ("web", 1.0), (None, 1.0)]
    log = [("a", 0, 10), ("b", 400, 10), ("c", 500, 10), ("ü|'; --", 600, 10), ("NULL", 730, 10)]
    people = acquisition.people(named(rows), bought(log)).cache()
    edges = [dt.date(2023, 12, 31), dt.date(2024, 6, 30), AS_OF]
    found = acquisition.arrivals(people, edges)
    told = {(row.period, row.way): (row.new, row.all) for row in found.itertuples()}
    assert told == {
        (edges[1], "web"): (0, 2), (edges[1], "referral"): (2, 2), (edges[1], "unknown"): (0, 2),
        (edges[2], "web"): (1, 2), (edges[2], "referral"): (0, 2), (edges[2], "unknown"): (1, 2),
    }  # fmt: skip


def test_old_and_new_and_their_orders_by_hand():
    log = [("a", 0, 100), ("a", 500, 30), ("a", 510, 50), ("b", 520, 60), ("b", 530, -10), ("c", 10, 5)]
    people = acquisition.people(named([("web", 1.0)] * 5), bought(log)).cache()
    since, lines = day(365), customers.transaction_lines(sales(log))
    service = pd.DataFrame(
        {"customer_id": ["a", "c", "b", "a"], "date": pd.to_datetime([day(n) for n in (500, 400, 521, 1)]), "cost": 7.0}
    )
    worth = periods.by_period(lines, service, [since, AS_OF])
    found = acquisition.old_and_new(people, worth, service, since=since, as_of=AS_OF).set_index("group")
    # c is old and cost 7, although nothing was bought.
    assert found.loc["old", ["customers", "value", "served"]].tolist() == [1, 80 - 14, 14]
    assert found.loc["new", ["customers", "value", "served"]].tolist() == [1, 50 - 7, 7]
    assert acquisition.old_and_new(people, worth, since=since, as_of=AS_OF)["served"].isna().all()

    listed = sales(log).assign(list_amount=[100.0, 40.0, 50.0, 75.0, None, 5.0], cost=[0.0, 10.0, 10.0, 10.0, 0.0, 0.0])
    lines = customers.transaction_lines(listed)
    orders = acquisition.orders(lines, customers.purchases(listed), since=since, as_of=AS_OF).set_index("order")
    assert orders.loc["first order", ["orders", "amount", "value", "discount"]].tolist() == pytest.approx(
        [1, 60, 50, 0.2]
    )
    later = orders.loc["later orders"]
    assert later[["orders", "amount", "value", "margin", "discount"]].tolist() == pytest.approx(
        [2, 40, 30, 60 / 80, 0.125]
    )
    assert orders["share"].sum() == 1
    bare = acquisition.orders(customers.transaction_lines(sales(log)), bought(log), since=since, as_of=AS_OF)
    assert bare["discount"].isna().all()


def test_intervals_of_ratios_allow_for_customers_who_order_often():
    rng = np.random.default_rng(1)
    repeats, size = 300, 150
    level, often = rng.gamma(2, 50, (repeats, size)), rng.poisson(4, (repeats, size)) + 1  # orders of one are alike
    each = pd.DataFrame(
        {"run": np.repeat(np.arange(repeats), size), "value": (level * often).ravel().round(2), "orders": often.ravel()}
    )
    found = ratios(ibis.memtable(each), "run", value=("value", "orders"))
    held = (found["value_low"] <= 100) & (found["value_high"] >= 100)
    assert 0.90 <= held.mean() <= 0.98
    flat = 1.96 * np.std(np.repeat(level[0], often[0])) / np.sqrt(often[0].sum())
    assert found["value_high"][0] - found["value"][0] > 1.5 * flat


def test_lists():
    rows = [("web", 100.0), ("web", 100.0), ("fair", None), ("fair", 100.0), ("referral", 100.0)]
    log = [(who, 5, 10) for who in WHO[:4]] + [("NULL", 700, 10)]
    people = acquisition.people(named(rows), bought(log)).cache()
    valued = pd.DataFrame(
        {
            "customer_id": WHO,
            "value": [10.0, 120.0, 1.0, -5.0, 1.0],
            "purchases": 1,
            "last_purchase": pd.Timestamp(AS_OF),
            "lifetime_value": [50.0, 50.0, 50.0, 60.0, 50.0],
        }
    )
    owing = acquisition.not_earned_back(people, valued, as_of=AS_OF, known_days=90).to_pandas()
    # b has earned it back, of c the cost is not known, NULL first bought 30 days ago.
    assert owing[["customer_id", "expected", "shortfall"]].to_numpy().tolist() == [["ü|'; --", 60, 105], ["a", 50, 90]]
    blind = acquisition.not_earned_back(people, valued.drop(columns="lifetime_value"), as_of=AS_OF, known_days=90)
    assert blind.to_pandas()["expected"].isna().all()

    cases = pd.DataFrame(
        {
            "case_id": ["1", "2", "3", "4"],
            "customer_id": ["a", "a", "b", "c"],
            "opened": pd.to_datetime([day(1), day(9), day(3), day(4)]),
            "closed": pd.to_datetime([day(2), day(9), day(3), None]),
            "satisfaction": pd.array([1, 5, 3, None], "Int64"),
        }
    )
    # a was content the last time, b was not, the case of c is open.
    asked = acquisition.could_recommend(valued, people, cases).to_pandas()
    assert asked["customer_id"].tolist() == ["a", "NULL", "ü|'; --"]
    assert acquisition.could_recommend(valued, people).count().execute() == 5


def test_what_is_said_of_ways_that_are_clearly_apart():
    cells = pd.DataFrame(
        {
            "way": ["a", "b", "c", "unknown"],
            "kind": "p",
            "year": 2024,
            "n": [400, 400, 400, 900],
            "x": [300, 100, 200, 0],
        }
    )
    found = acquisition.compared(cells, "x", "n")
    assert found["way"].tolist() == ["a", "b", "c"]
    assert acquisition.apart(found) == "clearly more of those found by a (75%), clearly fewer of those found by b (25%)"
    even = acquisition.compared(cells.assign(x=[200, 201, 199, 0]), "x", "n")
    assert acquisition.apart(even) == "between the ways, chance could explain the differences"
    assert acquisition.apart(acquisition.compared(cells.assign(n=[400, 9, 9, 0], x=5), "x", "n")) == ""


def test_few_false_alarms_among_ways_that_do_not_differ():
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(40):
        sizes = rng.integers(50, 500, 6)
        cells = pd.DataFrame({"way": [*"abcdef"], "kind": "p", "year": 1, "n": sizes, "x": rng.binomial(sizes, 0.7)})
        alarms += acquisition.compared(cells, "x", "n")["clear"].any()
    assert alarms <= 6  # 5 % of 40 are 2


@pytest.fixture(scope="module")
def data(sample):
    return open_dataset(sample)


@pytest.fixture(scope="module")
def found(data):
    people = acquisition.people(data.table("customers"), data.purchases(), data.table("contacts")).cache()
    return people, acquisition.approached(people, as_of=data.as_of, within_days=365)


class TestSample:
    def test_recommended_people_are_won_most_often_and_those_telephoned_least(self, found):
        told = acquisition.compared(found[1], "won", "people").set_index("way")
        assert told.index[told["clear"] & (told["adjusted"] > 0)].tolist() == ["referral"]
        assert told.index[told["clear"] & (told["adjusted"] < 0)].tolist() == ["telephone"]

    def test_what_a_person_costs_is_what_was_planted(self, found, truth):
        costs = acquisition.costs(found[1]).set_index("way")
        planted = CHANNELS["cost"] * np.exp(0.3**2 / 2)
        assert set(costs.index) == set(truth["channels"])
        assert costs["cost_per_person"].to_dict() == pytest.approx(planted.to_dict(), rel=0.06)
        order = costs["cost_per_customer"].sort_values().index.tolist()
        assert order == ["web", "referral", "telephone", "fair", "meeting", "visit"]

    def test_those_of_the_web_leave_earlier(self, data, found):
        cells = acquisition.came_back(found[0], data.purchases(), as_of=data.as_of, after_months=6, until_months=12)
        told = acquisition.compared(cells, "returned", "customers").set_index("way")
        assert told.index[told["clear"]].tolist() == ["web"]
        assert told.loc["web", "adjusted"] < 0

    def test_only_dear_ways_take_long_to_be_earned_back(self, data, found):
        curve = acquisition.earned_back(
            found[0],
            data.lines(),
            acquisition.costs(found[1]),
            data.table("service_costs"),
            as_of=data.as_of,
            months=12,
        )
        half = acquisition.half_by(curve)
        assert set(half.index[half == 1]) == {"web", "referral", "telephone"}
        assert half[["meeting", "visit"]].min() >= 4
        year = curve[curve["month"] == 12].set_index("way")
        assert year.loc[["visit", "meeting"], "high"].max() < year.loc[["web", "referral", "telephone"], "low"].min()

    def test_first_orders_are_sold_at_a_larger_discount(self, data):
        orders = acquisition.orders(
            data.lines(), data.purchases(), since=dt.date(2024, 12, 31), as_of=data.as_of
        ).set_index("order")
        assert acquisition.differ(orders, "discount")
        assert orders.loc["first order", "discount"] > orders.loc["later orders", "discount"]
        assert not acquisition.differ(orders, "value")

    def test_nothing_is_claimed_of_first_year_values_that_differ_by_chance(self, data, found):
        years = prospects.first_years(data.lines(), data.purchases(), data.table("service_costs"), as_of=data.as_of)
        above = acquisition.above_median(found[0], years)
        assert not acquisition.compared(above, "returned", "customers")["clear"].any()
        assert above["returned"].sum() == above["customers"].sum() // 2
        means = acquisition.first_years(found[0], years).set_index("way")
        frame = years.to_pandas().merge(found[0].to_pandas(), on="customer_id").groupby("way")["value"]
        assert means["value"].to_dict() == pytest.approx(frame.mean().to_dict())
        assert (means["value_high"] - means["value"]).to_dict() == pytest.approx(
            (1.959963984540054 * frame.sem()).to_dict()
        )

    def test_what_comes_after_the_as_of_date_changes_nothing(self, data, sample, found):
        end = dt.date(2024, 6, 30)
        early = open_dataset(sample, as_of=end)
        people = acquisition.people(early.table("customers"), early.purchases(), early.table("contacts")).to_pandas()
        later = found[0].to_pandas()
        met, first = (pd.to_datetime(later[name]) <= pd.Timestamp(end) for name in ("approached", "first_purchase"))
        assert set(people["customer_id"]) == set(later["customer_id"][met | first])
        assert pd.to_datetime(people["first_purchase"]).max() <= pd.Timestamp(end)


def test_bad_parameters():
    people = acquisition.people(named([("web", 1.0)] * 5), bought([("a", 5, 10)]))
    costs = pd.DataFrame({"way": ["web"], "cost_per_customer": [np.nan]})
    lines = customers.transaction_lines(sales([("a", 5, 10)]))
    with pytest.raises(ValueError, match="at least 1 way"):
        acquisition.people(named([("web", 1.0)] * 5), bought([]), ways=0)
    with pytest.raises(ValueError, match="at least 1 day"):
        acquisition.approached(people, as_of=AS_OF, within_days=0)
    with pytest.raises(ValueError, match="between two ages"):
        acquisition.came_back(people, bought([]), as_of=AS_OF, after_months=12, until_months=12)
    with pytest.raises(ValueError, match="at least 1 month"):
        acquisition.earned_back(people, lines, costs, as_of=AS_OF, months=0)
    with pytest.raises(Unanswerable, match="Nothing tells what it cost"):
        acquisition.earned_back(people, lines, costs, as_of=AS_OF, months=3)


def test_every_engine_is_spoken_to(dialect):
    tables = {
        "customers": ibis.table(
            {"customer_id": "string", "acquired_via": "string", "acquisition_cost": "decimal(18, 2)", "kind": "string"},
            name="customers",
        ),
        "contacts": ibis.table({"customer_id": "string", "time": "timestamp"}, name="contacts"),
        "sales": ibis.table({"customer_id": "string", "date": "date", "amount": "decimal(18, 2)"}, name="sales"),
        "cases": ibis.table(
            {"case_id": "string", "customer_id": "string", "opened": "timestamp", "closed": "timestamp",
             "satisfaction": "int64"},
            name="cases",
        ),
    }  # fmt: skip
    purchases = customers.purchases(tables["sales"])
    people = acquisition.people(tables["customers"], purchases, tables["contacts"])
    summary = customers.summary(tables["sales"], as_of=AS_OF)
    for table in (
        people,
        acquisition.not_earned_back(people, summary, as_of=AS_OF, known_days=90),
        acquisition.could_recommend(summary, people, tables["cases"]),
    ):
        assert ibis.to_sql(table, dialect=dialect)


def test_frames_are_asked_in_sql_that_every_engine_speaks(monkeypatch):
    asked = []

    def remember(self, **_):
        asked.extend(ibis.to_sql(self, dialect=name) for name in ("postgres", "pyspark"))
        return self.execute()

    log = [("a", 0, 100), ("a", 500, 30), ("b", 520, 60)]
    frames = named([("web", 1.0)] * 5), talked([("a", 0)])
    monkeypatch.setattr(ibis.expr.types.Table, "to_pandas", remember)
    people = acquisition.people(frames[0], bought(log), frames[1])
    lines = customers.transaction_lines(sales(log))
    cells = acquisition.approached(people, as_of=AS_OF, within_days=90)
    costs = acquisition.costs(cells)
    years = prospects.first_years(lines, bought(log), as_of=AS_OF)
    acquisition.own_costs(people)
    acquisition.came_back(people, bought(log), as_of=AS_OF, after_months=0, until_months=12)
    acquisition.first_years(people, years)
    acquisition.above_median(people, years)
    acquisition.earned_back(people, lines, costs, as_of=AS_OF, months=2)
    acquisition.lifetime_values(people, customers.summary(sales(log), as_of=AS_OF), costs)
    acquisition.arrivals(people, [day(0), AS_OF])
    acquisition.old_and_new(people, periods.by_period(lines, None, [day(365), AS_OF]), since=day(365), as_of=AS_OF)
    acquisition.orders(lines, bought(log), since=day(0), as_of=AS_OF)
    assert len(asked) >= 20
