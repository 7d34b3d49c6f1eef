"""What contacts lead to: each count against plain Python, and what is planted in the sample company."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter, defaultdict

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crm_analysis import calls, customers, open_dataset, periods
from crm_analysis.errors import Unanswerable
from crm_analysis.examples.sample import care
from crm_analysis.rates import wilson

START = dt.date(2024, 1, 1)
AS_OF = START + dt.timedelta(days=120)
WORDS = ["Hung Up", "abandoned"]
PEOPLE = ["a", "ü|'; --", "", "7"]
LIKE = ["purpose", "channel", "direction", "stage"]

logs = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.integers(0, 130), st.sampled_from([-300, 0, 100, 250])),
    min_size=1,
    max_size=25,
)
meetings = st.lists(
    st.tuples(
        st.sampled_from([*PEOPLE, "a stranger"]),
        st.integers(-30, 120),
        st.sampled_from([8, 12]),
        st.sampled_from(["market", "sales"]),
        st.sampled_from([None, 0, 3]),
        st.sampled_from(["hung up", "ABANDONED", "solved", None]),
    ),
    max_size=14,
)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def contacts_of(met: list[tuple]) -> pd.DataFrame:
    rows = [
        (f"k{n:02}", who, dt.datetime.combine(day(number), dt.time(hour)), purpose, interest, outcome)
        for n, (who, number, hour, purpose, interest, outcome) in enumerate(met)
    ]
    frame = pd.DataFrame(rows, columns=["contact_id", "customer_id", "time", "purpose", "interest", "outcome"])
    return frame.astype({"time": "datetime64[us]", "interest": "Int64", "outcome": "str", "contact_id": "str"})


def purchases_of(log: list[tuple]) -> ibis.Table:
    rows = [(who, day(number), float(amount)) for who, number, amount in log]
    return customers.purchases(pd.DataFrame(rows, columns=["customer_id", "date", "amount"]))


def bought_days(log: list[tuple], last: int = 999) -> dict[str, dict[int, float]]:
    amounts: dict[str, Counter] = defaultdict(Counter)
    for who, number, amount in log:
        if number <= last:
            amounts[who][number] += amount
    return {who: {n: a for n, a in by_day.items() if a >= 0} for who, by_day in amounts.items()}


def credit(log: list[tuple], met: list[tuple], within: int) -> dict[str, tuple]:
    """Return of each contact, in plain Python: judged, purchases, value, stage, interest before."""
    own = defaultdict(list)
    for n, (who, number, hour, _, interest, _) in enumerate(met):
        own[who].append((number, hour, f"k{n:02}", interest))
    found = {}
    lives = bought_days(log)
    for who, held in own.items():
        held.sort(key=lambda c: c[:3])
        life = lives.get(who, {})
        for at, (number, _, key, _) in enumerate(held):
            judged = 0 <= number <= 120 - within
            following = held[at + 1][0] if at + 1 < len(held) else math.inf
            won = [a for n, a in life.items() if number <= n <= number + within and n < following and judged]
            stage = "customer" if life and min(life) < number else calls.STAGES[min(at, 3)]
            found[key] = (judged, len(won), float(sum(won)), stage, held[at - 1][3] if at else None)
    return found


@pytest.fixture(scope="module")
def data(sample):
    return open_dataset(sample)


@pytest.fixture(scope="module")
def every(data):
    return calls.credited(
        data.table("contacts"), data.purchases(), as_of=data.as_of, since=data.period[0], within_days=14
    ).cache()


@pytest.fixture(scope="module")
def lines(data):
    return calls.incoming(data.table("contacts"), service_seconds=60, hung_up=WORDS).cache()


# What follows a contact


@settings(max_examples=8, deadline=None)
@given(logs, meetings, st.integers(0, 60))
@example([("a", 10, 100)], [("a", 10, 8, "sales", 1, None), ("a", 10, 12, "sales", 2, None)], 5)  # two on its day
@example([("a", 10, 100), ("a", 20, 100)], [("a", 5, 8, "sales", 1, None), ("a", 20, 8, "market", 0, None)], 15)
@example([("a", 10, 100)], [("a", -1, 8, "market", None, None), ("a", 116, 8, "sales", None, None)], 14)
def test_credited_agrees_with_plain_python(log, met, within):
    log = [row for row in log if row[1] <= 120]
    if not log:
        return
    found = calls.credited(contacts_of(met), purchases_of(log), as_of=AS_OF, since=START, within_days=within)
    frame = found.to_pandas()
    ours = {
        r.contact_id: (
            r.judged,
            r.purchases,
            r.value,
            r.stage,
            None if pd.isna(r.interest_before) else r.interest_before,
        )
        for r in frame.itertuples()
    }
    assert ours == credit(log, met, within)
    assert (frame["converted"] == (frame["purchases"] > 0)).all()


def test_the_order_of_rows_never_matters(data, every):
    contacts, log = data.table("contacts").to_pandas(), data.table("transactions").to_pandas()
    shuffled = contacts.sample(frac=1, random_state=1), log.sample(frac=1, random_state=2)
    products = data.table("products").to_pandas()
    again = calls.credited(
        shuffled[0], customers.purchases(shuffled[1], products), as_of=data.as_of, since=data.period[0], within_days=14
    )
    frames = [table.order_by("contact_id").to_pandas() for table in (every, again)]
    pd.testing.assert_frame_equal(*frames, check_dtype=False)
    worth = pd.DataFrame({"customer_id": contacts["customer_id"].unique(), "value": 1.0})
    vain = [
        calls.not_called_back(c, worth, hung_up=WORDS, as_of=data.as_of, within_days=400).to_pandas()
        for c in (contacts, shuffled[0])
    ]
    pd.testing.assert_frame_equal(*vain)
    assert len(vain[0]) > 20


def test_a_purchase_is_counted_once(data, every):
    found = every.to_pandas()
    total = data.purchases().to_pandas()
    last_judged = data.as_of - dt.timedelta(days=14)
    assert found["purchases"].sum() <= len(total)
    assert found["judged"].sum() == found["date"].between(*map(pd.Timestamp, (data.period[0], last_judged))).sum()
    assert not found.loc[~found["judged"], ["converted", "purchases", "value"]].any(axis=None)
    counted = calls.counts(every, "purpose", "channel")
    by_purpose = calls.conversions(counted, "purpose")
    assert by_purpose["contacts"].sum() == len(found) == calls.conversions(counted, "channel")["contacts"].sum()
    assert by_purpose["value"].sum() == pytest.approx(found["value"].sum())
    assert by_purpose["purpose"].to_list() == ["market", "prospecting", "sales", "service"]
    sales = by_purpose.iloc[2]
    assert (sales["low"], sales["high"]) == pytest.approx(wilson(sales["rate"], sales["judged"]))
    assert sales["value_per_contact"] == pytest.approx(sales["value"] / sales["judged"])


def test_nothing_after_the_as_of_date_is_read(data, sample):
    then = dt.date(2024, 9, 30)
    earlier = open_dataset(sample, as_of=then)
    frames = [
        calls.credited(
            d.table("contacts", then), d.purchases(then), as_of=then, since=d.period[0], within_days=14
        ).to_pandas()
        for d in (data, earlier)
    ]
    pd.testing.assert_frame_equal(*(f.sort_values("contact_id", ignore_index=True) for f in frames))
    assert frames[0]["date"].max() <= pd.Timestamp(then)


def test_optional_columns_may_be_missing_or_empty():
    met = contacts_of([("a", 5, 8, "sales", None, None)])
    bought = purchases_of([("a", 6, 100)])
    bare = met[["contact_id", "customer_id", "time", "purpose"]]
    empty = met.assign(channel=None, direction=None, agent_id=None, wait_seconds=None).astype({"wait_seconds": float})
    for contacts in (bare, empty):
        every = calls.credited(contacts, bought, as_of=AS_OF, since=START, within_days=14)
        found = calls.conversions(calls.counts(every, "purpose", "channel"), "purpose", "channel")
        assert found[["purpose", "channel", "converted"]].to_numpy().tolist() == [["sales", "unknown", 1]]
        with pytest.raises(Unanswerable, match="outcome"):
            calls.outcomes(every)
        with pytest.raises(Unanswerable, match="interest"):
            calls.before_buying(every)
        with pytest.raises(Unanswerable, match="waiting time"):
            calls.waiting(calls.incoming(contacts, service_seconds=60, hung_up=WORDS))
        worth = pd.DataFrame({"customer_id": ["a"], "value": [1.0]})
        vain = calls.not_called_back(contacts, worth, hung_up=WORDS, as_of=AS_OF, within_days=999)
        assert vain.count().execute() == 0
    none = calls.credited(bare[:0], bought, as_of=AS_OF, since=START, within_days=14)
    with pytest.raises(Unanswerable, match="no contact"):
        calls.conversions(calls.counts(none, "purpose"), "purpose")
    with pytest.raises(Unanswerable, match="no contact"):
        calls.first_date(bare[:0])
    assert calls.first_date(bare) == day(5)


def test_bad_parameters():
    met, bought = contacts_of([]), purchases_of([("a", 6, 100)])
    with pytest.raises(ValueError, match="0 days"):
        calls.credited(met, bought, as_of=AS_OF, since=START, within_days=-1)
    with pytest.raises(ValueError, match="service_seconds"):
        calls.incoming(met, service_seconds=-1, hung_up=[])
    for bands in ([], [0, 10], [20, 10], [10, 10]):
        with pytest.raises(ValueError, match="bands"):
            calls.hang_ups(calls.incoming(met, service_seconds=60, hung_up=[]), bands)


def test_outcomes_are_shares_of_each_purpose(every):
    found = calls.outcomes(every, most=4)
    assert found["outcome"].to_list() == ["follow up", "order", "case", "no interest", "others"]
    assert found.drop(columns="outcome").sum().to_list() == pytest.approx([1] * 4)
    frame = every.to_pandas()
    sales = frame.loc[frame["purpose"] == "sales", "outcome"].value_counts(normalize=True)
    assert found.set_index("outcome").loc["order", "sales"] == pytest.approx(sales["order"])


def test_months_are_whole_and_complete(every, data):
    found = calls.by_month(every, since=dt.date(2024, 12, 15), as_of=data.as_of)
    frame = every.to_pandas()
    month = pd.to_datetime(frame["date"]).dt.to_period("M").dt.to_timestamp()
    expected = frame[month >= "2025-01-01"].groupby([month, "purpose"]).size()
    ours = found.set_index(["month", "purpose"])["contacts"]
    assert ours.to_dict() == expected.to_dict()
    assert calls.by_month(every, since=dt.date(2025, 12, 1), as_of=data.as_of).empty


# Many groups compared


def table_of(rng, agents, strata, effect=0.0, better="A0", n=60):
    """Return contacts of agents in strata of different rates; one agent may be better."""
    rows = []
    for stratum in range(strata):
        base = rng.uniform(0.03, 0.5) + max(-effect, 0)
        for agent in range(agents):
            name, size = f"A{agent}", int(rng.integers(5, n))
            share = min(base + effect * (name == better), 1)
            rows.append((name, stratum, size, rng.binomial(size, share)))
    return pd.DataFrame(rows, columns=["agent_id", "stage", "judged", "converted"])


def found_clear(table):
    return calls.compared(table, "agent_id", ["stage"], part="converted", whole="judged").query("clear")


@pytest.mark.parametrize(("agents", "strata", "n"), [(18, 5, 60), (3, 3, 40)])
def test_agents_who_do_not_differ_are_rarely_called_better_or_worse(agents, strata, n):
    rng = np.random.default_rng(agents)
    wrong = [len(found_clear(table_of(rng, agents, strata, n=n))) > 0 for _ in range(50)]
    assert np.mean(wrong) <= 0.1  # 0.05, and what chance adds to 50 trials


def test_an_agent_who_is_better_is_found():
    rng = np.random.default_rng(5)
    tables = [table_of(rng, 12, 8, effect=0.15) for _ in range(12)]
    found = [set(found_clear(table)["agent_id"]) for table in tables]
    assert np.mean(["A0" in names for names in found]) >= 0.9
    worse = found_clear(table_of(rng, 12, 8, effect=-0.25, better="A3"))
    assert worse.loc[worse["agent_id"] == "A3", "adjusted_high"].item() < 0


def test_like_is_compared_with_like():
    """Simpson: A has the harder contacts, and does better in each kind; so it is better."""
    table = pd.DataFrame(
        {
            "agent_id": ["A", "B", "A", "B", "A"],
            "stage": ["hard", "hard", "easy", "easy", None],
            "judged": [1000, 100, 100, 1000, 7],
            "converted": [200, 10, 70, 600, 7],
        }
    )
    found = calls.compared(table, "agent_id", ["stage"], part="converted", whole="judged").set_index("agent_id")
    assert found.loc["A", "rate"] < found.loc["B", "rate"]
    # Mantel and Haenszel: weights 1000 * 100 / 1100 in both, differences 0.1 and 0.1.
    assert found.loc["A", "adjusted"] == pytest.approx(0.1)
    assert found.loc["B", "adjusted"] == pytest.approx(-0.1)
    assert found["clear"].all()
    assert found["left_out"].to_dict() == {"A": 7, "B": 0}
    nobody = calls.compared(table.assign(agent_id=None), "agent_id", ["stage"], part="converted", whole="judged")
    assert nobody.empty
    alone = calls.compared(table[table["agent_id"] == "A"], "agent_id", ["stage"], part="converted", whole="judged")
    assert alone["few"].all()
    assert not alone["clear"].any()
    assert alone["adjusted"].isna().all()


def test_compared_agrees_with_the_test_of_cochran_mantel_and_haenszel():
    table = table_of(np.random.default_rng(3), 5, 6)
    found = calls.compared(table, "agent_id", ["stage"], part="converted", whole="judged").set_index("agent_id")
    total = table.groupby("stage")[["judged", "converted"]].sum()
    for agent, own in table.groupby("agent_id"):
        excess = variance = weight = 0.0
        for row in own.itertuples():
            n, hits = total.loc[row.stage]
            excess += row.converted - row.judged * hits / n
            variance += row.judged * (n - row.judged) * hits * (n - hits) / (n * n * (n - 1))
            weight += row.judged * (n - row.judged) / n
        at = found.loc[agent]
        assert at["adjusted"] == pytest.approx(excess / weight)
        z = 2.5758293035489004  # the normal quantile of 1 - 0.05 / 2 / 5
        assert at["adjusted_high"] - at["adjusted"] == pytest.approx((z * math.sqrt(variance) + 0.5) / weight)
        assert at["clear"] == (max(abs(excess) - 0.5, 0) / math.sqrt(variance) > z)
    shuffled = table.sample(frac=1, random_state=2)
    again = calls.compared(shuffled, "agent_id", ["stage"], part="converted", whole="judged").set_index("agent_id")
    pd.testing.assert_frame_equal(found, again)


def test_no_agent_no_hour_of_the_sample_is_better(every):
    """They are drawn at random: whoever is called clearly better or worse is called so wrongly."""
    year = every.filter(every["date"] > dt.date(2024, 12, 31))
    for contacts in (every, year):
        for of in ("agent_id", "hour"):
            found = calls.compared(calls.counts(contacts, *LIKE, of), of, LIKE, part="converted", whole="judged")
            assert not found["clear"].any()
            assert len(found) >= 9


def test_agents_of_the_sample_drawn_again(every):
    """The share of draws in which an agent of the call centre is wrongly called better or worse."""
    frame = every.filter(every["judged"], every["agent_id"].startswith("A")).to_pandas()
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(20):
        drawn = frame.assign(agent_id=rng.integers(0, 6, len(frame)).astype(str))
        counted = drawn.groupby([*LIKE, "agent_id"], as_index=False)["converted"].agg(judged="size", converted="sum")
        wrong += calls.compared(counted, "agent_id", LIKE, part="converted", whole="judged")["clear"].any()
    assert wrong <= 3


def test_customers_who_differ_do_not_make_their_agents_differ():
    """Each customer has one agent and a rate of their own: without `spread`, most draws call one better or worse."""
    rng, wrong, naive = np.random.default_rng(6), 0, 0
    for _ in range(12):
        rate, agent = rng.beta(0.5, 1, 400), rng.integers(0, 12, 400).astype(str)
        who = np.repeat(np.arange(400), rng.poisson(6, 400) + 1)
        frame = pd.DataFrame({"customer_id": who.astype(str), "agent_id": agent[who], "judged": True})
        frame = frame.assign(converted=rng.random(len(who)) < rate[who], stage=rng.integers(0, 3, len(who)).astype(str))
        table = ibis.memtable(frame)
        spread = calls.spread(table, "agent_id", ["stage"])
        counted = frame.groupby(["agent_id", "stage"], as_index=False)[["converted", "judged"]].sum()
        wrong += calls.compared(counted, "agent_id", ["stage"], part="converted", whole="judged", spread=spread)[
            "clear"
        ].any()
        naive += len(found_clear(counted)) > 0
    assert wrong <= 2
    assert naive >= 6
    together = frame.groupby("stage")["converted"].transform("mean"), frame.groupby("stage")["judged"].transform("size")
    mine = frame["agent_id"] == "3"
    share = mine.groupby(frame["stage"]).transform("sum") / together[1]
    adds = ((mine - share) * (frame["converted"] - together[0])).groupby(frame["customer_id"]).sum()
    assert spread.loc["3", "spread"] == pytest.approx((adds**2).sum())
    assert spread.loc["3", "customers"] == frame.loc[mine, "customer_id"].nunique()


def test_no_agent_of_the_sample_is_better_at_earlier_dates(data):
    for date in (dt.date(2023, 3, 31), dt.date(2024, 6, 30)):
        every = calls.credited(
            data.table("contacts", date), data.purchases(date), as_of=date, since=data.period[0], within_days=14
        ).cache()
        found = calls.compared(
            calls.counts(every, *LIKE, "agent_id"),
            "agent_id",
            LIKE,
            part="converted",
            whole="judged",
            spread=calls.spread(every, "agent_id", LIKE),
        )
        assert not found["clear"].any()


# Waiting and hanging up


def test_waiting_against_pandas(lines, data):
    frame = data.table("contacts").to_pandas()
    frame = frame[frame["wait_seconds"].notna()]
    by_hour = frame.groupby(frame["time"].dt.hour)["wait_seconds"]
    found = calls.waiting(lines, "hour").set_index("hour")
    assert found["calls"].to_dict() == by_hour.size().to_dict()
    assert found["median"].to_list() == pytest.approx(by_hour.median().to_list())
    assert found["most"].to_list() == pytest.approx(by_hour.quantile(0.9).to_list())
    assert found["longer"].to_list() == by_hour.agg(lambda s: (s > 60).sum()).to_list()
    every = calls.waiting(lines).iloc[0]
    assert (every["calls"], every["hung_up"]) == (len(frame), (frame["outcome"] == "hung up").sum())
    weekdays = calls.waiting(lines, "weekday")
    assert weekdays["calls"].to_list() == frame["time"].dt.day_of_week.value_counts().sort_index().to_list()


def test_no_wait_is_a_wait_and_calls_that_go_out_have_none():
    contacts = contacts_of([("a", n, 9, "sales", None, "solved") for n in range(5)])
    contacts = contacts.assign(wait_seconds=[0.0, 10.0, None, 70.0, 500.0], direction=["in", None, "in", "in", "out"])
    found = calls.waiting(calls.incoming(contacts, service_seconds=10, hung_up=WORDS)).iloc[0]
    assert found[["calls", "median", "longer"]].to_list() == [3, 10, 1]


def test_planted_rush_is_found(lines):
    found = calls.slow_times(lines)
    slow = found[found["clear"] & (found["adjusted"] > 0)]
    assert slow["name"].to_list() == ["10:00", "11:00", "Mondays", "April", "May"]


def test_no_rush_is_found_where_there_is_none(lines):
    """Waits dealt anew among the calls: of the 26 times none is called slow, but for one draw in twenty a family."""
    frame, rng = lines.order_by("contact_id").to_pandas(), np.random.default_rng(4)
    wrong = [
        calls.slow_times(frame.assign(longer=rng.permutation(frame["longer"].to_numpy()))).groupby("by")["clear"].any()
        for _ in range(30)
    ]
    assert np.mean(wrong) <= 0.1


def test_planted_patience_is_found(data):
    """Those who may hang up do so when they wait longer than their patience, exponential with a mean of 260 seconds."""
    contacts = data.table("contacts")
    impatient = contacts.filter(contacts["outcome"].notin(care.HARDLY_HANGS_UP))
    lines = calls.incoming(impatient, service_seconds=60, hung_up=["HUNG UP"])
    bands = [30, 60, 120, 180]
    found = calls.hang_ups(lines, bands).set_index("waited")
    waits = lines.to_pandas()["wait_seconds"]
    chance = 1 - np.exp(-waits / care.PATIENCE)
    band = pd.cut(waits, [0, *bands, np.inf], labels=found.index)
    expected, spread = (values.groupby(band, observed=True).sum() for values in (chance, chance * (1 - chance)))
    assert (((found["hung_up"] - expected) / np.sqrt(spread)).abs() < 3).all()
    whole = calls.hang_ups(calls.incoming(contacts, service_seconds=60, hung_up=WORDS), bands)
    assert whole["waited"].to_list() == ["up to 30", "30 to 60", "60 to 120", "120 to 180", "over 180"]
    assert whole["rate"].is_monotonic_increasing
    assert whole["hung_up"].sum() == 144
    with pytest.raises(Unanswerable, match="hung up"):
        calls.hang_ups(calls.incoming(contacts, service_seconds=60, hung_up=["ring off"]), bands)


@settings(max_examples=8, deadline=None)
@given(meetings, st.integers(1, 150))
def test_not_called_back_agrees_with_plain_python(met, within):
    own = defaultdict(list)
    for n, (who, number, hour, purpose, _, outcome) in enumerate(met):
        own[who].append((number, hour, n, purpose, (outcome or "").lower() in ("hung up", "abandoned")))
    expected = {}
    for who, held in own.items():
        held.sort(reverse=True)
        vain = next((at for at, call in enumerate(held) if not call[4]), len(held))
        if vain and held[0][0] > 120 - within:
            expected[who] = (7.0 if who == "a" else 0.0, day(held[0][0]), held[0][3], vain)
    worth = pd.DataFrame({"customer_id": ["a", "nobody"], "value": [7.0, 9.0]})
    found = calls.not_called_back(contacts_of(met), worth, hung_up=WORDS, as_of=AS_OF, within_days=within).to_pandas()
    ours = {r.customer_id: (r.value, pd.Timestamp(r.called).date(), r.purpose, r.calls) for r in found.itertuples()}
    assert ours == expected
    assert found["customer_id"].to_list() == sorted(expected, key=lambda who: (-expected[who][0], who))


# Who will buy


def test_interest_of_the_sample_raises_the_odds_as_planted(every):
    """Log-odds of buying by the interest, among contacts of the same number: 1.15 a step, within three errors."""
    known = calls.before_buying(every)
    known = known[known["interest"] >= 0]
    stage = pd.get_dummies(known["stage"], dtype=float).to_numpy()
    x = np.column_stack([known["interest"], stage])
    n, hits, beta = known["contacts"].to_numpy(), known["converted"].to_numpy(), np.zeros(x.shape[1])
    for _ in range(30):  # Newton's steps
        p = 1 / (1 + np.exp(-x @ beta))
        information = x.T @ (x * (n * p * (1 - p))[:, None])
        beta += np.linalg.solve(information, x.T @ (hits - n * p))
    error = math.sqrt(np.linalg.inv(information)[0, 0])
    assert error < 0.06
    assert beta[0] == pytest.approx(1.15, abs=3 * error)


def test_market_tells_nothing_and_sales_do(every):
    known = calls.before_buying(every)
    found = calls.qualification(known).set_index("purpose")
    assert found.index.to_list() == ["market", "prospecting", "sales", "service"]
    assert found.loc["market", ["recorded", "known_before", "added"]].to_list() == [0, 0, 0]
    assert pd.isna(found.loc["market", "adjusted"])
    assert found.loc["prospecting", ["recorded", "known_before"]].to_list() == [1, 0]
    for purpose in ("prospecting", "sales"):
        assert found.loc[purpose, "adjusted_low"] > 0.15
        assert 0.05 < found.loc[purpose, "added"] < 0.2 < found.loc[purpose, "open"]
    assert found.loc["sales", "known_before"] > 0.05  # interest lasts: the contact before told some of it
    by = calls.by_interest(known)
    assert by["purpose"].to_list() == ["prospecting"] * 4 + ["sales"] * 4
    assert all(rates.is_monotonic_increasing for _, rates in by.groupby("purpose")["rate"])
    frame = every.to_pandas()
    frame = frame[frame["judged"] & (frame["stage"] != "customer")]
    assert known["contacts"].sum() == len(frame) == found["contacts"].sum()
    assert by["converted"].sum() == frame.loc[frame["interest"].notna(), "converted"].sum()


def test_information_of_known_tables():
    assert calls.entropy(np.array([10**7, 10**7])) == pytest.approx(1, abs=1e-6)
    assert calls.mutual_information(np.array([[10**7, 0], [0, 10**7]])) == pytest.approx(1, abs=1e-6)
    assert calls.mutual_information(np.array([[300, 100], [600, 200]])) == 0  # independent
    assert calls.mutual_information(np.zeros((2, 2))) == calls.entropy(np.array([])) == 0
    # H(3/8, 5/8) = 0.954434, and (2 - 1) / (2 * 8 ln 2) = 0.090169 for the smallness of the sample
    assert calls.entropy(np.array([3, 5, 0])) == pytest.approx(0.954434 + 0.090169, abs=1e-6)
    # A binary symmetric channel with one error in ten: 1 - H(0.1) = 0.531004
    assert calls.mutual_information(np.array([[9, 1], [1, 9]]) * 10**6) == pytest.approx(0.531004, abs=1e-5)


def test_information_is_corrected_for_chance():
    """Of nothing to be told, small samples seem to tell 0.06 bits; the correction takes that off on average."""
    rng = np.random.default_rng(2)
    tables = [rng.multinomial(60, np.outer([0.25] * 4, [0.7, 0.3]).ravel()).reshape(4, 2) for _ in range(400)]
    found = np.mean([calls.mutual_information(table) for table in tables])
    assert found < 0.02


@settings(max_examples=6, deadline=None)
@given(logs, meetings)
def test_parts_of_what_is_known_add_up(log, met):
    log = [("a", 0, 1), *((who, number, amount) for who, number, amount in log if number <= 120)]
    every = calls.credited(contacts_of(met), purchases_of(log), as_of=AS_OF, since=START, within_days=14)
    try:
        known = calls.before_buying(every)
    except Unanswerable:
        return
    found = calls.qualification(known)
    assert found["contacts"].sum() == known["contacts"].sum()
    assert found["recorded"].between(0, 1).all()
    assert (found[["known_before", "added", "open"]] >= 0).all(axis=None)


def test_speaks_other_dialects(dialect):
    contacts = ibis.table(
        {
            "contact_id": "string",
            "customer_id": "string",
            "time": "timestamp",
            "purpose": "string",
            "channel": "string",
            "direction": "string",
            "agent_id": "string",
            "wait_seconds": "float64",
            "outcome": "string",
            "interest": "int64",
        },
        name="contacts",
    )
    log = ibis.table({"customer_id": "string", "date": "date", "amount": "decimal(18, 6)"}, name="transactions")
    bought = customers.purchases(log)
    worth = periods.by_period(customers.transaction_lines(log), None, [START, AS_OF])
    every = calls.credited(contacts, bought, as_of=AS_OF, since=START, within_days=14)
    bare = calls.credited(
        contacts.select("contact_id", "customer_id", "time", "purpose"),
        bought,
        as_of=AS_OF,
        since=START,
        within_days=14,
    )
    lines = calls.incoming(contacts, service_seconds=60, hung_up=WORDS)
    vain = calls.not_called_back(contacts, worth, hung_up=WORDS, as_of=AS_OF, within_days=60)
    quantile = lines.group_by("hour").aggregate(median=lines["wait_seconds"].quantile(0.5))
    month = every.group_by(month=every["date"].truncate("M")).aggregate(n=every.count())
    for table in (every, bare, lines, vain, quantile, month):
        assert "memtable" not in ibis.to_sql(table, dialect=dialect)
