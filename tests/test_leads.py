"""Prospects and targets: from when to when they are, where they stand at each date, and what becomes of them."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import customers, lifecycle, open_dataset
from crm_analysis.lifecycle import LEADS, Rules

START = dt.date(2024, 1, 1)
AS_OF = dt.date(2024, 7, 31)
RULES = Rules(30, 60, 4)

talks = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 200), st.sampled_from([None, 0, 1, 2, 3])), max_size=25
)
logs = st.lists(
    st.tuples(st.sampled_from("abx"), st.integers(0, 200), st.sampled_from([-100, 0, 100])), min_size=1, max_size=15
)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def contacts(talked: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(talked, columns=["customer_id", "time", "interest"])
    return frame.assign(
        customer_id=frame["customer_id"].astype("string"),
        time=pd.to_datetime([f"{day(number)} 09:30" for number in frame["time"]]),
        interest=frame["interest"].astype("Int64"),
        purpose="sales",
    )


def naive(talked: list[tuple], lead_days: int, who: str, date: dt.date) -> str:
    """What somebody who has not bought is at a date."""
    mine = [(day(number), interest) for other, number, interest in talked if other == who and day(number) <= date]
    if not mine or (date - max(mine, key=lambda talk: talk[0])[0]).days >= lead_days:
        return ""
    return "target" if any((interest or 0) >= 2 for _, interest in mine) else "prospect"


def stage_of(staged) -> dict[tuple[str, dt.date], str]:
    frame = staged.to_pandas()
    found = {(row.customer_id, pd.Timestamp(row.date).date()): row.stage for row in frame.itertuples()}
    assert len(found) == len(frame)  # one stage a person and date
    return found


@settings(max_examples=40, deadline=None)
@given(logs, talks, st.sampled_from([1, 20, 90]))
def test_everybody_is_in_one_stage_and_none_is_lost_between_two_dates(log, talked, lead_days):
    columns = ["customer_id", "date", "amount"]
    rows = customers.purchases(pd.DataFrame([(who, day(n), float(amount)) for who, n, amount in log], columns=columns))
    ends = lifecycle.month_ends(START, AS_OF)
    staged = lifecycle.stages(rows, ends, RULES, lifecycle.leads(contacts(talked), lead_days=lead_days))
    found = stage_of(staged)
    expected = stage_of(lifecycle.stages(rows, ends, RULES))
    for who in "abcdx":
        for end in ends:
            if (who, end) not in expected and (stage := naive(talked, lead_days, who, end)):
                expected[who, end] = stage
    assert found == expected

    seen = sorted({end for _, end in found})
    if len(seen) > 1:
        moves = lifecycle.transitions(staged)
        counts = Counter((end, stage) for (_, end), stage in found.items())
        for before, now in pairwise(seen):
            left = moves[moves["date"] == pd.Timestamp(now)].groupby("stage_before")["customers"].sum()
            gone = Counter(stage for (who, end), stage in found.items() if end == before and (who, now) not in found)
            assert set(gone) <= set(LEADS)  # a customer stays one
            for stage in {stage for end, stage in counts if end == before}:
                assert left.get(stage, 0) == counts[before, stage]
        joined = lifecycle.flows(moves)["joined"].sum()
        first, last = (
            sum(end == at and stage not in LEADS for (_, end), stage in found.items()) for at in (seen[0], seen[-1])
        )
        assert joined == last - first


def test_a_prospect_becomes_a_target_and_a_customer():
    log = pd.DataFrame({"customer_id": ["a"], "date": [dt.date(2024, 4, 10)], "amount": [5.0]})
    leads = lifecycle.leads(contacts([("a", 40, 1), ("a", 70, 3)]))
    moves = lifecycle.transitions(
        lifecycle.stages(customers.purchases(log), lifecycle.month_ends(START, AS_OF), RULES, leads)
    )
    assert list(zip(moves["stage_before"], moves["stage_now"], strict=True)) == [
        ("prospect", "target"),
        ("target", "first-time"),
        ("first-time", "dormant"),
        ("dormant", "lost"),
        ("lost", "lost"),
    ]


def test_who_is_not_spoken_to_again_is_no_lead_any_more_until_the_next_contact():
    log = pd.DataFrame({"customer_id": ["x"], "date": [dt.date(2024, 1, 10)], "amount": [5.0]})
    leads = lifecycle.leads(contacts([("a", 0, 3), ("a", 150, 0)]), lead_days=60)
    found = stage_of(lifecycle.stages(customers.purchases(log), lifecycle.month_ends(START, AS_OF), RULES, leads))
    assert {end.month: stage for (who, end), stage in found.items() if who == "a"} == {
        1: "target",
        2: "target",
        5: "target",
        6: "target",
    }
    moves = lifecycle.transitions(
        lifecycle.stages(customers.purchases(log), lifecycle.month_ends(START, AS_OF), RULES, leads)
    )
    away = moves[(moves["stage_before"] == "target") & (moves["stage_now"] == "non-customer")]
    assert away["date"].dt.month.to_list() == [3, 7]


def test_without_interest_a_sales_contact_makes_a_target():
    talked = contacts([("a", 3, None), ("b", 4, None)]).drop(columns="interest").assign(purpose=["market", "sales"])
    found = lifecycle.leads(talked).to_pandas()
    assert dict(zip(found["customer_id"], found["stage"], strict=True)) == {"a": "prospect", "b": "target"}


def test_what_is_on_record_holds_today():
    people = pd.DataFrame({"customer_id": list("abcd"), "status": ["target", "prospect", "none", None]})
    log = pd.DataFrame({"customer_id": ["b"], "date": [dt.date(2024, 4, 10)], "amount": [5.0]})
    leads = lifecycle.leads_on_record(people, AS_OF)
    found = stage_of(lifecycle.stages(customers.purchases(log), [dt.date(2024, 6, 30), AS_OF], RULES, leads))
    assert found == {("b", dt.date(2024, 6, 30)): "lost", ("a", AS_OF): "target", ("b", AS_OF): "lost"}


def test_a_contact_makes_a_prospect_for_a_day_at_least():
    with pytest.raises(ValueError, match="at least 1 day"):
        lifecycle.leads(contacts([]), lead_days=0)


class TestSampleCompany:
    def test_stages_of_a_past_date_are_what_was_known_then(self, sample):
        """Whoever looks back finds what a report of that day said."""
        then, now = open_dataset(sample, as_of="2024-06-30"), open_dataset(sample)
        rules, day_then = Rules(70, 190, 4), [then.as_of]
        looked = [
            lifecycle.stages(data.purchases(), day_then, rules, lifecycle.leads(data.table("contacts")))
            for data in (then, now)
        ]
        found, again = (stage_of(staged) for staged in looked)
        assert found == again
        assert Counter(found.values()).keys() >= {"prospect", "target", "loyal"}

    def test_leads_are_those_on_record_but_for_who_has_just_declined(self, sample):
        """The record knows of a refusal at once, contacts when they have ceased for the lead days."""
        data = open_dataset(sample)
        bought, rules = data.purchases(), Rules(70, 190, 4)
        leads = (
            lifecycle.leads(data.table("contacts")),
            lifecycle.leads_on_record(data.table("customers"), data.as_of),
        )
        spoken, recorded = (stage_of(lifecycle.stages(bought, [data.as_of], rules, source)) for source in leads)
        spoken, recorded = ({who: s for who, s in found.items() if s in LEADS} for found in (spoken, recorded))
        status = data.table("customers").select("customer_id", "status").to_pandas().set_index("customer_id")["status"]
        assert {status[who] for who, _ in spoken.keys() - recorded.keys()} == {"none"}
        both = spoken.keys() & recorded.keys()
        assert len(both) > 0.9 * len(recorded)
        assert sum(spoken[key] == recorded[key] for key in both) > 0.95 * len(both)
