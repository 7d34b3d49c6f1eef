"""Prospects and targets: since when they are, in which stage they stand at each date, and what becomes of them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from itertools import pairwise

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import lifecycle, open_dataset
from crm_analysis.errors import Unanswerable
from crm_analysis.lifecycle import NON_CUSTOMER, Rules

START = dt.date(2024, 1, 1)
AS_OF = dt.date(2024, 7, 31)
RULES = Rules(30, 60, 4)

statuses = st.dictionaries(
    st.sampled_from("abcdef"), st.sampled_from(["customer", "target", "prospect", "none", None]), min_size=1
)
talks = st.lists(
    st.tuples(st.sampled_from("abcdefg"), st.integers(0, 200), st.sampled_from([None, 0, 1, 2, 3])), max_size=25
)
logs = st.lists(
    st.tuples(st.sampled_from("abcx"), st.integers(0, 200), st.sampled_from([-100, 0, 100])), min_size=1, max_size=15
)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def people(status: dict) -> pd.DataFrame:
    return pd.DataFrame({"customer_id": list(status), "status": pd.array(list(status.values()), dtype="string")})


def contacts(talked: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(talked, columns=["customer_id", "time", "interest"])
    return frame.assign(
        customer_id=frame["customer_id"].astype("string"),
        time=pd.to_datetime([f"{day(number)} 09:30" for number in frame["time"]]),
        interest=frame["interest"].astype("Int64"),
        purpose="sales",
    )


def naive(status: dict, talked: list[tuple]) -> dict[str, tuple[dt.date | None, dt.date | None]]:
    found = {}
    for who in {*status, *(who for who, *_ in talked)}:
        met = min((day(number) for other, number, _ in talked if other == who), default=None)
        keen = [day(number) for other, number, interest in talked if other == who and (interest or 0) >= 2]
        keen = min(keen, default=None)
        match status.get(who):
            case "none":
                met = keen = None
            case "prospect":
                met, keen = met or AS_OF, None
            case "target":
                met, keen = met or AS_OF, keen or AS_OF
        found[who] = (met, keen)
    return found


def dates_of(table) -> dict[str, tuple[dt.date | None, dt.date | None]]:
    frame = table.to_pandas()
    assert frame["customer_id"].is_unique
    return {
        row.customer_id: tuple(
            None if pd.isna(value) else pd.Timestamp(value).date() for value in (row.prospect_from, row.target_from)
        )
        for row in frame.itertuples()
    }


@settings(max_examples=25, deadline=None)
@given(statuses, talks)
def test_leads_agree_with_plain_python(status, talked):
    assert dates_of(lifecycle.leads(people(status), contacts(talked), as_of=AS_OF)) == naive(status, talked)


def test_either_table_is_enough():
    status, talked = {"a": "target", "b": "customer"}, [("a", 3, 1), ("c", 5, 2)]
    only_status = dates_of(lifecycle.leads(people(status), None, as_of=AS_OF))
    assert only_status == {"a": (AS_OF, AS_OF), "b": (None, None)}
    only_contacts = dates_of(lifecycle.leads(None, contacts(talked), as_of=AS_OF))
    assert only_contacts == {"a": (day(3), None), "c": (day(5), day(5))}
    no_status = people(status).drop(columns="status")
    assert dates_of(lifecycle.leads(no_status, contacts(talked), as_of=AS_OF)) == only_contacts | {"b": (None, None)}
    with pytest.raises(Unanswerable, match="Neither"):
        lifecycle.leads(None, None, as_of=AS_OF)


def test_without_interest_a_sales_contact_makes_a_target():
    talked = contacts([("a", 3, None), ("b", 4, None)]).drop(columns="interest").assign(purpose=["market", "sales"])
    assert dates_of(lifecycle.leads(None, talked, as_of=AS_OF)) == {"a": (day(3), None), "b": (day(4), day(4))}


@settings(max_examples=25, deadline=None)
@given(logs, statuses, talks)
def test_everybody_is_in_one_stage_and_none_is_lost_between_two_dates(log, status, talked):
    rows = pd.DataFrame(
        [(who, day(n), float(amount)) for who, n, amount in log], columns=["customer_id", "date", "amount"]
    )
    ends = lifecycle.month_ends(START, AS_OF)
    leads = lifecycle.leads(people(status), contacts(talked), as_of=AS_OF)
    staged = lifecycle.stages(rows, ends, RULES, leads)
    frame = staged.to_pandas()
    found = {(row.customer_id, pd.Timestamp(row.date).date()): row.stage for row in frame.itertuples()}
    assert len(found) == len(frame)

    customers = lifecycle.stages(rows, ends, RULES).to_pandas()
    expected = {(row.customer_id, pd.Timestamp(row.date).date()): row.stage for row in customers.itertuples()}
    for who, (met, keen) in naive(status, talked).items():
        for end in ends:
            if (who, end) not in expected and met and met <= end:
                expected[who, end] = "target" if keen and keen <= end else "prospect"
    assert found == expected

    if len(set(frame["date"])) > 1:
        moves = lifecycle.transitions(staged)
        counts = lifecycle.counts(staged).set_index(["date", "stage"])["customers"]
        seen = sorted(set(counts.index.get_level_values("date")))
        for before, now in pairwise(seen):
            left = moves[moves["date"] == now].groupby("stage_before")["customers"].sum()
            for stage, customers_then in counts[before].items():
                assert left.get(stage, 0) == customers_then
        joined = lifecycle.flows(moves)["joined"].sum()
        first, last = (
            sum(
                end == pd.Timestamp(at).date() and stage not in ("prospect", "target")
                for (_, end), stage in found.items()
            )
            for at in (seen[0], seen[-1])
        )
        assert joined == last - first


def test_a_prospect_becomes_a_target_and_a_customer():
    log = pd.DataFrame({"customer_id": ["a"], "date": [dt.date(2024, 4, 10)], "amount": [5.0]})
    leads = lifecycle.leads(None, contacts([("a", 40, 1), ("a", 70, 3)]), as_of=AS_OF)
    staged = lifecycle.stages(log, lifecycle.month_ends(START, AS_OF), RULES, leads)
    moves = lifecycle.transitions(staged)
    assert list(zip(moves["stage_before"], moves["stage_now"], strict=True)) == [
        ("prospect", "target"),
        ("target", "first-time"),
        ("first-time", "dormant"),
        ("dormant", "lost"),
        ("lost", "lost"),
    ]
    assert NON_CUSTOMER not in set(lifecycle.probabilities(moves)["stage_before"])


class TestSampleCompany:
    """What the tables say of people is what the page counts."""

    def test_today_stages_follow_the_status(self, sample):
        shop = open_dataset(sample)
        log = shop.table("transactions")
        leads = lifecycle.leads(shop.table("customers"), shop.table("contacts"), as_of=shop.as_of)
        staged = lifecycle.stages(log, [shop.as_of], lifecycle.rules(log), leads)
        counts = lifecycle.counts(staged).set_index("stage")["customers"]
        status = Counter(shop.table("customers")["status"].to_pandas())
        assert counts["prospect"] == status["prospect"] > 50
        assert counts["target"] == status["target"] > 25
        everyone = leads.count().execute()
        assert everyone - counts.sum() == status["none"]

    def test_nobody_is_a_lead_before_the_first_contact(self, sample):
        shop = open_dataset(sample)
        leads = lifecycle.leads(shop.table("customers"), shop.table("contacts"), as_of=shop.as_of)
        met = shop.table("contacts").group_by("customer_id").aggregate(met=ibis._.time.cast("date").min())
        joined = leads.inner_join(met, "customer_id")
        assert joined.filter(joined["prospect_from"] < joined["met"]).count().execute() == 0
