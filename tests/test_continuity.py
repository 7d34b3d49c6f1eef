"""Changes of account managers agree with plain Python, a departure is found, and single hand-overs show no effect."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from functools import cache

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import continuity, customers, open_dataset, receivables, treatment
from crm_analysis.errors import Unanswerable

START, AS_OF = dt.date(2024, 1, 1), dt.date(2024, 3, 1)
PEOPLE = [*"abcdef"]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.sampled_from(["S1", "S2", "S3"]),
        st.integers(0, 70),
        st.integers(-3, 30) | st.none(),
    ),
    min_size=1,
    max_size=36,
)


def day(number):
    return START + dt.timedelta(days=int(number))


def assigned(rows):
    """Return assignments from customer, manager, first day and length (None: still so)."""
    frame = pd.DataFrame(
        [
            (who, manager, day(first), None if length is None else day(first + length))
            for who, manager, first, length in rows
        ],
        columns=["customer_id", "account_manager_id", "start", "end"],
    )
    return frame.assign(start=pd.to_datetime(frame["start"]), end=pd.to_datetime(frame["end"]))


def on_day(rows, who, date):
    """Return who looks after a customer on a day: the latest assigned, then the first by name."""
    there = [
        (-first, manager)
        for one, manager, first, length in rows
        if one == who and day(first) <= date and (length is None or day(first + length) >= date)
    ]
    return min(there)[1] if there else None


def everything(frame, as_of=AS_OF, **rules):
    spells = continuity.spells(frame, as_of=as_of)
    spells = spells if isinstance(frame, ibis.Table) else spells.cache()
    departures = continuity.departures(spells, **rules)
    return spells, departures, continuity.changes(spells, departures, as_of=as_of)


@settings(max_examples=3, deadline=None)
@given(ROWS, st.randoms())
def test_spells_and_changes_say_of_each_day_what_the_assignments_say(rows, random):
    spells, _, changes = everything(assigned(rows))
    frame, found = spells.to_pandas(), changes.to_pandas()
    days = [START + dt.timedelta(days=n) for n in range((AS_OF - START).days + 1)]
    expected = []
    for who in PEOPLE:
        had = [on_day(rows, who, date) for date in days]
        for date, manager in zip(days, had, strict=True):
            mine = frame[(frame["customer_id"] == who) & (frame["start"] <= str(date))]
            mine = mine[mine["end"].isna() | (mine["end"] >= str(date))]
            assert mine["account_manager_id"].to_list() == [manager] * (manager is not None)
        for n in range(1, len(days)):
            following = next(((m, date) for m, date in zip(had[n:], days[n:], strict=True) if m), (None, None))
            if had[n - 1] and had[n] != had[n - 1] and following[0] != had[n - 1]:
                without = ((following[1] or AS_OF + dt.timedelta(days=1)) - days[n]).days
                expected.append((who, had[n - 1], following[0], days[n], following[1], without))
    columns = ["customer_id", "from_manager", "to_manager", "changed", "begins", "days_without"]
    told = found[columns].astype(object).where(found[columns].notna(), None)
    for column in ("changed", "begins"):
        told[column] = [None if value is None else pd.Timestamp(value).date() for value in told[column]]
    assert sorted(told.itertuples(index=False, name=None), key=repr) == sorted(expected, key=repr)
    again = continuity.spells(assigned(random.sample(rows, len(rows))), as_of=AS_OF).to_pandas()
    order = ["customer_id", "start"]
    pd.testing.assert_frame_equal(
        again.sort_values(order, ignore_index=True), frame.sort_values(order, ignore_index=True)
    )


@settings(max_examples=4, deadline=None)
@given(ROWS, st.integers(0, 69))
def test_agree_with_the_managers_of_the_treatment(rows, number):
    frame, date = assigned(rows), day(number)
    now = treatment.managers(None, frame, date).to_pandas()
    spells = continuity.spells(frame, as_of=date).to_pandas()
    still = spells[spells["end"].isna()]
    assert dict(zip(still["customer_id"], still["account_manager_id"], strict=True)) == dict(
        zip(now["customer_id"], now["account_manager_id"], strict=True)
    )


def team(size, gone, *, staying=0, manager="S1", when=30):
    """Return so many customers of one manager, of whom some change around a day."""
    rows = []
    for n in range(size):
        who = f"{manager}-{n:02}"
        if n < gone:
            rows += [(who, manager, 0, when - 1 + n % 3), (who, "S9", when + n % 3, None)]
        else:
            rows.append((who, manager, 0, None))
    return rows + [(f"{manager}-new{n}", manager, 60, None) for n in range(staying)]


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        (team(10, 10), {"S1": (10, 10)}),
        (team(10, 8), {"S1": (10, 8)}),
        (team(10, 7), {}),
        (team(4, 4), {}),
        (team(10, 10, staying=9), {"S1": (10, 10)}),  # came back with others
        (team(10, 10) + team(6, 6, manager="S2", when=45), {"S1": (10, 10), "S2": (6, 6)}),
    ],
)
def test_a_departure_takes_most_customers_and_five_of_them(rows, left):
    _, departures, changes = everything(assigned(rows))
    frame = departures.to_pandas()
    assert {row.account_manager_id: (row.customers, row.changed) for row in frame.itertuples()} == left
    for row in frame.itertuples():
        assert row.left.date() == day(29 if row.account_manager_id == "S1" else 44)
    kinds = changes.to_pandas()
    assert set(kinds.loc[kinds["from_manager"].isin([*left]), "kind"]) <= {"departure"}
    assert set(kinds.loc[~kinds["from_manager"].isin([*left]), "kind"]) <= {"single"}


def test_rows_that_only_renew_an_assignment_are_no_change():
    rows = [(f"c{n}", "S1", first, 9) for n in range(8) for first in (0, 10, 22, 32)]
    _, departures, changes = everything(assigned(rows), as_of=day(41))
    assert not changes.count().execute()
    assert not departures.count().execute()
    frame = assigned(rows).drop(columns="end")  # without ends all are still so
    assert everything(frame)[0].to_pandas()["end"].isna().all()


def test_who_has_nobody_since_has_changed():
    found = everything(assigned([("a", "S1", 0, 9), ("b", "S1", 0, None)]))[2].to_pandas()
    (row,) = found.itertuples()
    assert (row.customer_id, row.from_manager, row.changed.date(), row.kind) == ("a", "S1", day(10), "single")
    assert pd.isna(row.to_manager)
    assert row.days_without == (AS_OF - day(10)).days + 1


LOG = st.lists(
    st.tuples(st.sampled_from([f"c{n}" for n in range(8)]), st.integers(-365, 180), st.integers(-5, 40)),
    min_size=1,
    max_size=80,
)


@settings(max_examples=4, deadline=None)
@given(LOG, st.randoms())
def test_customers_alike_agree_with_plain_python(rows, random):
    """Two of eight change on 15 January, one on 20 May; looked at are the 60 days after the month."""
    frame = assigned(
        [(f"c{n}", "S1", -400, 413 if n < 2 else 540 if n == 2 else None) for n in range(7)]
        + [("c0", "S2", 14, None), ("c1", "S3", 20, None), ("c2", "S2", 141, None), ("c7", "S2", 3, None)]
    )
    as_of, span = day(180), 31 + 60
    log = pd.DataFrame(rows, columns=["customer_id", "date", "amount"]).astype({"amount": float})
    log["date"] = [day(number) for number in log["date"]]
    spells, _, changes = everything(frame, as_of=as_of)
    changes = changes.cache()

    def found(log):
        return continuity.alike(customers.purchases(log), spells, changes, as_of=as_of, after_days=60)

    totals = defaultdict(float)
    for who, number, amount in rows:
        totals[who, number] += amount
    days = {key: amount for key, amount in totals.items() if amount >= 0}
    expected = defaultdict(lambda: [0, 0, 0, 0.0, 0.0])
    for number in range(7):  # c7 has nobody on the day before; c2 changes after the 91 days
        own = {n: amount for (who, n), amount in days.items() if who == f"c{number}"}
        before = [amount for n, amount in own.items() if -365 <= n < 0]
        after = [amount for n, amount in own.items() if 31 <= n <= span]
        if before:
            row = expected["single" if number < 2 else "kept"]
            halved = sum(after) < sum(before) * 60 / 365 / 2
            for place, value in enumerate((1, len(after) > 0, halved, sum(before), sum(after))):
                row[place] += value
    if not expected:
        with pytest.raises(Unanswerable, match="bought in the year"):
            found(log)
        return
    groups = found(log)
    sums = groups.groupby("kind")[["customers", "returned", "halved", "value_before", "value_after"]].sum()
    assert {kind: pytest.approx(row) for kind, row in expected.items()} == sums.T.to_dict("list")
    assert set(groups["month"].dt.date) == {START}
    pd.testing.assert_frame_equal(found(log.sample(frac=1, random_state=random.randrange(99))), groups)


def test_worth_is_what_those_alike_would_have_brought():
    cells = {"month": START, "recency": 0, "frequency": 0, "manager": ""}
    groups = pd.DataFrame(
        [
            {"kind": "single", "value": 0, "customers": 2, "returned": 1, "value_before": 100.0, "value_after": 30.0},
            {"kind": "kept", "value": 0, "customers": 4, "returned": 3, "value_before": 200.0, "value_after": 160.0},
            {"kind": "single", "value": 1, "customers": 1, "returned": 1, "value_before": 999.0, "value_after": 0.0},
            {"kind": "kept", "value": 2, "customers": 5, "returned": 0, "value_before": 9.0, "value_after": 9.0},
        ]
    ).assign(**cells)
    found = continuity.worth(groups, "single")
    assert found == (100, 30, pytest.approx(80))
    assert found.missing == pytest.approx(50)
    effect = continuity.effect(groups, "single")
    assert (effect.adjusted, effect.left_out) == (pytest.approx(0.5 - 0.75), 1)
    # What is told beside the difference is of the same customers: who has no equals counts on neither side.
    assert (effect.customers_with, effect.rate_with) == (2, 0.5)
    assert (effect.customers_without, effect.rate_without) == (4, 0.75)
    assert pd.isna(continuity.worth(groups, "departure").expected)
    with pytest.raises(Unanswerable, match="'manager left'"):
        continuity.effect(groups, "departure")
    with pytest.raises(ValueError, match="departure, single"):
        continuity.effect(groups, "other")


def test_of_several_departures_each_is_beside_those_who_kept_their_manager():
    cells = {"month": START, "recency": 0, "frequency": 0, "value": 0, "value_before": 9.0, "value_after": 9.0}
    groups = pd.DataFrame(
        [("departure", "S1", 10, 1), ("departure", "S2", 30, 21), ("kept", "", 100, 80), ("single", "", 20, 16)],
        columns=["kind", "manager", "customers", "returned"],
    ).assign(**cells)
    found = continuity.effects(groups).set_index("change")
    assert found["customers"].to_dict() == {"manager left": 40, "S2 left": 30, "S1 left": 10, "hand-over": 20}
    assert found["rate"].to_list() == pytest.approx([22 / 40, 0.7, 0.1, 0.8])
    assert found["alike"].to_list() == pytest.approx([0.8] * 4)
    assert list(continuity.effects(groups, most=1).index) == [0, 1, 2]
    alone = continuity.effects(groups[groups["manager"] != "S2"])
    assert alone["change"].to_list() == ["manager left", "hand-over"]
    with pytest.raises(Unanswerable, match="others alike"):
        continuity.effects(groups[groups["kind"] != "kept"])


def bought_on(*days_of):
    rows = [(f"c{n}", day(number)) for n, days in enumerate(days_of) for number in days]
    return customers.purchases(pd.DataFrame(rows, columns=["customer_id", "date"]).assign(amount=10.0))


def test_lost_are_those_whose_rhythm_broke_with_the_change():
    regular = range(-300, 0, 10)
    bought = bought_on(
        regular,  # nothing since: lost
        [*regular, 5],  # once more, agreed on with the old manager: lost
        [*regular, 20],  # bought from the new one
        range(-300, -100, 10),  # had stopped long before
        [-300, -150, -10],  # too seldom to tell
        [-20, -10],  # no rhythm yet
        [*regular, *range(0, 200, 10)],
    )
    frame = assigned([row for n in range(7) for row in ((f"c{n}", "S1", -400, 399), (f"c{n}", "S2", 0, None))])
    as_of = day(200)
    _, _, changes = everything(frame, as_of=as_of)
    found = continuity.lost_with_manager(bought, changes, as_of=as_of).to_pandas().set_index("customer_id")
    assert list(found.index) == ["c0", "c1"]
    assert found["value_before"].to_list() == [300, 300]
    assert found["chance"]["c0"] == pytest.approx((300 / 500) ** 29)
    assert found["missed"]["c1"] == pytest.approx(195 * 29 / 300)
    steady = continuity.regular(bought, changes, as_of=as_of).to_pandas()
    assert sorted(steady["customer_id"]) == ["c0", "c1", "c2", "c4", "c6"]
    soon = continuity.lost_with_manager(bought, changes, as_of=day(25))
    assert not soon.count().execute()
    strict = continuity.lost_with_manager(bought, changes, as_of=as_of, grace_days=0).to_pandas()
    assert strict["customer_id"].to_list() == ["c0"]


def test_chance_alone_rarely_loses_anybody():
    """Of 400 customers who go on at random as before, at most one in 100 is listed."""
    rng = np.random.default_rng(5)
    log = [[*rng.integers(-365, 180, rng.poisson(gap))] for gap in rng.gamma(2, 8, 400)]
    frame = assigned([row for n in range(400) for row in ((f"c{n}", "S1", -400, 399), (f"c{n}", "S2", 0, None))])
    _, _, changes = everything(frame, as_of=day(180))
    assert continuity.lost_with_manager(bought_on(*log), changes, as_of=day(180)).count().execute() <= 4


def test_not_yet_met_by_the_new_manager():
    frame = assigned([row for n in range(5) for row in ((f"c{n}", "S1", 0, 29), (f"c{n}", "S2", 30 + n, None))])
    _, _, changes = everything(frame)
    contacts = pd.DataFrame(
        [
            ("c0", "S2", "sales", 40),
            ("c1", "S2", "sales", 20),  # before the new one began
            ("c2", "S1", "sales", 40),  # by the old one
            ("c3", "S2", "market", 40),
        ],
        columns=["customer_id", "agent_id", "purpose", "time"],
    )
    contacts["time"] = [pd.Timestamp(day(n)) + pd.Timedelta("9h") for n in contacts["time"]]
    valued = pd.DataFrame({"customer_id": [f"c{n}" for n in range(4)], "value": [1.0, 2.0, 3.0, 3.0]})
    found = continuity.not_yet_met(changes, contacts, valued, as_of=AS_OF, days=60).to_pandas()
    assert found["customer_id"].to_list() == ["c2", "c3", "c1"]
    assert found["last_contact"].isna().to_list() == [False, True, False]
    gone = assigned([("c2", "S1", 0, 29), ("c2", "S2", 32, 10)])  # the new one is gone too: nobody to be met
    again = continuity.not_yet_met(everything(gone)[2], contacts, valued, as_of=AS_OF, days=60)
    assert not again.count().execute()
    since = (AS_OF - day(31)).days
    assert continuity.not_yet_met(changes, contacts, valued, as_of=AS_OF, days=since).to_pandas()[
        "customer_id"
    ].to_list() == ["c2", "c3"]


def test_hand_over_counts_what_is_open():
    tiers = pd.DataFrame(
        {"customer_id": ["a", "b", "c"], "value": [1.0, 5.0, 9.0], "tier": ["small", "major", "major"]}
    )
    owners = pd.DataFrame({"customer_id": ["a", "b", "c"], "account_manager_id": ["S1", "S1", "S2"]})
    cases = pd.DataFrame({"customer_id": ["a", "a", "c"], "closed": [pd.NaT, pd.Timestamp(START), pd.NaT]})
    payments = pd.DataFrame(
        {"order_id": ["1", "2"], "customer_id": "b", "amount": [7.0, 8.0], "due": [day(0), AS_OF], "paid": pd.NaT}
    )
    found = continuity.hand_over(tiers, owners, "S1", cases=cases, invoices=receivables.invoices(payments, AS_OF))
    assert found.to_pandas().to_dict("list") == {
        "customer_id": ["b", "a"],
        "value": [5, 1],
        "tier": ["major", "small"],
        "open_cases": [0, 1],
        "overdue": [7, 0],
    }
    with pytest.raises(Unanswerable, match="'S7' now; account managers are S1, S2"):
        continuity.hand_over(tiers, owners, "S7")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: continuity.departures(t, most=0.5), "above 0.5"),
        (lambda t: continuity.departures(t, least=0), "at least 1 customer"),
        (lambda t: continuity.alike(t, t, t, as_of=AS_OF, after_days=0), "after_days"),
        (lambda t: continuity.lost_with_manager(t, t, as_of=AS_OF, false_share=1), "false_share"),
        (lambda t: continuity.not_yet_met(t, t, t, as_of=AS_OF, days=0), "days must be"),
    ],
)
def test_impossible_parameters_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(pd.DataFrame({"customer_id": ["a"]}))


@cache
def of_the_sample(sample, as_of=None):
    data = open_dataset(sample, as_of=as_of)
    spells = continuity.spells(data.table("assignments"), as_of=data.as_of).cache()
    departures = continuity.departures(spells).cache()
    changes = continuity.changes(spells, departures, as_of=data.as_of).cache()
    return data, spells, departures, changes


class TestSample:
    def test_the_departure_is_found_and_no_other(self, sample, truth):
        _, _, departures, changes = of_the_sample(sample)
        (row,) = departures.to_pandas().itertuples()
        assert row.account_manager_id == truth["leaving_manager"]
        assert row.left.date() == dt.date.fromisoformat(str(truth["manager_left"])[:10])
        assert row.changed == row.customers == 85
        kinds = changes.to_pandas()
        assert kinds["kind"].value_counts().to_dict() == {"single": 87, "departure": 85}
        assert set(kinds.loc[kinds["kind"] == "departure", "from_manager"]) == {truth["leaving_manager"]}

    def test_the_departure_has_an_effect_and_single_changes_have_none(self, sample):
        data, spells, _, changes = of_the_sample(sample)
        bought = data.purchases().cache()
        for after in (180, 365):
            groups = continuity.alike(bought, spells, changes, as_of=data.as_of, after_days=after)
            departed, single = (continuity.effect(groups, kind) for kind in ("departure", "single"))
            assert departed.adjusted_high < -0.25
            assert single.adjusted_low < 0 < single.adjusted_high
            assert not continuity.effect(groups, "single", outcome="halved").clear
        assert continuity.effect(groups, "departure", outcome="halved").adjusted_low > 0.15
        worth = continuity.worth(groups, "departure")
        assert worth.missing > 0.7 * worth.before

    @pytest.mark.parametrize(("as_of", "least_found"), [("2025-12-31", 25), ("2025-03-31", 24)])
    def test_those_lost_with_their_manager_are_found(self, sample, truth, as_of, least_found):
        data, _, _, changes = of_the_sample(sample, as_of)
        lost = continuity.lost_with_manager(data.purchases(), changes, as_of=data.as_of).to_pandas()
        planted = lost["customer_id"].isin(truth["lost_with_manager"])
        assert planted.sum() >= least_found
        assert (~planted).sum() <= 2
        assert lost["value_before"].is_monotonic_decreasing

    def test_nothing_is_known_before(self, sample):
        data, spells, departures, changes = of_the_sample(sample, "2024-06-30")
        assert not departures.count().execute()
        frame = changes.to_pandas()
        assert (len(frame), set(frame["kind"])) == (31, {"single"})
        assert frame["changed"].max() <= pd.Timestamp("2024-06-30")
        lost = continuity.lost_with_manager(data.purchases(), changes, as_of=data.as_of)
        assert not lost.count().execute()
        # The same from the whole table: what comes later is not read.
        raw = data.connection.table("assignments")
        again = continuity.spells(raw, as_of=data.as_of).to_pandas().sort_values(["customer_id", "start"])
        found = spells.to_pandas().sort_values(["customer_id", "start"])
        pd.testing.assert_frame_equal(again.reset_index(drop=True), found.reset_index(drop=True))


def test_speaks_other_dialects(dialect):
    money = "decimal(18, 6)"
    log = ibis.table({"customer_id": "string", "date": "date", "amount": money}, name="transactions")
    table = ibis.table(
        {"customer_id": "string", "account_manager_id": "string", "start": "date", "end": "date"}, name="assignments"
    )
    contacts = ibis.table(
        {"customer_id": "string", "time": "timestamp", "purpose": "string", "agent_id": "string"}, name="contacts"
    )
    valued = ibis.table({"customer_id": "string", "value": "float64"}, name="valued")
    _, departures, changes = everything(table)
    bought = customers.purchases(log)
    for found in (
        departures,
        changes,
        continuity.lost_with_manager(bought, changes, as_of=AS_OF),
        continuity.not_yet_met(changes, contacts, valued, as_of=AS_OF, days=30),
    ):
        assert "memtable" not in ibis.to_sql(found, dialect=dialect)
