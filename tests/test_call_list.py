"""Whom to call next: the choice against a greedy one in plain Python; reasons and outcomes against pandas."""

from __future__ import annotations

import datetime as dt
import json
import warnings
from collections import Counter

import ibis
import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from crm_analysis import archive, call_list, charts, customers, open_dataset, periods, rates, retention, treatment
from crm_analysis.cli import app
from crm_analysis.errors import Unanswerable

AS_OF, THEN = dt.date(2025, 12, 31), dt.date(2025, 6, 30)
LIMITS = {"calls_a_day": 6, "days": 5, "min_days_between": 14}
AGENTS = ["S1", "S2", "ü|'; --"]


def day(back: int | None) -> dt.date | None:
    return None if back is None or np.isnan(back) else AS_OF - dt.timedelta(days=back)


def as_candidates(rows: list[tuple]) -> pd.DataFrame:
    """Return candidates of `worth`, days since the last contact, manager and whether they must not be called."""
    frame = pd.DataFrame(rows, columns=["worth", "back", "manager", "barred"])
    return frame.assign(
        customer_id=[f"C{number:02}" for number in range(len(frame))],
        kind="silent",
        reason="silent",
        purpose="sales",
        last_contact=pd.Series([day(back) for back in frame["back"]], dtype="object"),
        again_after=30,
        worth=frame["worth"].astype(float),
        back=frame["back"].astype(float),
    )


def place(frame: pd.DataFrame, crew: list[str], calls_a_day: int = 1, days: int = 2, between: int = 10) -> pd.DataFrame:
    given = ["customer_id", "kind", "reason", "purpose", "worth", "last_contact", "again_after"]
    schema = {"worth": "float64", "last_contact": "date", "again_after": "int64"}
    table = ibis.memtable(frame[given], schema=dict.fromkeys(given, "string") | schema)
    owned = frame.dropna(subset="manager")[["customer_id", "manager"]].rename(columns={"manager": "account_manager_id"})
    owned = ibis.memtable(owned, schema={"customer_id": "string", "account_manager_id": "string"})
    refused = ibis.memtable(frame.loc[frame["barred"], ["customer_id"]], schema={"customer_id": "string"})
    found = call_list.placed(
        table, crew, owned, refused, as_of=AS_OF, calls_a_day=calls_a_day, days=days, min_days_between=between
    )
    return found.to_pandas()


def greedy(frame: pd.DataFrame, crew: list[str], capacity: int, between: int) -> dict[str, str]:
    """Return who calls whom, chosen one after the other, the most valuable first."""
    crew = sorted(set(crew)) or ["nobody"]
    may = frame[~frame["barred"] & ~(frame["back"] < between) & (frame["worth"] > 0)]
    taken, free, calls = Counter(), [], {}
    for row in may.sort_values(["worth", "customer_id"], ascending=[False, True]).itertuples():
        own = row.manager in crew
        if taken.total() + len(free) == capacity * len(crew) or (own and taken[row.manager] == capacity):
            continue
        if own:
            taken[row.manager] += 1
            calls[row.customer_id] = row.manager
        else:
            free.append(row.customer_id)
    for customer in free:
        agent = min(crew, key=lambda name: (taken[name], name))
        taken[agent] += 1
        calls[customer] = agent
    return calls


rows = st.lists(
    st.tuples(
        st.sampled_from([-5, 0, 10, 20, 20, 30, 40, 50]),
        st.sampled_from([None, 0, 9, 10, 11, 400]),
        st.sampled_from([None, "S1", "S2", "gone"]),
        st.booleans(),
    ),
    max_size=20,
)


class TestPlaced:
    @settings(max_examples=3, deadline=None)
    @given(rows, st.lists(st.sampled_from(AGENTS), max_size=4), st.integers(1, 3), st.integers(1, 2), st.randoms())
    @example([(10, None, "S1", False)] * 3 + [(5, None, None, False)] * 3, ["S1", "S2"], 1, 2, None)
    @example([(10, None, None, False)] * 5 + [(5, None, "S1", False)] * 2, ["S1", "S2"], 1, 2, None)
    def test_is_the_greedy_choice_and_keeps_every_limit(self, candidates, crew, calls_a_day, days, random):
        frame = as_candidates(candidates)
        found = place(frame, crew, calls_a_day, days)
        calls = dict(found.dropna(subset="agent_id")[["customer_id", "agent_id"]].itertuples(index=False))
        capacity = calls_a_day * days
        assert calls == greedy(frame, crew, capacity, 10)
        assert found["customer_id"].to_list() == list(
            frame.sort_values(["worth", "customer_id"], ascending=[False, True])["customer_id"]
        )
        assert max(Counter(calls.values()).values(), default=0) <= capacity
        known = frame.set_index("customer_id")
        for customer, agent in calls.items():
            assert not known.at[customer, "barred"]
            assert not known.at[customer, "back"] < 10
            assert known.at[customer, "worth"] > 0
            assert known.at[customer, "manager"] not in crew or known.at[customer, "manager"] == agent
        assert set(found.loc[found["agent_id"].isna(), "state"]) <= set(call_list.STATES[1:])
        assert (found.loc[found["agent_id"].notna(), "state"] == "on the list").all()
        if random is not None:
            order = list(range(len(frame)))
            random.shuffle(order)
            pd.testing.assert_frame_equal(place(frame.iloc[order], crew, calls_a_day, days), found)

    def test_states_add_up(self):
        frame = as_candidates(
            [(9, None, None, True), (8, 3, None, False), (0, 50, None, False), (7, 10, None, False)]
            + [(6, 50, "S2", False)] * 3
        )
        found = place(frame, ["S1", "S2"], 1, 1)
        states = call_list.by_state(found)
        assert states["state"].to_list() == list(call_list.STATES)
        assert states["customers"].to_list() == [2, 2, 1, 1, 1]
        assert states["worth"].to_list() == [13, 12, 8, 9, 0]
        assert call_list.by_agent(found).to_numpy().tolist() == [["S1", 1, 7], ["S2", 1, 6]]
        assert call_list.by_kind(found).to_numpy().tolist() == [["silent", "sales", 2, 13]]

    def test_with_nobody_known_there_is_one_list(self):
        found = place(as_candidates([(9, None, "S1", False)] * 3), [], 1, 2)
        assert found["agent_id"].fillna("–").to_list() == ["nobody", "nobody", "–"]

    @pytest.mark.parametrize("limits", [{"calls_a_day": 0}, {"days": 0}, {"between": -1}])
    def test_refuses(self, limits):
        with pytest.raises(ValueError, match=r"there (is|are) at least"):
            place(as_candidates([(9, None, None, False)]), [], **limits)


class TestCrew:
    contacts = pd.DataFrame(
        [
            ("a", day(89), "sales", "out", "S2"),
            ("a", day(90), "sales", "out", "S3"),  # too long ago
            ("b", day(5), "sales", "in", "S4"),
            ("b", day(5), "market", "out", "S5"),
            ("b", day(0), "service", None, "S1"),
            ("c", day(0), "sales", "out", None),
        ],
        columns=["customer_id", "time", "purpose", "direction", "agent_id"],
    )
    owned = pd.DataFrame({"customer_id": ["a", "b"], "account_manager_id": ["M2", "M1"]})

    def test_who_made_contacts_lately(self):
        assert call_list.agents(self.contacts, self.owned, as_of=AS_OF) == ["S1", "S2"]
        assert call_list.agents(self.contacts, None, as_of=AS_OF, active_days=91) == ["S1", "S2", "S3"]

    def test_else_the_managers(self):
        assert call_list.agents(None, self.owned, as_of=AS_OF) == ["M1", "M2"]
        assert call_list.agents(self.contacts[1:2], self.owned, as_of=AS_OF) == ["M1", "M2"]
        assert call_list.agents(self.contacts.drop(columns="agent_id"), None, as_of=AS_OF) == []
        with pytest.raises(ValueError, match="at least 1 day"):
            call_list.agents(None, None, as_of=AS_OF, active_days=0)

    def test_managers_need_a_table_that_tells(self):
        assert call_list.managed(self.owned, None, AS_OF).count().execute() == 2
        assert call_list.managed(None, None, AS_OF) is None
        assert call_list.managed(pd.DataFrame({"customer_id": ["a"]}), None, AS_OF) is None

    def test_anything_but_a_no_bars(self):
        said = ["", None, "no", " NO", "False", "0", "n", "f", "yes", "true", "1", "since May", "never", "x"]
        people = pd.DataFrame({"customer_id": [str(number) for number in range(len(said))], "do_not_call": said})
        found = call_list.barred(people).to_pandas()["customer_id"].to_list()
        assert sorted(found, key=int) == ["8", "9", "10", "11", "12", "13"]
        assert call_list.barred(people[["customer_id"]]) is None
        assert call_list.barred(None) is None
        assert (
            call_list.barred(people.assign(do_not_call=pd.Series(None, people.index, "object"))).count().execute() == 0
        )


TIERED = pd.DataFrame(
    [
        ("case", "important", 900.0),
        ("rated", "major", 800.0),
        ("again", "major", 750.0),
        ("quoted", "small", 70.0),
        ("ordered", "small", 60.0),
        ("once", "small", 50.0),
        ("quiet", "ordinary", 300.0),
        ("due", "major", 700.0),
        ("fine", "small", 10.0),
    ],
    columns=["customer_id", "tier", "value"],
).assign(first_purchase=day(500))
DAYS = {name: [500, 20] for name in TIERED["customer_id"]} | {"once": [60], "quiet": [130, 120, 110, 100]}
BOUGHT = customers.purchases(
    pd.DataFrame(
        [(name, day(back), 10.0) for name, backs in DAYS.items() for back in backs],
        columns=["customer_id", "date", "amount"],
    )
)
CASES = pd.DataFrame(
    [
        ("case", day(8), None, None),
        ("quiet", day(7), None, None),  # not open for long enough
        ("rated", day(21), day(20), 2),  # bought on the day it was closed, and not since
        ("again", day(22), day(21), 1),  # and bought since
        ("fine", day(9), day(8), 3),
    ],
    columns=["customer_id", "opened", "closed", "satisfaction"],
)
QUOTES = pd.DataFrame(
    [
        ("quoted", "p", day(29), 20.4),
        ("quoted", "q", day(1), 30.0),
        ("ordered", "p", day(20), 5.0),  # and bought on that day
        ("fine", "p", day(30), 5.0),  # too long ago
    ],
    columns=["customer_id", "product_id", "date", "unit_price"],
)
LINES = pd.DataFrame(
    [
        ("quoted", "p", day(30), 9.0),
        ("quoted", "x", day(1), 9.0),
        ("quoted", "q", day(1), -9.0),
        ("ordered", "p", day(20), 9.0),
    ],
    columns=["customer_id", "product_id", "date", "amount"],
)
CONTACTS = pd.DataFrame(
    [(name, day(20), "sales", "out") for name in TIERED["customer_id"] if name != "due"]
    + [("due", day(61), "sales", "out"), ("due", day(3), "service", "in"), ("lead", day(15), "sales", "in")],
    columns=["customer_id", "time", "purpose", "direction"],
)
SLIPPING = pd.DataFrame({"customer_id": ["once"], "silence": [60], "days_left": [0]})
LEADS = pd.DataFrame(
    [
        ("lead", "target", day(15), 80.0, "much interest"),
        ("new", "prospect", day(40), 5.0, ""),
        ("fine", "target", day(2), 99.0, "a customer"),
    ],
    columns=["customer_id", "stage", "last_contact", "expected_value", "reasons"],
)
EVERYTHING = {"leads": LEADS, "contacts": CONTACTS, "quotes": QUOTES, "lines": LINES, "cases": CASES} | {
    "slipping": SLIPPING
}


@pytest.fixture(scope="module")
def found():
    return call_list.candidates(TIERED, BOUGHT, as_of=AS_OF, currency="EUR", **EVERYTHING).to_pandas()


class TestCandidates:
    def test_each_reason(self, found):
        assert found[["customer_id", "kind", "purpose", "worth", "reason"]].to_numpy().tolist() == [
            ["case", "open case", "service", 900, "case open for 8 days"],
            ["rated", "bad experience", "service", 800, "rated us 2 of 5, bought nothing in 20 days since"],
            ["due", "visit due", "sales", 700, "61 days since our last contact, due every 60"],
            ["quiet", "silent", "sales", 300, "silent for 100 days, usual pause 10"],
            ["lead", "target", "sales", 80, "target: much interest"],
            *[
                [
                    "quoted",
                    "quote",
                    "sales",
                    70,
                    "2 quotes, the last 1 day ago, not ordered (unit prices together EUR 50)",
                ]
            ],
            ["once", "slipping away", "sales", 50, "only purchase 60 days ago, dormant in 1"],
            ["new", "prospect", "prospecting", 5, "prospect"],
        ]
        assert found["again_after"].fillna(0).to_list() == [30, 60, 60, 180, 14, 0, 0, 30]
        contacted = pd.to_datetime(found["last_contact"]).dt.date.to_list()
        assert contacted == [day(back) for back in (20, 20, 3, 20, 15, 20, 20, 40)]

    def test_the_strongest_reason_comes_first_and_the_others_follow(self):
        more = {
            "slipping": SLIPPING.assign(customer_id="case"),
            "contacts": CONTACTS[CONTACTS["customer_id"] != "case"],
        }
        found = (
            call_list.candidates(TIERED, BOUGHT, as_of=AS_OF, **EVERYTHING | more).to_pandas().set_index("customer_id")
        )
        assert found.at["case", "kind"] == "open case"
        assert found.at["case", "reason"] == (
            "case open for 8 days; only purchase 60 days ago, dormant in 1; never contacted in 500 days, due every 30"
        )

    def test_transactions_alone_tell_of_silence(self):
        found = call_list.candidates(TIERED, BOUGHT, as_of=AS_OF).to_pandas()
        assert found[["customer_id", "kind"]].to_numpy().tolist() == [["quiet", "silent"]]
        assert found["last_contact"].isna().all()
        with pytest.raises(Unanswerable, match=r"^The data do not tell of: quotes; who makes calls. The list goes"):
            call_list.refuse_missing(quotes=None, agents=[], contacts=CONTACTS)
        call_list.refuse_missing(contacts=CONTACTS, agents=["S1"])

    def test_without_a_product_any_purchase_counts_and_without_a_date_of_closing_none_is_open(self):
        found = call_list.candidates(
            *(TIERED, BOUGHT),
            as_of=AS_OF,
            quotes=QUOTES,
            lines=LINES.drop(columns="product_id"),
            cases=CASES.drop(columns="closed"),
        ).to_pandas()
        assert Counter(found["kind"]) == {"silent": 1}

    def test_rows_in_any_order(self, found):
        shuffled = {name: table.sample(frac=1, random_state=3) for name, table in EVERYTHING.items()}
        again = call_list.candidates(
            TIERED.sample(frac=1, random_state=3), BOUGHT, as_of=AS_OF, currency="EUR", **shuffled
        )
        pd.testing.assert_frame_equal(again.to_pandas(), found)

    def test_an_order_agreed_is_not_sold_again(self):
        met = CONTACTS.assign(contact_id=CONTACTS.index.astype(str), outcome=None)
        met.loc[met["customer_id"] == "lead", "outcome"] = "Order"
        found = call_list.candidates(TIERED[:0], BOUGHT, as_of=AS_OF, leads=LEADS[:2], contacts=met).to_pandas()
        assert found[["kind", "purpose", "reason"]].to_numpy().tolist() == [
            ["order agreed", "service", "order agreed 15 days ago, not yet booked"],
            ["prospect", "prospecting", "prospect"],
        ]

    def test_refuses(self):
        with pytest.raises(ValueError, match="at least 1 day, not 0"):
            call_list.candidates(
                TIERED, BOUGHT, as_of=AS_OF, quotes=QUOTES, lines=LINES, rules=call_list.Rules(quote_days=0)
            )


def on(data, date: dt.date) -> dict[str, object]:
    """Return what the page computes of a date, without leads."""
    bought = data.purchases(date).cache()
    since = periods.edges(data.period[0], date, months=12, count=1)[0]
    tiered = treatment.tiered(data.customers(date), data.by_period([since, date])).cache()
    wait = retention.usual_wait(bought, 0.5, as_of=date, within_days=365)
    limit = customers.gap_quantiles(bought, 0.8)[0]
    slipping = retention.slipping_away(bought, as_of=date, after=wait, dormant_after=limit)
    tables = {name: data.table(name, date) for name in ("contacts", "quotes", "cases")}
    tables |= {"lines": data.table("transactions", date), "slipping": slipping}
    candidates = call_list.candidates(tiered, bought, as_of=date, **tables).cache()
    owned = call_list.managed(data.table("customers"), data.table("assignments", date), date)
    crew = call_list.agents(tables["contacts"], owned, as_of=date)
    refused = call_list.barred(data.table("customers"))
    placed = call_list.placed(candidates, crew, owned, refused, as_of=date, **LIMITS).cache()
    return {"tiered": tiered, "bought": bought, "candidates": candidates, "crew": crew, "placed": placed}


@pytest.fixture(scope="module")
def data(sample):
    return open_dataset(sample)


@pytest.fixture(scope="module")
def now(data):
    return on(data, AS_OF)


@pytest.fixture(scope="module")
def then(data):
    return on(data, THEN)


@pytest.fixture(scope="module")
def raw(data):
    """The clean tables of the sample as frames, whole."""
    names = ("transactions", "contacts", "quotes", "cases", "assignments", "customers")
    frames = {name: data.connection.table(name).to_pandas() for name in names}
    for frame in frames.values():
        for column in frame.columns.intersection(["date", "time", "opened", "closed", "start", "end"]):
            frame[column] = pd.to_datetime(frame[column]).dt.normalize()
    return frames


class TestSample:
    def test_reasons_are_those_that_pandas_finds_without_reading_later_data(self, then, raw):
        date = pd.Timestamp(THEN)
        sold = raw["transactions"][raw["transactions"]["date"] <= date]
        met = raw["contacts"][raw["contacts"]["time"] <= date]
        cases = raw["cases"][raw["cases"]["opened"] <= date]
        daily = sold.groupby(["customer_id", "date"])["amount"].sum()
        days = daily[daily >= 0].reset_index()
        last = days.groupby("customer_id")["date"].max()
        everyone = set(sold["customer_id"])
        reasons = {}
        closed = cases[cases["closed"] <= date]
        waits = cases[~cases.index.isin(closed.index) & ((date - cases["opened"]).dt.days > 7)]
        reasons["case open"] = set(waits["customer_id"]) & everyone
        bad = closed[closed["satisfaction"] <= 2]
        reasons["rated us"] = set(bad.loc[~(bad["customer_id"].map(last) > bad["closed"]), "customer_id"]) & everyone
        quotes = raw["quotes"][raw["quotes"]["date"].between(date - pd.Timedelta(days=29), date)]
        both = quotes.merge(sold[sold["amount"] > 0], on=["customer_id", "product_id"], suffixes=("", "_sold"))
        taken = set(both.loc[both["date_sold"] >= both["date"], "quote_id"])
        reasons["quote"] = set(quotes.loc[~quotes["quote_id"].isin(taken), "customer_id"]) & everyone
        gaps = days.groupby("customer_id")["date"].diff().dt.days.groupby(days["customer_id"])
        silence = (date - last).dt.days
        quiet = (days.groupby("customer_id").size() >= 3) & (silence > gaps.max()) & (silence >= 2 * gaps.median())
        reasons["silent"] = set(quiet[quiet].index)
        ours = met[(met["direction"] == "out") & (met["purpose"] != "market")].groupby("customer_id")["time"].max()
        tiers = then["tiered"].to_pandas().set_index("customer_id")
        waited = (date - ours.reindex(tiers.index).fillna(pd.to_datetime(tiers["first_purchase"]))).dt.days
        allowed = tiers["tier"].map({"important": 30, "major": 60, "ordinary": 180})
        reasons["due every"] = set(tiers.index[waited > allowed])
        found = then["candidates"].to_pandas().set_index("customer_id")
        for words, expected in reasons.items():
            assert set(found.index[found["reason"].str.contains(words)]) == expected
            assert expected or words == "case open"
        slipping = set(found.index[found["reason"].str.contains("only purchase")])
        assert set(found.index) == slipping.union(*reasons.values())  # nobody is there without a reason
        contacted = met.groupby("customer_id")["time"].max().reindex(found.index)
        pd.testing.assert_series_equal(
            pd.to_datetime(found["last_contact"]), contacted, check_names=False, check_dtype=False
        )

    def test_limits_are_kept_and_the_most_valuable_come_first(self, now, raw):
        found = now["placed"].to_pandas().set_index("customer_id")
        listed = found[found["state"] == "on the list"]
        assert found.index.is_unique
        assert listed.groupby("agent_id").size().to_dict() == dict.fromkeys(now["crew"], 30)
        no_calls = raw["customers"].loc[raw["customers"]["do_not_call"] == "yes", "customer_id"]
        assert not set(no_calls) & set(listed.index)
        contacts = raw["contacts"].groupby("customer_id")["time"].max().reindex(listed.index)
        assert not ((pd.Timestamp(AS_OF) - contacts).dt.days < 14).any()
        assert (listed["worth"] > 0).all()
        owned = raw["assignments"][raw["assignments"]["end"].isna()].set_index("customer_id")["account_manager_id"]
        own = owned.reindex(found.index)
        active = own.isin(now["crew"])
        assert (listed["agent_id"] == own[listed.index])[active[listed.index]].all()
        waits = found[found["state"] == "waiting"]
        for agent in now["crew"]:  # nobody who waits is worth more than somebody in whose place they could be called
            mine, theirs = own[waits.index] == agent, own[listed.index] == agent
            if mine.any():
                assert theirs.sum() == 30 or waits.loc[mine, "worth"].max() <= listed["worth"].min()
                assert waits.loc[mine, "worth"].max() <= listed.loc[theirs, "worth"].min()
        assert waits.loc[~active[waits.index], "worth"].max() <= listed["worth"].min()

    def test_finds_those_who_are_planted(self, now, truth):
        found = now["placed"].to_pandas().set_index("customer_id")
        quiet = found.reindex(truth["quiet_key_accounts"])
        assert (quiet["kind"].isin(["silent", "quote"]) & quiet["reason"].str.contains("silent")).all()
        assert Counter(quiet["state"]) == {"on the list": 9, "do not call": 1}
        # They buy as ever, so that silence is a false alarm.
        steady = [*truth["promising_new"], *truth["bad_payers"], *truth["unprofitable_big"], *truth["rising_small"]]
        steady += [customer for specialists in truth["category_specialists"].values() for customer in specialists]
        alarms = found.reindex(steady)["reason"].fillna("").str.contains("silent")
        assert alarms.mean() <= 0.05
        # Who left with the manager has been silent for so long that nothing is at stake any more.
        assert not (found.reindex(truth["lost_with_manager"])["state"] == "on the list").any()

    def test_what_became_of_a_list(self, data, then, raw):
        placed = then["placed"].to_pandas()
        listed = placed.loc[placed["state"] == "on the list", ["customer_id", "worth"]]
        worth = data.by_period([THEN, AS_OF])
        done = call_list.outcomes(
            listed, then["placed"], worth, data.table("contacts"), since=THEN, as_of=AS_OF
        ).cache()
        sold, met = (raw[name] for name in ("transactions", "contacts"))
        daily = sold[sold["date"] > pd.Timestamp(THEN)].groupby(["customer_id", "date"])["amount"].sum()
        bought = set(daily[daily >= 0].reset_index()["customer_id"])
        ours = met[(met["direction"] == "out") & (met["purpose"] != "market") & (met["time"] > pd.Timestamp(THEN))]
        people = placed[placed["state"].isin(["on the list", "waiting", "too soon"])].reset_index(drop=True)
        people["listed"] = people["state"] == "on the list"
        people["called"], people["bought"] = (
            people["customer_id"].isin(ids) for ids in (set(ours["customer_id"]), bought)
        )
        brought = worth.to_pandas().set_index("customer_id")["value"]
        people["value"] = people["customer_id"].map(brought).fillna(0)
        groups = call_list.what_became(done).set_index("group")
        for name, part in {
            "on the list": people[people["listed"]],
            "not on the list": people[~people["listed"]],
        }.items():
            row = groups.loc[name]
            assert row[["customers", "called", "bought"]].to_list() == [
                len(part),
                part["called"].sum(),
                part["bought"].sum(),
            ]
            assert row["value"] == pytest.approx(part["value"].sum())
            assert (row["low"], row["high"]) == pytest.approx(rates.wilson(part["bought"].mean(), len(part)))
        assert groups["customers"].min() >= 30

        people["band"] = (people["worth"].rank(method="min", ascending=False) - 1) * 5 // len(people)
        apart = call_list.beside(done)
        on_it, off = people[people["listed"]], people[~people["listed"]]
        assert apart.difference == pytest.approx(on_it["bought"].mean() - off["bought"].mean())
        usual = off.groupby(["kind", "band"])["bought"].mean()
        alike = on_it.assign(usual=[usual.get(key, np.nan) for key in zip(on_it["kind"], on_it["band"], strict=True)])
        assert apart.left_out == alike["usual"].isna().sum()
        alike = alike.dropna(subset="usual")
        assert apart.adjusted == pytest.approx(alike["bought"].mean() - alike["usual"].mean())

    def test_who_was_missed_is_called_first(self, data, then, now):
        placed = then["placed"].to_pandas()
        listed = placed.loc[placed["state"] == "on the list", ["customer_id", "worth"]]
        done = call_list.outcomes(
            listed, then["placed"], data.by_period([THEN, AS_OF]), data.table("contacts"), since=THEN, as_of=AS_OF
        )
        found, before = call_list.missed(now["placed"], done).to_pandas(), done.to_pandas().set_index("customer_id")
        assert len(found) > 0
        assert found["state"].isin(["on the list", "waiting"]).all()
        assert (before.loc[found["customer_id"], "listed"] & ~before.loc[found["customer_id"], "called"]).all()
        assert found["worth"].is_monotonic_decreasing

    def test_outcomes_of_nobody(self, then, data):
        nobody = pd.DataFrame({"customer_id": pd.Series(dtype=str), "worth": pd.Series(dtype=float)})
        done = call_list.outcomes(nobody, then["placed"], data.by_period([THEN, AS_OF]), since=THEN, as_of=AS_OF)
        assert call_list.what_became(done)["customers"].to_list()[0] == 0
        with pytest.raises(Unanswerable, match="nobody on the last list"):
            call_list.beside(done)
        with pytest.raises(ValueError, match="by a later date"):
            call_list.outcomes(nobody, then["placed"], data.by_period([THEN, AS_OF]), since=THEN, as_of=THEN)


def test_speaks_other_dialects(dialect):
    def table(name: str, **columns: str):
        return ibis.table({"customer_id": "string"} | columns, name=name)

    money = "decimal(18, 6)"
    log = table("transactions", date="date", amount=money, cost=money, product_id="string")
    tiered = table("tiered", tier="string", value="float64", first_purchase="date")
    candidates = call_list.candidates(
        tiered,
        customers.purchases(log),
        as_of=AS_OF,
        leads=table("leads", stage="string", last_contact="date", expected_value="float64", reasons="string"),
        contacts=table("contacts", time="timestamp", purpose="string", direction="string", agent_id="string"),
        quotes=table("quotes", product_id="string", date="date", unit_price=money),
        lines=log,
        cases=table("cases", opened="timestamp", closed="timestamp", satisfaction="int64"),
        slipping=table("slipping", silence="int64", days_left="int64"),
    )
    owned = table("managers", account_manager_id="string")
    stored = table(
        "candidates", **{name: str(kind) for name, kind in candidates.schema().items() if name[-3:] != "_id"}
    )
    placed = call_list.placed(stored, AGENTS, owned, table("barred"), as_of=AS_OF, **LIMITS)
    stored = table("placed", **{name: str(kind) for name, kind in placed.schema().items() if name != "customer_id"})
    done = call_list.outcomes(
        table("listed", worth="float64"),
        stored,
        table("worth", purchases="int64", value="float64"),
        since=THEN,
        as_of=AS_OF,
    )
    for made in (candidates, placed, call_list.missed(stored, done)):
        assert "memtable" not in ibis.to_sql(made, dialect=dialect)


def test_chart_has_a_bar_for_each_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kinds = pd.DataFrame({"kind": ["quote", "silent"], "customers": [3, 1], "worth": [1234.5, 7.0]})
        left, right = charts.calls_by_reason(kinds, "profit").axes
    assert [bar.get_width() for bar in left.patches] == [3, 1]
    assert [text.get_text() for text in right.texts] == ["1,234", "7"]


class TestReports:
    """The second report of a small company tells what became of the list of the first."""

    @pytest.fixture(scope="class")
    def reports(self, tmp_path_factory, same_process):
        folder = tmp_path_factory.mktemp("shop")
        weeks = pd.date_range("2024-01-01", "2024-03-11", freq="7D").strftime("%Y-%m-%d")
        sales = [
            f"{customer},{week},{price}" for customer, price in (("a", 50), ("b", 40), ("c", 30)) for week in weeks
        ]
        sales += ["a,2024-06-20,50", "z,2024-06-01,1", "z,2024-06-30,1"]
        (folder / "sales.csv").write_text("\n".join(["customer_id,date,amount", *sales]))
        calls = ["1,z,2024-05-02,sales,out,S1", "2,a,2024-06-10,sales,out,S1"]
        (folder / "calls.csv").write_text("\n".join(["contact_id,customer_id,time,purpose,direction,agent_id", *calls]))
        (folder / "people.csv").write_text("customer_id,do_not_call\na,\nb,no\nc,yes\nz,\n")
        toml = folder / "shop.toml"
        files = {"transactions": "sales", "contacts": "calls", "customers": "people"}
        tables = "".join(f'[tables.{table}]\npath = "{file}.csv"\n' for table, file in files.items())
        toml.write_text(f'title = "Shop"\n{tables}')
        # The first report, as far as it is read: running its notebook would take as long as the second one.
        first = folder / "out" / "shop" / "2024-05-31"
        (first / "notebooks").mkdir(parents=True)
        told = {"as_of": "2024-05-31", "value": "", "currency": "", "figures": {}, "pages": [], "title": "Shop"}
        (first / "manifest.json").write_text(json.dumps(told))
        columns = [{"name": name, "unit": ""} for name in ("customer_id", "worth")]
        shown = {"name": "to_call", "columns": columns, "rows": [["a", 1100.0], ["b", 880.0]]}
        output = nbformat.v4.new_output("display_data", data={archive.MIME: {"list": shown}})
        cell = nbformat.v4.new_code_cell(outputs=[output])
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), first / "notebooks" / "call_list.ipynb")
        command = ["report", str(toml), "--only", "call_list", "--as-of", "2024-06-30", "--out", str(folder / "out")]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.stderr
        return folder / "out" / "shop"

    def test_a_list_for_each_agent(self, reports):
        listed = archive.listed(reports / "2024-06-30", "call_list", "to_call")
        assert listed["agent_id"].eq("S1").all()
        assert "b" in listed["customer_id"].to_list()
        assert not {"a", "c"} & {*listed["customer_id"]}  # called lately; does not want to be called
        (page,) = archive.told(reports / "2024-06-30")["pages"]
        assert [*page["lists"][0]["parts"]] == ["S1"]

    def test_the_next_report_tells_what_became_of_it(self, reports):
        (page,) = archive.told(reports / "2024-06-30")["pages"]
        told = [found["sentence"] for found in page["findings"]]
        assert "Of 2 people on the list of 2024-05-31, 1 has been called since, and 1 has bought; " in "".join(told)
        missed = archive.listed(reports / "2024-06-30", "call_list", "not_called")
        assert missed["customer_id"].to_list() == ["b"]
        assert archive.told(reports / "2024-06-30")["figures"]["call_list.called"]["value"] == 0.5
