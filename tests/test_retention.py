"""Who comes back: each count against plain Python, CDNOW's numbers, and what is planted in the sample company."""

from __future__ import annotations

import datetime as dt
import io
import warnings
from collections import Counter, defaultdict

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crm_analysis import charts, customers, open_dataset, retention
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import difference, wilson

START = dt.date(2023, 11, 20)
AS_OF = START + dt.timedelta(days=420)
PEOPLE = ["a", "ü|'; --", "", "NULL", "7"]

days = st.integers(0, 420)
logs = st.lists(st.tuples(st.sampled_from(PEOPLE), days, st.sampled_from([-300, 0, 100, 250])), min_size=1, max_size=60)
met = st.lists(
    st.tuples(
        st.sampled_from([*PEOPLE, "only a lead"]), st.integers(-30, 420), st.sampled_from(["prospect", "target"])
    ),
    max_size=12,
)


def day(number: int | None) -> dt.date | None:
    return None if number is None else START + dt.timedelta(days=number)


def as_frame(log: list[tuple]) -> pd.DataFrame:
    rows = [(who, day(number), float(amount)) for who, number, amount in log]
    return pd.DataFrame(rows, columns=["customer_id", "date", "amount"])


def bought(log: list[tuple]):
    return customers.purchases(as_frame(log))


def naive(log: list[tuple]) -> dict[str, list[tuple[int, float]]]:
    """Return the purchases of each customer, as days and amounts, in order."""
    amounts: dict[str, Counter] = defaultdict(Counter)
    for who, number, amount in log:
        amounts[who][number] += amount
    found = {who: sorted((n, a) for n, a in by_day.items() if a >= 0) for who, by_day in amounts.items()}
    return {who: kept for who, kept in found.items() if kept}


def counted(pairs: list[tuple[int | None, int | None]], within: int) -> tuple[int, int, int]:
    """Return how many entered early enough, how many of them went on, and how many entered too recently."""
    early = [(since, reached) for since, reached in pairs if since is not None and since <= 420 - within]
    went = sum(reached is not None and 0 <= reached - since <= within for since, reached in early)
    return len(early), went, sum(since is not None for since, _ in pairs) - len(early)


@pytest.fixture(scope="module")
def shop(cdnow):
    return open_dataset(cdnow)


@pytest.fixture(scope="module")
def cds(shop):
    return shop.purchases().cache()


@settings(max_examples=25, deadline=None)
@given(logs, met, st.integers(1, 200))
@example(  # interested only after buying: no target
    [("a", 10, 100), ("b", 0, 100)], [("a", 5, "prospect"), ("a", 20, "target")], 100
)
@example([("a", 10, 100)], [("a", 5, "prospect")], 100)  # in contact before the log begins
@example([("a", 10, 100)], [("a", 10, "target")], 100)  # bought on the day of the first contact
def test_conversions_agree_with_plain_python(log, met, within):
    leads = pd.DataFrame(
        [(who, day(number), day(number + 90), stage) for who, number, stage in met],
        columns=["customer_id", "date", "until", "stage"],
    ).astype({"date": "datetime64[us]"})
    people = {
        who: (
            min(number for other, number, _ in met if other == who),
            min((number for other, number, stage in met if (other, stage) == (who, "target")), default=None),
        )
        for who, *_ in met
    }
    lives = {who: [n for n, _ in life] for who, life in naive(log).items()}
    first = {who: life[0] for who, life in lives.items()}
    pairs = defaultdict(list)
    begins = min(first.values(), default=999)
    for who, (since, interested) in people.items():
        if since < begins:  # what they bought before the log begins is not known
            continue
        is_target = interested is not None and first.get(who, 999) >= interested
        if first.get(who, 999) >= since:
            pairs["prospect to target"].append((since, interested if is_target else None))
            pairs["prospect to first purchase"].append((since, first.get(who)))
        if is_target:
            pairs["target to first purchase"].append((interested, first.get(who)))
    for life in lives.values():
        later = [*life, None, None]
        pairs["first to second purchase"].append((later[0], later[1]))
        pairs["second to third purchase"].append((later[1], later[2]))
    expected = {step: counted(found, within) for step, found in pairs.items()}
    try:
        found = retention.conversions(bought(log), leads, as_of=AS_OF, within_days=within)
    except Unanswerable:
        assert not any(entered for entered, *_ in expected.values())
        return
    assert len(found) == 5
    for row in found.itertuples():
        assert (row.entered, row.converted, row.too_recent) == expected.get(row.step, (0, 0, 0))
        rate = row.converted / row.entered if row.entered else np.nan
        assert (row.rate, row.low, row.high) == pytest.approx((rate, *wilson(rate, row.entered)), nan_ok=True)


def test_cdnow_conversions(shop, cds):
    """The same, from pandas."""
    found = retention.conversions(cds, as_of=shop.as_of, within_days=365).set_index("step")
    assert found.index.to_list() == ["first to second purchase", "second to third purchase"]
    log = shop.table("transactions").select("customer_id", "date").distinct().to_pandas()
    log = log.assign(date=pd.to_datetime(log["date"])).sort_values(["customer_id", "date"])
    by = log.groupby("customer_id")["date"]
    log = log.assign(number=by.cumcount() + 1, wait=by.shift(-1) - log["date"])
    for number, row in enumerate(found.itertuples(), 1):
        entered = log[log["number"] == number]
        early = entered[entered["date"] <= "1997-06-30"]
        went = (early["wait"] <= pd.Timedelta(days=365)).sum()
        assert (row.entered, row.converted, row.too_recent) == (len(early), went, len(entered) - len(early))
    assert found.loc["first to second purchase", ["entered", "converted", "too_recent"]].to_list() == [
        23_570,
        10_810,
        0,
    ]


@settings(max_examples=25, deadline=None)
@given(logs, st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_cohorts_agree_with_plain_python(log, months):
    length = retention.age_days(months)
    sizes, seen = Counter(), Counter()
    for life in naive(log).values():
        first = day(life[0][0])
        cohort = (first.year * 12 + first.month - 1) // months * months
        sizes[cohort] += 1
        seen.update({(cohort, -(-(n - life[0][0]) // length)) for n, _ in life[1:]})  # rounded up
    expected = {}
    for cohort, size in sizes.items():
        after = dt.date((cohort + months) // 12, (cohort + months) % 12 + 1, 1)
        for age in range(1, (AS_OF - after).days // length + 2):
            if after + dt.timedelta(days=age * length - 1) <= AS_OF:
                start = dt.date(cohort // 12, cohort % 12 + 1, 1)
                expected[start, age] = (size, seen[cohort, age])
    try:
        found = retention.cohorts(bought(log), as_of=AS_OF, cohort_months=months)
    except Unanswerable:
        assert not expected
        return
    ours = {(row.start.date(), row.age): (row.customers, row.returned) for row in found.itertuples()}
    assert ours == expected
    assert list(ours) == sorted(expected)
    assert found["rate"].to_list() == pytest.approx([returned / size for size, returned in ours.values()])


@pytest.mark.parametrize(
    ("months", "name"), [(1, "2024-08"), (2, "2024-07"), (3, "2024 Q3"), (4, "2024 T2"), (6, "2024 H2"), (12, "2024")]
)
def test_names_of_cohorts(months, name):
    log = pd.DataFrame({"customer_id": ["a"], "date": [dt.date(2024, 8, 31)], "amount": [1.0]})
    found = retention.cohorts(customers.purchases(log), as_of=dt.date(2026, 12, 31), cohort_months=months)
    assert found["cohort"].unique().tolist() == [name]
    with pytest.raises(ValueError, match="cohort_months"):
        retention.cohorts(customers.purchases(log), as_of=AS_OF, cohort_months=months + 12)


def test_an_age_is_told_from_its_last_day_on():
    log = pd.DataFrame({"customer_id": ["a", "a"], "date": [dt.date(2024, 1, 1), dt.date(2024, 4, 1)], "amount": 1.0})
    last = dt.date(2024, 3, 31) + dt.timedelta(days=91)  # of age 1, for those who first bought on the last day
    found = retention.cohorts(customers.purchases(log), as_of=last, cohort_months=3)
    assert found[["age", "customers", "returned"]].to_numpy().tolist() == [[1, 1, 1]]  # day 91 is of age 1
    with pytest.raises(Unanswerable, match="91 days"):
        retention.cohorts(customers.purchases(log), as_of=last - dt.timedelta(days=1), cohort_months=3)


def test_cdnow_cohorts(shop, cds):
    found = retention.cohorts(cds, as_of=shop.as_of, cohort_months=3)
    assert found["cohort"].unique().tolist() == ["1997 Q1"]
    assert found["returned"].to_list() == [6910, 4692, 4166, 3887, 3723]
    monthly = retention.cohorts(cds, as_of=shop.as_of, cohort_months=1)
    assert monthly.groupby("cohort")["age"].max().to_dict() == {"1997-01": 17, "1997-02": 16, "1997-03": 15}
    with pytest.raises(Unanswerable, match="counterpart"):
        retention.year_on_year(found)


def test_ages_are_compared_on_the_same_cohorts_after_the_first():
    starts = pd.to_datetime(["2022-01-01"] * 4 + ["2022-04-01"] * 3 + ["2022-07-01"] * 2 + ["2022-10-01"])
    ages = pd.DataFrame({"start": starts, "age": [1, 2, 3, 4, 1, 2, 3, 1, 2, 1], "customers": [900] * 4 + [100] * 6})
    ages = ages.assign(returned=[900, 900, 900, 900, 50, 40, 30, 30, 20, 0])
    assert retention.at_ages(ages, 2).to_dict() == {1: 0.4, 2: 0.3}
    assert retention.at_ages(ages, 4).to_dict() == {1: 0.5, 2: 0.4, 3: 0.3}  # the oldest after the first
    assert retention.at_ages(ages[:4], 2).to_dict() == {1: 1.0, 2: 1.0}  # there is no other
    assert retention.at_ages(ages.sample(frac=1, random_state=1), 1).to_dict() == {1: pytest.approx(80 / 300)}


def test_year_on_year_compares_the_same_seasons_after_the_first_cohort():
    starts = pd.date_range("2022-01-01", periods=8, freq="QS").append(pd.DatetimeIndex(["2024-01-01", "2024-04-01"]))
    ages = pd.DataFrame(
        {"start": starts, "age": 1, "customers": 100, "returned": [99, 10, 20, 30, 40, 10, 20, 30, 40, 5]}
    )
    older = ages.assign(age=2, returned=0)
    found = retention.year_on_year(pd.concat([ages, older]))
    # Newest: 2023 Q3 to 2024 Q2; a year earlier: 2022 Q3 to 2023 Q2. 2022 Q1 holds older customers, and is out anyway.
    assert (found.rate_with, found.rate_without) == pytest.approx((0.2375, 0.25))
    assert found.adjusted == pytest.approx((20 + 30 + 40 + 5 - 20 - 30 - 40 - 10) / 400)
    assert not found.clear
    short = retention.year_on_year(ages[:6])  # 2023 Q2 has a counterpart; that of 2023 Q1 is the first in the data
    assert (short.customers_with, short.rate_with, short.rate_without) == pytest.approx((100, 0.1, 0.1))
    with pytest.raises(Unanswerable, match="counterpart"):
        retention.year_on_year(ages[:5])
    worse = retention.year_on_year(ages.assign(returned=[99, 60, 60, 60, 60, 60, 20, 20, 20, 20]))
    assert worse.clear
    assert worse.adjusted_high < -0.2


@settings(max_examples=25, deadline=None)
@given(logs, st.integers(1, 90), st.integers(1, 120), st.sampled_from([1, 3]))
def test_win_backs_agree_with_plain_python(log, dormant_after, within, months):
    expected = defaultdict(lambda: [0, 0, 0.0])
    for life in naive(log).values():
        later = [*life[1:], None]
        for at, (number, _) in enumerate(life):
            following = later[at][0] if later[at] else None
            if (420 if following is None else following) - number <= dormant_after:
                continue
            fell = number + dormant_after + 1
            date = day(fell)
            period = (date.year * 12 + date.month - 1) // months * months
            end = dt.date((period + months) // 12, (period + months) % 12 + 1, 1) - dt.timedelta(days=1)
            if end + dt.timedelta(days=within) > AS_OF:
                continue
            row = expected[dt.date(period // 12, period % 12 + 1, 1)]
            row[0] += 1
            row[1] += following is not None and following <= fell + within
            last = None
            for back, amount in life[at + 1 :]:
                if (last is not None and back - last > dormant_after) or back > fell + within:
                    break
                row[2] += amount
                last = back
    arguments = {"dormant_after": dormant_after, "within_days": within, "cohort_months": months}
    try:
        found = retention.win_backs(bought(log), as_of=AS_OF, **arguments)
    except Unanswerable:
        assert not expected
        return
    ours = {row.start.date(): [row.pauses, row.ended, row.value] for row in found.itertuples()}
    assert ours == dict(expected)
    assert list(ours) == sorted(ours)


def test_cdnow_win_backs(shop, cds):
    found = retention.win_backs(cds, as_of=shop.as_of, dormant_after=119, within_days=365, cohort_months=3)
    assert found[["cohort", "pauses", "ended"]].to_numpy().tolist() == [["1997 Q2", 12_805, 3_300]]
    assert found["value"][0] == pytest.approx(239_715.14)
    with pytest.raises(Unanswerable, match="fallen dormant"):
        retention.win_backs(cds, as_of=shop.as_of, dormant_after=119, within_days=366, cohort_months=3)
    with pytest.raises(ValueError, match="dormant"):
        retention.win_backs(cds, as_of=shop.as_of, dormant_after=0, within_days=365, cohort_months=3)


@settings(max_examples=25, deadline=None)
@given(logs, st.integers(1, 200), st.integers(0, 100), st.integers(0, 200))
@example([("a", 100, 100), ("a", 150, 100), ("b", 370, 100)], 200, 50, 30)  # silent for just so long
def test_what_follows_a_first_purchase_agrees_with_plain_python(log, within, silent, window):
    lives = naive(log)
    old = [life for life in lives.values() if life[0][0] <= 420 - silent - within]
    quiet = [life for life in old if len(life) == 1 or life[1][0] - life[0][0] > silent]
    spent = sum(life[0][1] for life in quiet)
    after = sum(amount for life in quiet for number, amount in life[1:] if number - life[0][0] <= silent + within)
    found = retention.value_after(bought(log), as_of=AS_OF, within_days=within, silent_for=silent)
    assert found == pytest.approx(after / spent if spent else np.nan, nan_ok=True)

    early = [life for life in lives.values() if life[0][0] <= 420 - within]
    waits = [life[1][0] - life[0][0] for life in early if len(life) > 1]
    waits = [wait for wait in waits if wait <= within]
    if waits:
        assert retention.usual_wait(bought(log), 0.5, as_of=AS_OF, within_days=within) == np.ceil(np.median(waits))
    else:
        with pytest.raises(Unanswerable, match="came back within that time"):
            retention.usual_wait(bought(log), 0.5, as_of=AS_OF, within_days=within)

    once = {
        who: life[0] for who, life in lives.items() if len(life) == 1 and silent < 420 - life[0][0] <= silent + window
    }
    listed = retention.slipping_away(bought(log), as_of=AS_OF, after=silent, dormant_after=silent + window)
    rows = list(retention.at_stake(listed, 2.0).to_pandas().itertuples())
    assert [row.customer_id for row in rows] == sorted(once, key=lambda who: (-once[who][1], who.encode()))
    for row in rows:
        number, amount = once[row.customer_id]
        assert (row.value_at_stake, row.first_amount) == (2 * amount, amount)
        assert (row.silence, row.days_left) == (420 - number, silent + window - 420 + number)
    median = np.floor(np.median([420 - number for number, _ in once.values()])) if once else 0
    assert retention.median_silence(listed) == median
    unknown = retention.at_stake(listed, float("nan")).to_pandas()
    assert list(unknown) == ["customer_id", "value_at_stake", "first_amount", "first_purchase", "silence", "days_left"]
    assert len(unknown) == len(once)
    assert unknown["value_at_stake"].isna().all()


def test_at_stake_is_what_equally_silent_customers_brought():
    """Who came back at once says nothing of those who are silent."""
    quick = [(f"q{n}", day, 100) for n in range(9) for day in (0, 5)]  # come back at once, and never again
    slow = [("s", 0, 100), ("s", 60, 30), ("s", 100, 20), ("s", 180, 500), ("never", 0, 100)]
    table = bought([*quick, *slow, *((f"l{n}", 420 - n, 100) for n in (30, 50, 50, 70))])
    listed = retention.slipping_away(table, as_of=AS_OF, after=20, dormant_after=80)
    assert retention.median_silence(listed) == 50
    looks = {"as_of": AS_OF, "within_days": 60}
    assert retention.value_after(table, silent_for=50, **looks) == pytest.approx((30 + 20) / 200)  # to day 110
    assert retention.value_after(table, **looks) == pytest.approx((900 + 30) / 1200)
    assert np.isnan(retention.value_after(table, as_of=AS_OF, within_days=371, silent_for=50))


line = st.tuples(
    st.sampled_from(PEOPLE),
    st.integers(0, 40).map(lambda number: 5 * number),
    st.sampled_from([-50, 95, 96, 100]),
    st.sampled_from([None, 100, 100]),
    st.none() | st.integers(0, 20),  # promised after so many days
    st.none() | st.integers(0, 30),  # delivered
)
opened = st.tuples(st.sampled_from(PEOPLE), days, st.sampled_from(["damaged", "Order status", "late"]))


@settings(max_examples=25, deadline=None)
@given(st.lists(line, min_size=1, max_size=40), st.lists(opened, max_size=12), st.sampled_from([0, 20, 60]))
@example(  # a complaint on the day of the second purchase, promised for today, bought just recently enough
    [("a", n, 100, 100, None, None) for n in (0, 20)] + [("7", 190, 100, 95, 20, None), ("NULL", 150, 100, 100, 0, 0)],
    [("a", 20, "damaged"), ("NULL", 150, "damaged")],
    60,
)
def test_experiences_agree_with_plain_python(lines, cases, complaint_days):
    as_of = START + dt.timedelta(days=210)
    log = pd.DataFrame(
        [
            (who, day(n), float(amount), listed, *(day(after if after is None else n + after) for after in (due, came)))
            for who, n, amount, listed, due, came in lines
        ],
        columns=["customer_id", "date", "amount", "list_amount", "promised", "delivered"],
    ).astype({"list_amount": float})
    log = log.assign(delivered=[came if came and came <= as_of else None for came in log["delivered"]])
    turned_to_us = pd.DataFrame(
        [(who, dt.datetime.combine(day(n), dt.time(23, 59)), cause) for who, n, cause in cases if n <= 210],
        columns=["customer_id", "opened", "cause"],
    ).astype({"opened": "datetime64[us]", "customer_id": str, "cause": str})
    table = retention.experiences(
        customers.purchases(log[["customer_id", "date", "amount"]]),
        log,
        turned_to_us,
        as_of=as_of,
        complaint_days=complaint_days,
        discount_from=0.05,
        not_complaints=["order Status"],
    )
    found = {row["customer_id"]: row for row in table.to_pandas().to_dict("records")}
    lives = naive([row[:3] for row in lines])
    recorded = any(came is not None and n + came <= 210 for _, n, *_, came in lines)
    assert set(found) == set(lives)
    for who, life in lives.items():
        first, second = life[0][0], life[1][0] if len(life) > 1 else None
        own = [row for row in lines if row[0] == who and row[1] == first]
        late = set()
        for _, number, _, _, due, came in own:
            if due is None:
                continue
            arrived = came is not None and number + came <= 210
            if arrived:
                late.add(came > due)
            elif 150 <= number + due < 210 and recorded:
                late.add(True)
        listed = [(amount, price) for _, _, amount, price, _, _ in own if price is not None]
        off = 100 * sum(a for a, _ in listed) <= 95 * sum(p for _, p in listed) if listed else None
        last = min(first + complaint_days, 210 if second is None else second)
        complained = any(w == who and cause != "Order status" and first <= n <= last for w, n, cause in cases)
        row = found[who]
        assert (None if pd.isna(row["late"]) else bool(row["late"])) == (any(late) if late else None)
        assert (None if pd.isna(row["discount"]) else bool(row["discount"])) == off
        assert row["complaint"] == complained

    if any(life[0][0] <= 210 - 90 for life in lives.values()):
        groups = retention.experience_groups(table, as_of=as_of, within_days=90, complaint_days=complaint_days)
        early = {who: life for who, life in lives.items() if life[0][0] <= 120}
        waits = [life[1][0] - life[0][0] for life in early.values() if len(life) > 1]
        assert groups["customers"].sum() == len(early)
        assert groups["returned"].sum() == sum(wait <= 90 for wait in waits)
        assert groups.loc[groups["early"], "customers"].sum() == sum(wait <= complaint_days for wait in waits)
    else:
        with pytest.raises(Unanswerable, match="first bought"):
            retention.experience_groups(table, as_of=as_of, within_days=90, complaint_days=complaint_days)

    bad = {who for who, row in found.items() if len(lives[who]) == 1 and lives[who][0][0] >= 150}
    bad = {who for who in bad if found[who]["late"] is True or found[who]["complaint"]}
    make_up = retention.to_make_up(table, as_of=as_of, recent_days=60)
    make_up = retention.at_stake(make_up, 1.5).to_pandas()
    assert set(make_up["customer_id"]) == bad
    assert make_up["first_amount"].is_monotonic_decreasing
    assert (make_up["value_at_stake"] == 1.5 * make_up["first_amount"]).all()
    for row in make_up.itertuples():
        assert row.silence == 210 - lives[row.customer_id][0][0]
        assert ("late" in row.experience) == (found[row.customer_id]["late"] is True)
        assert ("complaint" in row.experience) == found[row.customer_id]["complaint"]


def test_where_no_delivery_is_recorded_nothing_is_late():
    log = as_frame([("a", 0, 5), ("b", 0, 5), ("c", 0, 5)])
    log = log.assign(promised=[day(417), day(300), day(3)], delivered=[None, None, day(3)])
    looks = {"as_of": AS_OF, "complaint_days": 60, "discount_from": 0.05}
    found = retention.experiences(customers.purchases(log), log, **looks).to_pandas().set_index("customer_id")
    assert found["late"].to_dict() == {"a": True, "b": None, "c": False}  # b's may have come long ago
    empty = log.assign(delivered=pd.Series(pd.NaT, log.index, dtype="datetime64[us]"))
    table = retention.experiences(customers.purchases(empty), empty, **looks)
    assert table.to_pandas()["late"].isna().all()
    groups = retention.experience_groups(table, as_of=AS_OF, within_days=365, complaint_days=60)
    with pytest.raises(Unanswerable, match="which first purchases had a late delivery"):
        retention.effect(groups, "late")


def test_what_cannot_be_compared_is_not_called_chance():
    groups = pd.DataFrame(
        {
            "late": [True, False],
            "discount": [True, False],
            "early": False,
            "customers": [50, 60],
            "returned": [10, 30],
        }
    )
    for experience, of in (("late", "a late delivery .* in discount"), ("discount", "a discount .* in late delivery")):
        with pytest.raises(Unanswerable, match=f"None of the 50 first purchases with {of}"):
            retention.effect(groups, experience)
    assert retention.effect(groups.drop(columns="discount"), "late").clear


def test_complaints_need_more_time_to_come_back_than_to_complain():
    """Of those who have not come back in the days to complain, nobody has in fewer days."""
    log, cases = company(0.5, 400)
    log = log.assign(promised=START, delivered=[day(n % 2) for n in range(400)])
    table = retention.experiences(log, log, cases, as_of=AS_OF, complaint_days=60, discount_from=0.05)
    for within in (30, 60):
        groups = retention.experience_groups(table, as_of=AS_OF, within_days=within, complaint_days=60)
        with pytest.raises(Unanswerable, match="complaints cannot be compared"):
            retention.effect(groups, "complaint")
        assert retention.effect(groups, "late").customers_with == 200
    groups = retention.experience_groups(table, as_of=AS_OF, within_days=61, complaint_days=60)
    assert retention.effect(groups, "complaint").customers_with > 0


def company(harm: float, customers: int = 4000) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate first purchases of which three in ten are followed by a complaint that keeps a share of them away."""
    random = np.random.default_rng(7)
    complains = random.random(customers) < 0.3
    comes = random.random(customers) < 0.7 * np.where(complains, 1 - harm, 1)
    wait = np.ceil(random.exponential(80, customers))
    who = [f"c{number}" for number in range(customers)]
    log = pd.DataFrame({"customer_id": who, "date": START, "amount": 1.0, "value": 1.0, "number": 1})
    following = pd.Series([day(int(n)) if yes and n <= 420 else None for n, yes in zip(wait, comes, strict=True)])
    about = random.integers(0, 61, customers)
    cases = pd.DataFrame({"customer_id": who, "opened": [day(int(n)) for n in about], "cause": "damaged"})
    return log.assign(next_date=following), cases[complains]


@pytest.mark.parametrize("harm", [0.0, 0.5])
def test_complaints_are_not_blamed_for_those_who_came_back_before_they_could_complain(harm):
    log, cases = company(harm)
    table = retention.experiences(log, log, cases, as_of=AS_OF, complaint_days=60, discount_from=0.05)
    groups = retention.experience_groups(table, as_of=AS_OF, within_days=365, complaint_days=60)
    found = retention.effect(groups, "complaint")
    soon, back = 1 - np.exp(-60 / 80), 1 - np.exp(-365 / 80)
    with_it, without = ((0.7 * k * (back - soon)) / (1 - 0.7 * k * soon) for k in (1 - harm, 1))
    assert found.low < with_it - without < found.high
    assert found.clear == (harm > 0)
    assert difference(groups, "complaint").high < -0.05  # what looking at everybody would have claimed


def test_sample_company_shows_the_harm_that_is_planted(sample, truth):
    data = open_dataset(sample)
    table = retention.experiences(
        data.purchases(),
        data.table("transactions"),
        data.table("cases"),
        as_of=data.as_of,
        complaint_days=60,
        discount_from=0.05,
        not_complaints=["order status", "payment question"],
    )
    groups = retention.experience_groups(table, as_of=data.as_of, within_days=365, complaint_days=60)
    keeps = truth["second_purchase"]  # by what an experience multiplies the chance to stay
    late, complaint = (retention.effect(groups, name) for name in ("late", "complaint"))
    assert late.clear
    assert late.adjusted < 0
    assert complaint.clear
    assert complaint.adjusted < 0

    # A late delivery drives customers away itself, and by the complaints that it brings.
    share = groups.groupby(["late", "complaint"])["customers"].sum().unstack()
    complains = share[True] / share.sum(axis=1)
    stay = 1 - complains * (1 - keeps["complaint"])
    factor = keeps["late"] * stay[True] / stay[False]
    assert late.adjusted_low < late.rate_without * (factor - 1) < late.adjusted_high
    # Of those without trouble, some come back too soon to be looked at; with a complaint it is a part of them.
    well = groups[(groups["late"] == False) & (groups["complaint"] == False)]  # noqa: E712
    everybody, back = well["customers"].sum(), well["returned"].sum()
    soon = well.loc[well["early"], "customers"].sum()
    with_it, without = (k * (back - soon) / (everybody - k * soon) for k in (keeps["complaint"], 1))
    assert complaint.adjusted_low < with_it - without < complaint.adjusted_high


def test_sample_company_shows_no_harm_where_none_is_planted(sample):
    """Whether the first purchase fell on an even day decides nothing; newer cohorts are as loyal as earlier ones."""
    data = open_dataset(sample)
    even = data.purchases().filter(lambda t: t["number"] == 1).mutate(late=lambda t: t["date"].day() % 2 == 0)
    groups = retention.experience_groups(even, as_of=data.as_of, within_days=365, complaint_days=60)
    found = retention.effect(groups, "late")
    assert min(found.customers_with, found.customers_without) > 300
    assert not found.clear
    assert not retention.year_on_year(retention.cohorts(data.purchases(), as_of=data.as_of, cohort_months=3)).clear


def test_what_the_tables_do_not_tell_is_not_there(shop, cds):
    table = retention.experiences(
        cds, shop.table("transactions"), as_of=shop.as_of, complaint_days=60, discount_from=0.05
    )
    assert not {"late", "complaint", "discount"} & set(table.columns)
    groups = retention.experience_groups(table, as_of=shop.as_of, within_days=365, complaint_days=60)
    assert groups["customers"].sum() == 23_570
    assert groups["returned"].sum() == 10_810
    nobody = groups.assign(late=False)
    with pytest.raises(Unanswerable, match="none had a late delivery"):
        retention.effect(nobody, "late")
    with pytest.raises(Unanswerable, match="all had a late delivery"):
        retention.effect(nobody.assign(late=True), "late")
    with pytest.raises(Unanswerable, match="which first purchases had a late delivery"):
        retention.effect(nobody.assign(late=None), "late")


def test_row_order_and_split_lines_change_nothing():
    log = [(who, 7 * number % 390, 100) for number, who in enumerate(PEOPLE * 12)]
    plain, mixed = bought(log), bought([*log[:0:-1], (*log[0][:2], 60), (*log[0][:2], 40)])
    for look in (
        lambda table: retention.conversions(table, as_of=AS_OF, within_days=100),
        lambda table: retention.cohorts(table, as_of=AS_OF, cohort_months=3),
        lambda table: retention.win_backs(table, as_of=AS_OF, dormant_after=9, within_days=60, cohort_months=1),
    ):
        pd.testing.assert_frame_equal(look(plain), look(mixed), check_exact=True)


@pytest.mark.parametrize("within", [0, -5])
def test_impossible_days_are_refused(within):
    table = bought([("a", 0, 1)])
    with pytest.raises(ValueError, match="at least 1 day"):
        retention.conversions(table, as_of=AS_OF, within_days=within)
    with pytest.raises(ValueError, match="at least 1 day"):
        retention.value_after(table, as_of=AS_OF, within_days=within)
    with pytest.raises(ValueError, match="complaint_days"):
        retention.experience_groups(table, as_of=AS_OF, within_days=30, complaint_days=-1)


def test_nobody_has_bought():
    table = bought([("a", 0, -1)])
    with pytest.raises(Unanswerable, match="Nobody entered"):
        retention.conversions(table, as_of=AS_OF, within_days=30)
    with pytest.raises(Unanswerable, match="No cohort"):
        retention.cohorts(table, as_of=AS_OF, cohort_months=1)
    with pytest.raises(Unanswerable, match="fallen dormant"):
        retention.win_backs(table, as_of=AS_OF, dormant_after=9, within_days=60, cohort_months=1)


def test_speaks_other_dialects(monkeypatch):
    asked, run = [], ibis.Table.to_pandas
    monkeypatch.setattr(ibis.Table, "to_pandas", lambda self: asked.append(self) or run(self))
    connection = ibis.duckdb.connect()
    log = as_frame([("a", 0, 5), ("a", 30, 5), ("b", 0, 5)]).assign(promised=START, delivered=START, list_amount=6.0)
    log = connection.create_table("log", log)
    cases = connection.create_table("cases", pd.DataFrame({"customer_id": ["b"], "opened": [START], "cause": ["late"]}))
    table, at = customers.purchases(log), {"as_of": AS_OF, "within_days": 90}
    leads = log.select("customer_id", "date", stage=ibis.literal("target"))
    retention.conversions(table, leads, **at)
    retention.cohorts(table, as_of=AS_OF, cohort_months=3)
    retention.win_backs(table, dormant_after=9, cohort_months=1, **at)
    retention.usual_wait(table, 0.5, **at)
    retention.value_after(table, **at)
    went = retention.experiences(table, log, cases, as_of=AS_OF, complaint_days=60, discount_from=0.05)
    retention.experience_groups(went, complaint_days=60, **at)
    slipping = retention.slipping_away(table, as_of=AS_OF, after=5, dormant_after=9)
    retention.median_silence(slipping)
    retention.at_stake(slipping, 1.0).to_pandas()
    retention.at_stake(retention.to_make_up(went, as_of=AS_OF, recent_days=60), float("nan")).to_pandas()
    assert len(asked) == 12
    for expression in asked:
        for dialect in ("duckdb", "postgres", "pyspark"):
            assert "memtable" not in ibis.to_sql(expression, dialect=dialect)  # Spark joins views, not memtables


@pytest.mark.parametrize("unknown", [False, True])
def test_charts_draw_the_numbers_of_their_frames(unknown):
    rates = pd.DataFrame({"step": ["$x_1$ <b>", "two"], "rate": [0.5, 0.004], "low": [0.4, 0.0], "high": [0.6, 0.01]})
    aged = pd.DataFrame({"cohort": ["2024 Q1", "2024 Q1", "2024 Q2"], "customers": [9, 9, 1200], "age": [1, 2, 1]})
    aged = aged.assign(rate=[0.5, 0.25, 0.0])
    apart = pd.DataFrame({"experience": ["late", "no"], "adjusted": [-0.12, 0.04]})
    apart = apart.assign(adjusted_low=[-0.2, -0.01], adjusted_high=[-0.05, 0.09])
    written = [["50%", "0.4%"], ["50%", "25%", "0%"], ["−12", "+4.0"]]
    if unknown:
        rates, aged = rates.assign(rate=np.nan, low=np.nan, high=np.nan), aged.assign(rate=np.nan)
        apart = apart.assign(adjusted=np.nan, adjusted_low=np.nan, adjusted_high=np.nan)
        written = [["–"] * 2, [], ["–"] * 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = [
            charts.rate_intervals(rates.assign(reference=[0.15, np.nan]), "step", of="pauses"),
            charts.cohort_retention(aged, "Age"),
            charts.rate_differences(apart, "experience"),
            charts.rate_intervals(rates[:0], "step"),
        ]
        for figure in figures:
            figure.savefig(io.BytesIO(), format="png")
    for figure, texts in zip(figures, written, strict=False):
        assert [text.get_text() for text in figure.axes[0].texts] == texts
    assert [label.get_text() for label in figures[0].axes[0].get_yticklabels()] == ["$x_1$ <b>", "two"]
    assert [label.get_text() for label in figures[1].axes[0].get_yticklabels()] == ["2024 Q1\n9", "2024 Q2\n1,200"]
    assert figures[0].axes[0].get_xlabel() == "Share of pauses"
