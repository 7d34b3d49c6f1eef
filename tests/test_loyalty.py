"""Who is to be visited, congratulated and asked agrees with plain Python dates and pandas."""

from __future__ import annotations

import calendar
import datetime as dt

import ibis
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crm_analysis import loyalty, open_dataset, periods, pyramid, treatment
from crm_analysis.errors import Unanswerable

AS_OF = dt.date(2025, 12, 31)
DATES = st.dates(dt.date(1900, 1, 1), dt.date(2026, 12, 31))


def kept_on(born, year):
    """Return when a day is kept in a year."""
    if (born.month, born.day) == (2, 29) and not calendar.isleap(year):
        return dt.date(year, 2, 28)
    return born.replace(year=year)


@settings(max_examples=6, deadline=None)
@given(
    st.lists(DATES | st.none(), min_size=1, max_size=8),
    st.dates(dt.date(2000, 1, 1), dt.date(2030, 12, 31)),
    st.sampled_from([1, 30, 365]),
)
@example([dt.date(1960, 2, 29), dt.date(1985, 2, 28), dt.date(1990, 3, 1)], dt.date(2025, 2, 1), 27)
@example([dt.date(1960, 2, 29), dt.date(1984, 2, 28)], dt.date(2024, 2, 27), 2)
@example([dt.date(1976, 1, 1), dt.date(1975, 12, 31), dt.date(1966, 1, 30)], AS_OF, 30)
@example([dt.date(1960, 2, 29)], dt.date(2024, 2, 29), 365)
def test_occasions_agree_with_plain_dates(born, as_of, days):
    frame = pd.DataFrame({"customer_id": [str(n) for n in range(len(born))], "birthday": pd.to_datetime(born)})
    found = loyalty.occasions(frame, "birthday", as_of=as_of, days=days, every=10).to_pandas()
    expected = set()
    for number, date in enumerate(born):
        if date is None or date > as_of:
            continue
        until = as_of + dt.timedelta(days=days)
        on = [kept for year in (as_of.year, as_of.year + 1) if as_of < (kept := kept_on(date, year)) <= until]
        if on:
            years = on[0].year - date.year
            expected.add((str(number), on[0], years, years > 0 and years % 10 == 0 and years <= 110))
    rows = zip(found["customer_id"], pd.to_datetime(found["date"]).dt.date, found["years"], found["round"], strict=True)
    assert len(found) == len(expected)
    assert set(rows) == expected


def test_visits_become_due_the_day_after_the_cadence():
    first = [dt.date(2025, 1, 1)] * 6
    tiered = pd.DataFrame(
        {
            "customer_id": [*"abcdef"],
            "first_purchase": first,
            "value": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "tier": ["major", "major", "important", "small", "major", "major"],
        }
    )
    last = {"a": 60, "b": 31, "c": 5, "d": 10, "e": 61, "f": 30}  # days ago
    contacts = pd.DataFrame({"customer_id": [*last], "purpose": "sales"})
    contacts["time"] = [pd.Timestamp(AS_OF) - pd.Timedelta(days=days) for days in last.values()]
    visits = treatment.visits_due(tiered, contacts, as_of=AS_OF)
    found = loyalty.coming_visits(visits, as_of=AS_OF, days=30).to_pandas()
    assert dict(zip(found["customer_id"], pd.to_datetime(found["due_on"]).dt.date, strict=True)) == {
        "a": dt.date(2026, 1, 1),
        "c": dt.date(2026, 1, 26),
        "b": dt.date(2026, 1, 30),
    }
    assert found["customer_id"].to_list() == ["a", "c", "b"]
    # On that day the treatment lists them as due, and not on the day before.
    for row in found.itertuples():
        date = pd.Timestamp(row.due_on).date()
        for as_of, due in ((date, True), (date - dt.timedelta(days=1), False)):
            then = treatment.visits_due(tiered, contacts, as_of=as_of).to_pandas().set_index("customer_id")
            assert then["due"][row.customer_id] == due


def test_preferences_do_not_send_anybody_to_the_telephone():
    people = pd.DataFrame(
        {
            "customer_id": [*"abcd"],
            "preferred_contact": ["telephone", "visit", None, "telephone"],
            "do_not_call": ["yes", "Yes", "x", None],
            "preference": ["-", " afternoon ", None, "unknown"],
        }
    )
    found = loyalty.with_preferences(pd.DataFrame({"customer_id": [*"abcde"]}), people).to_pandas()
    found = found.set_index("customer_id").sort_index().astype(object)
    assert found["preferred_contact"].where(found["preferred_contact"].notna(), "").to_dict() == {
        "a": "do not call",
        "b": "visit, do not call",
        "c": "do not call",
        "d": "telephone",
        "e": "",
    }
    assert found["preference"].dropna().to_dict() == {"b": "afternoon"}
    bare = loyalty.with_preferences(pd.DataFrame({"customer_id": ["a"]}), people[["customer_id"]])
    assert bare.columns == ("customer_id",)
    assert loyalty.with_preferences(pd.DataFrame({"customer_id": ["a"]}), None).columns == ("customer_id",)


FIELD = st.sampled_from(["x", " ", "-", "Unknown", None, "0"])


@settings(max_examples=5, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(pyramid.TIERS), st.sampled_from(["person", "company", None]), FIELD, FIELD, FIELD),
        min_size=1,
        max_size=15,
    ),
    st.randoms(),
)
def test_records_agree_with_plain_python(rows, random):
    frame = pd.DataFrame(rows, columns=["tier", "kind", "name", "tier_size", "industry"])
    frame["customer_id"] = [f"c{n:02}" for n in range(len(rows))]
    tiered = frame[["customer_id", "tier"]].assign(value=[float(n) for n in range(len(rows))])
    people = frame.drop(columns="tier")[1:]  # the first is not in the customers table
    fields, weights = ["industry", "absent", "name", "tier_size"], [1, 9, 3, 0.5]
    found = loyalty.records(tiered, people.astype("string"), fields, weights, of_companies=["industry"])
    told = found.to_pandas().set_index("customer_id")
    blank, sums = {" ", "-", "Unknown", None}, {}
    for n, (tier_of, kind, *written) in enumerate(rows):
        row = dict(zip(["name", "tier_size", "industry"], written, strict=True))
        asked = {"name": 3, "industry": 1, "tier_size": 0.5}
        if n and kind == "person":
            del asked["industry"]
        lacking = [name for name in asked if n == 0 or row[name] in blank]
        got = sum(weight for name, weight in asked.items() if name not in lacking)
        record = told.loc[f"c{n:02}"]
        assert record["score"] == pytest.approx(got / sum(asked.values()))
        assert record["missing"] == ", ".join(name.replace("_", " ") for name in lacking)
        for name in asked:
            for tier in (tier_of, "all"):
                filled, of = sums.get((name, tier), (0, 0))
                sums[name, tier] = filled + (name not in lacking), of + 1
        for tier in (tier_of, "all"):
            filled, of = sums.get(("record score", tier), (0, 0))
            sums["record score", tier] = filled + got, of + sum(asked.values())
    known = loyalty.completeness(found).set_index("field")
    assert sorted(known.index) == ["industry", "name", "record score", "tier size"]
    assert known.index[-1] == "record score"
    for field in known.index:
        for tier in (*pyramid.TIERS, "all"):
            filled, of = sums.get((field.replace("tier size", "tier_size"), tier), (0, 0))
            assert known.loc[field, tier] == (
                pytest.approx(filled / of) if of else pytest.approx(float("nan"), nan_ok=True)
            )
    gaps = loyalty.gaps(found).to_pandas()
    assert gaps["customer_id"].to_list() == [who for who in reversed(told.sort_index().index) if told["missing"][who]]
    order = random.sample(range(len(rows)), len(rows))
    again = loyalty.records(tiered.iloc[order], people.astype("string"), fields, weights, of_companies=["industry"])
    pd.testing.assert_frame_equal(loyalty.completeness(again).set_index("field"), known)


def test_impossible_parameters_are_refused():
    frame = pd.DataFrame({"customer_id": ["a"], "birthday": [AS_OF], "tier": "small", "value": 1.0})
    for days in (0, 366):
        with pytest.raises(ValueError, match="365 days ahead"):
            loyalty.occasions(frame, "birthday", as_of=AS_OF, days=days, every=10)
    with pytest.raises(ValueError, match="every must be"):
        loyalty.occasions(frame, "birthday", as_of=AS_OF, days=30, every=0)
    for weights in ([1, 2], [1, 2, 0], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="3 fields need as many weights above 0"):
            loyalty.records(frame, frame, ["a", "b", "birthday"], weights)
    with pytest.raises(Unanswerable, match="none of the fields a, b"):
        loyalty.records(frame, frame, ["a", "b"])


@pytest.fixture(scope="module")
def company(sample):
    """Return the sample company, its tiers and its customers table."""
    data = open_dataset(sample)
    since = periods.edges(data.period[0], data.as_of, months=12, count=1)[0]
    return (
        data,
        treatment.tiered(data.customers(), data.by_period([since, data.as_of])).cache(),
        data.table("customers"),
    )


class TestSample:
    def test_completeness_agrees_with_pandas(self, company):
        _, tiered, people = company
        fields = ["birthday", "preferred_contact", "contact_person"]
        found = loyalty.completeness(loyalty.records(tiered, people, fields, of_companies=["contact_person"]))
        found = found.set_index("field")
        frame = tiered.to_pandas().merge(people.to_pandas(), on="customer_id", how="left")
        for tier in pyramid.TIERS:
            part = frame[frame["tier"] == tier]
            assert found.loc["birthday", tier] == pytest.approx(part["birthday"].notna().mean())
            assert found.loc["preferred contact", tier] == pytest.approx(part["preferred_contact"].notna().mean())
            companies = part[part["kind"] == "company"]
            assert found.loc["contact person", tier] == pytest.approx(companies["contact_person"].notna().mean())

    def test_birthdays_agree_with_pandas(self, company):
        data, _, people = company
        found = loyalty.occasions(people, "birthday", as_of=data.as_of, days=31, every=10).to_pandas()
        born = people.to_pandas().dropna(subset="birthday").set_index("customer_id")["birthday"]
        assert set(found["customer_id"]) == set(born.index[born.dt.month == 1])  # all of the January to come
        assert set(found.loc[found["round"], "customer_id"]) == set(
            born.index[(born.dt.month == 1) & (born.dt.year % 10 == 6)]
        )


def test_speaks_other_dialects(dialect):
    tiers = ibis.table(
        {"customer_id": "string", "first_purchase": "date", "tier": "string", "value": "float64"}, name="tiers"
    )
    people = ibis.table(
        {
            "customer_id": "string",
            "kind": "string",
            "birthday": "date",
            "preferred_contact": "string",
            "do_not_call": "string",
            "employees": "int64",
        },
        name="customers",
    )
    contacts = ibis.table({"customer_id": "string", "time": "timestamp", "purpose": "string"}, name="contacts")
    visits = treatment.visits_due(tiers, contacts, as_of=AS_OF)
    for found in (
        loyalty.with_preferences(loyalty.coming_visits(visits, as_of=AS_OF, days=30), people),
        loyalty.occasions(people, "birthday", as_of=AS_OF, days=30, every=10),
        loyalty.gaps(loyalty.records(tiers, people, ["birthday", "employees"], of_companies=["employees"])),
    ):
        assert "memtable" not in ibis.to_sql(found, dialect=dialect)
