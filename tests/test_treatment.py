"""Warning signs agree with plain Python, are rarely chance, and find the key accounts that went quiet."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from statistics import median

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import customers, open_dataset, periods, receivables, treatment
from crm_analysis.errors import Unanswerable
from crm_analysis.treatment import signs

START = dt.date(2024, 1, 1)
SPLIT, AS_OF = dt.date(2024, 6, 30), dt.date(2024, 12, 31)
Z = 1.6448536269514722
HOSTILE = "$x_1$ <b>'; --"
NOT_COMPLAINTS = ["order status", "payment question"]

WHO = st.sampled_from(["a", "b", HOSTILE])
DAY = st.integers(0, 365)
LOG = st.lists(
    st.tuples(WHO, DAY, st.sampled_from([-20, 0, 10, 30, 31]), st.sampled_from(["p", "q", "r", None])),
    min_size=1,
    max_size=60,
)


def day(number):
    return START + dt.timedelta(days=int(number))


def as_log(rows):
    frame = pd.DataFrame(rows, columns=["customer_id", "date", "amount", "category"])
    frame["date"] = [day(number) for number in frame["date"]]
    return frame.assign(amount=frame["amount"].astype(float), category=frame["category"].astype("string"))


def purchases(rows):
    """Return every purchase of a log: who, when, amount."""
    days = defaultdict(int)
    for who, number, amount, _ in rows:
        days[who, day(number)] += amount
    return {key: amount for key, amount in days.items() if amount >= 0}


def shift(now, before, ratio):
    root = math.sqrt(now + 3 / 8) - math.sqrt(ratio * (before + 3 / 8))
    return 2 * root / math.sqrt(1 + ratio)


def chance(errors, freedom):
    both = sum(errors)
    if not both or math.isinf(both):
        return both
    inverse = sum(error**2 / n for error, n in zip(errors, freedom, strict=True)) / both**2
    return math.sqrt(both) * (Z + (Z**3 + Z) / 4 * inverse + (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96 * inverse**2)


def by_id(table):
    return table.to_pandas().set_index("customer_id")


@settings(max_examples=20, deadline=None)
@given(LOG, st.randoms())
def test_fewer_orders_agree_with_plain_python(rows, random):
    bought = customers.purchases(as_log(rows))
    found = by_id(signs.fewer_orders(bought, SPLIT, AS_OF))
    expected = {}
    for who in {who for who, _ in purchases(rows)}:
        dates = sorted(date for one, date in purchases(rows) if one == who)
        if dates[0] < SPLIT:
            ratio = (AS_OF - SPLIT).days / (SPLIT - dates[0]).days
            now, before = sum(date > SPLIT for date in dates), sum(date <= SPLIT for date in dates) - 1
            expected[who] = (now, before * ratio, shift(now, before, ratio) < -Z)
    assert set(found.index) == set(expected)
    for who, (now, usual, fewer) in expected.items():
        row = found.loc[who]
        assert (row["orders"], row["usual_orders"]) == (now, pytest.approx(usual))
        assert row["fewer_orders"] == fewer
    shuffled = customers.purchases(as_log(random.sample(rows, len(rows))))
    again = by_id(signs.fewer_orders(shuffled, SPLIT, AS_OF))
    pd.testing.assert_frame_equal(again.sort_index(), found.sort_index(), check_exact=True)


@settings(max_examples=20, deadline=None)
@given(LOG, st.lists(st.tuples(WHO, DAY, st.sampled_from(["damage", "Order Status"])), max_size=30))
def test_more_complaints_agree_with_plain_python(rows, opened):
    cases = pd.DataFrame(opened, columns=["customer_id", "opened", "cause"])
    cases = cases.assign(opened=pd.to_datetime([day(number) for number in cases["opened"]]) + pd.Timedelta("9h"))
    bought = customers.purchases(as_log(rows))
    if not opened:
        return
    found = by_id(signs.more_complaints(cases, bought, SPLIT, AS_OF, NOT_COMPLAINTS))
    firsts = {who: min(date for one, date in purchases(rows) if one == who) for who, _ in purchases(rows)}
    expected = {}
    for who, first in firsts.items():
        theirs = [day(n) for one, n, cause in opened if one == who and cause == "damage" and day(n) >= first]
        if theirs and first < SPLIT:
            ratio = (AS_OF - SPLIT).days / (SPLIT - first).days
            now, before = sum(date > SPLIT for date in theirs), sum(date <= SPLIT for date in theirs)
            expected[who] = (now, pytest.approx(before * ratio), now >= 2 and shift(now, before, ratio) > Z)
    columns = ["complaints", "usual_complaints", "more_complaints"]
    assert {who: tuple(row) for who, row in found[columns].T.to_dict("list").items()} == expected


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(WHO, DAY, st.integers(-5, 60), st.sampled_from([10, -10])), min_size=1, max_size=60))
def test_later_payment_agrees_with_plain_python(rows):
    invoices = pd.DataFrame(rows, columns=["customer_id", "due", "days_late", "amount"])
    invoices["due"] = [day(number) for number in invoices["due"]]
    found = by_id(signs.later_payment(invoices, SPLIT, days=10))
    expected = {}
    for who in {who for who, *_ in rows}:
        sides = [
            [late for one, number, late, amount in rows if one == who and amount > 0 and (day(number) > SPLIT) is now]
            for now in (True, False)
        ]
        if min(map(len, sides)) >= 5:
            now, before = map(np.mean, sides)
            limit = chance([np.var(side, ddof=1) / len(side) for side in sides], [len(side) - 1 for side in sides])
            expected[who] = (now, before, now - before >= 10 and now - before > limit + 1e-12)
    assert set(found.index) == set(expected)
    for who, facts in expected.items():
        row = found.loc[who, ["days_late", "days_late_before", "later_payment"]]
        assert tuple(row) == (pytest.approx(facts[0]), pytest.approx(facts[1]), facts[2])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(WHO, DAY, st.integers(0, 9), st.integers(-9, 9)), min_size=1, max_size=60))
def test_lower_margin_agrees_with_plain_python(rows):
    bought = pd.DataFrame(rows, columns=["customer_id", "date", "amount", "value"]).astype(
        {"amount": float, "value": float}
    )
    bought["date"] = [day(number) for number in bought["date"]]
    found = by_id(signs.lower_margin(bought, SPLIT, drop=0.05))
    expected = {}
    for who in {who for who, *_ in rows}:
        facts = []
        for now in (True, False):
            side = np.array([(a, v) for one, number, a, v in rows if one == who and (day(number) > SPLIT) is now])
            if len(side) < 5 or side[:, 0].sum() <= 0:
                break
            a, v = side.T.astype(float)
            margin = v.sum() / a.sum()
            n = a.sum() ** 2 / (a**2).sum()
            error = n / (n - 1) * ((v - margin * a) ** 2).sum() / a.sum() ** 2 if n > 1 + 1e-9 else math.inf
            facts.append((margin, error, n - 1))
        else:
            (now, *one), (before, *other) = facts
            limit = chance(*zip(one, other, strict=True))
            expected[who] = (now, before, before - now >= 0.05 and before - now > limit)
    assert set(found.index) == set(expected)
    for who, (now, before, lower) in expected.items():
        assert tuple(found.loc[who, ["margin", "margin_before"]]) == pytest.approx((now, before))
        assert found["lower_margin"][who] == lower


@settings(max_examples=20, deadline=None)
@given(LOG)
def test_narrower_range_agrees_with_plain_python(rows):
    found = by_id(signs.narrower_range(as_log(rows), SPLIT))
    expected = {}
    for who in {who for who, *_ in rows}:
        sides = [defaultdict(int), defaultdict(int)]
        for number, category in {(n, c) for one, n, amount, c in rows if one == who and amount > 0 and c}:
            sides[day(number) > SPLIT][category] += 1
        before, now = sides
        if before and now:
            n, m = sum(now.values()), sum(before.values())
            missed = [(1 - before.get(name, 0) / m) ** n for name in before]
            usual, scatter = sum(1 - one for one in missed), math.sqrt(sum(one * (1 - one) for one in missed))
            most = max(now.values())
            main = [name for name in now if now[name] == most]
            single = most >= 0.9 * n and shift(n - most, m - before.get(main[0], 0), n / m) < -Z
            fewer = len(now) <= usual / 2 and usual - len(now) > Z * scatter
            expected[who] = (len(now), pytest.approx(usual, abs=1e-5), pytest.approx(most / n), single or fewer)
    columns = ["categories", "usual_categories", "main_share", "narrower_range"]
    assert {who: tuple(row) for who, row in found[columns].T.to_dict("list").items()} == expected


def test_chance_alone_rarely_gives_a_sign():
    """Of 4,000 customers who order and complain at random and go on as ever, at most one in 20 shows a sign."""
    rng = np.random.default_rng(1)
    size = 4000
    rate = rng.gamma(2, 4, size)
    counts = rng.poisson(rate)
    rows = pd.DataFrame({"customer_id": np.repeat(np.arange(size), counts)}).astype(str)
    rows["date"] = [day(number) for number in rng.integers(1, 366, len(rows))]
    first = pd.DataFrame({"customer_id": np.arange(size)}).astype(str).assign(date=START)
    bought = pd.concat([first, rows]).assign(amount=1.0, value=rng.normal(0.4, 0.1, size + len(rows)))
    fewer = signs.fewer_orders(bought, SPLIT, AS_OF).to_pandas()["fewer_orders"]
    assert 0.02 < fewer.mean() < 0.055
    cases = rows.rename(columns={"date": "opened"}).assign(cause="damage")
    assert signs.more_complaints(cases, bought, SPLIT, AS_OF).to_pandas()["more_complaints"].mean() < 0.055
    assert 0.02 < signs.lower_margin(bought, SPLIT, drop=0.01).to_pandas()["lower_margin"].mean() < 0.06
    halved = rows[(rows["date"] <= SPLIT) | (rng.random(len(rows)) < 0.2)]
    left = signs.fewer_orders(pd.concat([first, halved]).assign(amount=1.0), SPLIT, AS_OF).to_pandas()
    assert left["fewer_orders"][left["usual_orders"] > 10].mean() > 0.9


def unchanged(rng, size, *, now, before):
    """Return the days of customers who go on as ever: so many in either part of the year, at random numbers of each."""
    counts = np.column_stack([rng.integers(*before, size), rng.integers(*now, size)]).ravel()
    rows = pd.DataFrame({"customer_id": np.repeat(np.repeat(np.arange(size), 2), counts)}).astype(str)
    late = np.repeat(np.tile([False, True], size), counts)
    return rows.assign(date=[day(n) for n in np.where(late, rng.integers(182, 366, len(rows)), rng.integers(0, 182))])


@pytest.mark.parametrize(("scatter", "most"), [(0.5, 0.07), (1.0, 0.075), (1.5, 0.085)])
def test_chance_alone_rarely_lowers_a_margin(scatter, most):
    """Of 4,000 customers whose amounts are lognormal and whose purchases leave 40 % on average, as ever."""
    rng = np.random.default_rng(2)
    rows = unchanged(rng, 4000, now=(5, 15), before=(5, 30))
    amount = rng.lognormal(4, scatter, len(rows))
    bought = rows.assign(amount=amount, value=amount * rng.normal(0.4, 0.1, len(rows)))
    found = signs.lower_margin(bought, SPLIT, drop=0.001).to_pandas()["lower_margin"]
    assert len(found) == 4000
    assert 0.02 < found.mean() < most


@pytest.mark.parametrize(("draw", "most"), [("normal", 0.06), ("lognormal", 0.06)])
def test_chance_alone_rarely_makes_payment_later(draw, most):
    rng = np.random.default_rng(3)
    rows = unchanged(rng, 4000, now=(5, 15), before=(5, 30))
    late = getattr(rng, draw)(0, 1, len(rows)) * 20
    invoices = rows.rename(columns={"date": "due"}).assign(amount=1.0, days_late=late.round().astype(int))
    found = signs.later_payment(invoices, SPLIT, days=1).to_pandas()["later_payment"]
    assert len(found) == 4000
    assert 0.01 < found.mean() < most


def test_chance_alone_rarely_narrows_a_range():
    """Of 3,000 customers whose purchases are of one category each, in six lines, at most one in 20 shows the sign."""
    rng = np.random.default_rng(4)
    rows = unchanged(rng, 3000, now=(1, 12), before=(4, 30))
    rows = rows.assign(amount=1.0, category=rng.choice([*"abcdefgh"], len(rows)))
    lines = pd.concat([rows] * 6)
    assert signs.narrower_range(lines, SPLIT).to_pandas()["narrower_range"].mean() < 0.05
    narrowed = lines.assign(category=lines["category"].where(lines["date"] <= SPLIT, "a"))
    found = signs.narrower_range(narrowed, SPLIT).to_pandas()
    assert found["narrower_range"][found["usual_categories"] > 4].mean() > 0.9


def test_complaints_before_the_first_purchase_do_not_count():
    bought = as_log([("a", 100, 10, "p"), ("a", 300, 10, "p")])
    opened = [20, 30, 40, 50, 120, 200, 210, 220]
    cases = pd.DataFrame({"customer_id": "a", "opened": [pd.Timestamp(day(n)) for n in opened], "cause": "damage"})
    (row,) = signs.more_complaints(cases, bought, SPLIT, AS_OF).to_pandas().itertuples()
    assert (row.complaints, row.usual_complaints) == (3, pytest.approx(184 / (SPLIT - day(100)).days))


def test_impossible_limits_are_refused():
    frame = pd.DataFrame({"customer_id": ["a"], "date": [START], "amount": [1.0], "value": [1.0]})
    with pytest.raises(ValueError, match="later"):
        signs.later_payment(frame.assign(due=START, days_late=1), SPLIT, days=0)
    for drop in (0, math.nan):
        with pytest.raises(ValueError, match="lower"):
            signs.lower_margin(frame, SPLIT, drop=drop)


class TestTiers:
    def test_follow_from_the_period_alone(self):
        rows = [("a", 1, 99, "p"), ("b", 300, 30, "p"), ("c", 301, 0, "p"), ("d", 302, -5, "p"), ("e", 303, 20, "p")]
        log = as_log(rows)
        worth = periods.by_period(customers.transaction_lines(log), None, [SPLIT, AS_OF])
        everyone = customers.summary(log, as_of=AS_OF)
        found = by_id(treatment.tiered(everyone, worth, (0.3, 0.3, 0.2, 0.2)))
        assert found["tier"].to_dict() == {"a": "small", "b": "important", "c": "small", "d": "small", "e": "major"}
        assert found["value"].to_dict() == {"a": 0, "b": 30, "c": 0, "d": -5, "e": 20}
        assert found["purchases"].to_dict() == {"a": 0, "b": 1, "c": 1, "d": 0, "e": 1}
        assert treatment.entry(treatment.tiered(everyone, worth, (0.3, 0.3, 0.2, 0.2)), "major") == (20, 20)
        with pytest.raises(Unanswerable, match="ordinary tier"):
            treatment.entry(treatment.tiered(everyone, worth, (0.3, 0.3, 0.2, 0.2)), "ordinary")

    def test_a_period_that_begins_before_the_data_is_not_whole(self):
        for first, whole in ((dt.date(2023, 6, 1), True), (dt.date(2024, 1, 8), True), (dt.date(2024, 1, 9), False)):
            assert treatment.whole(first, AS_OF, 12) is whole
        treatment.refuse_short(dt.date(2024, 1, 8), AS_OF, 12)
        with pytest.raises(Unanswerable, match=r"last 12 months are not .* on 2024-03-01: set months to 10 or less"):
            treatment.refuse_short(dt.date(2024, 3, 1), AS_OF, 12)
        with pytest.raises(Unanswerable, match=r"last month is not .* begin on 2024-12-20\.$"):
            treatment.refuse_short(dt.date(2024, 12, 20), AS_OF, 1)

    def test_half_a_period_ago(self):
        found = treatment.half_a_period_ago(dt.date(2023, 1, 2), dt.date(2025, 12, 31), 12)
        assert found == (dt.date(2024, 6, 30), dt.date(2024, 12, 31), dt.date(2025, 6, 30))
        with pytest.raises(Unanswerable, match="one and a half periods of 12 months"):
            treatment.half_a_period_ago(dt.date(2025, 1, 2), dt.date(2025, 12, 31), 12)


def of_the_sample(data, as_of, since, split):
    """Return the sample company's tiers, and its key customers with their signs, at a date."""
    tiered = treatment.tiered(data.customers(as_of), data.by_period([since, as_of])).cache()
    warned = treatment.warned(
        tiered,
        data.purchases(as_of),
        treatment.with_category(data.lines(as_of), data.table("products")),
        as_of=as_of,
        split=split,
        first=START,
        invoices=receivables.invoices(data.table("payments", as_of), as_of),
        cases=data.table("cases", as_of),
        not_complaints=NOT_COMPLAINTS,
    )
    return tiered, warned.cache()


class TestSample:
    def test_finds_all_key_accounts_that_went_quiet(self, sample, truth):
        data = open_dataset(sample)
        since, split = (periods.edges(START, data.as_of, months=months, count=1)[0] for months in (12, 6))
        _, warned = of_the_sample(data, data.as_of, since, split)
        frame = warned.to_pandas().sort_values("value", ascending=False)
        listed = frame[frame["signs"] > 0].reset_index(drop=True)
        places = listed.index[listed["customer_id"].isin(truth["quiet_key_accounts"])]
        assert len(places) == 10
        assert places.max() < 12  # the first 12 of the list hold all ten
        assert listed["warnings"][places].str.startswith("silent, fewer orders").all()
        assert (len(frame), len(listed)) == (230, 48)  # 38 others: a sixth of the key customers
        assert not {*truth["rising_small"]} & {*listed["customer_id"]}
        counted = treatment.by_sign(warned)
        assert counted["sign"].to_list() == [*treatment.SIGNS, "any sign"]
        assert counted["customers"].to_list() == [39, 24, 1, 1, 5, 0, 48]
        assert counted["value"].iloc[-1] == pytest.approx(listed["value"].sum())
        assert treatment.refuse_missing(warned) is None

    def test_signs_came_before_losses(self, sample):
        data = open_dataset(sample)
        since, split, then = treatment.half_a_period_ago(data.period[0], data.as_of, 12)
        _, warned = of_the_sample(data, then, since, split)
        after = data.by_period([then, data.as_of])
        fate = treatment.foretold(warned, after, 0.5).set_index("group")
        assert (fate.loc["two or more", "customers"], fate.loc["two or more", "rate"]) == (10, 1.0)
        assert fate.loc["silent", "rate"] > 0.7 > 0.5 > fate.loc["no sign", "rate"]
        frame = warned.to_pandas()
        worth = after.to_pandas().set_index("customer_id")
        later = frame["customer_id"].map(worth["value"]).fillna(0)
        orders = frame["customer_id"].map(worth["purchases"]).fillna(0)
        lost = (orders == 0) | (later < 0.25 * frame["value"])
        fallen, nothing = fate["lost_or_more_than_halved"], fate["bought_nothing"]
        for group, here in {"any sign": frame["signs"] > 0, "no sign": frame["signs"] == 0}.items():
            assert (fallen[group], nothing[group]) == (lost[here].sum(), (orders[here] == 0).sum())
        assert fate.loc["no sign", "low"] < fate.loc["no sign", "rate"] < fate.loc["no sign", "high"]
        assert math.isnan(fate.loc["narrower range", "rate"])  # nobody showed it


def test_signs_that_the_tables_cannot_show_are_named():
    log = as_log([("a", 10, 10, "p"), ("a", 20, 10, "p"), ("a", 30, 10, "p"), ("b", 40, 5, "p")]).drop(
        columns="category"
    )
    everyone = customers.summary(log, as_of=AS_OF)
    worth = periods.by_period(customers.transaction_lines(log), None, [dt.date(2023, 12, 31), AS_OF])
    tiered = treatment.tiered(everyone, worth, (0.5, 0.5, 0, 0))
    facts = (tiered, customers.purchases(log), treatment.with_category(customers.transaction_lines(log)))
    warned = treatment.warned(*facts, as_of=AS_OF, split=SPLIT, first=START)
    found = by_id(warned)
    assert found["warnings"].to_dict() == {"a": "silent", "b": ""}
    assert found["signs"].to_dict() == {"a": 1, "b": 0}
    assert (found["usual_gap"]["a"], found["silence"]["a"]) == (median([10, 10]), 335)
    with pytest.raises(Unanswerable, match=r"later payment \(needs the payments\).*narrower range"):
        treatment.refuse_missing(warned)
    late = treatment.warned(*facts, as_of=AS_OF, split=day(9), first=day(10))
    assert treatment.by_sign(late)["sign"].to_list() == ["silent", "any sign"]
    with pytest.raises(Unanswerable, match="only silence was looked for"):
        treatment.refuse_missing(late)
    fate = treatment.foretold(warned, worth, 0.5)
    assert fate["group"].to_list() == ["no sign", "any sign", "two or more", "silent", "fewer orders"]
    assert fate["customers"].to_list() == [1, 1, 0, 1, 0]
    assert fate["lost_or_more_than_halved"].to_list() == [0, 0, 0, 0, 0]
    nobody = treatment.foretold(warned, pd.DataFrame({"customer_id": ["z"], "purchases": [1], "value": [9.0]}), 0.5)
    for column in ("lost_or_more_than_halved", "bought_nothing"):
        assert nobody[column].to_list() == [1, 1, 0, 1, 0]


def test_the_product_stands_for_a_missing_category():
    lines = pd.DataFrame({"customer_id": ["a", "a"], "product_id": ["p", "q"], "amount": [1.0, 2.0]})
    products = pd.DataFrame({"product_id": ["p"], "category": ["tools"]})
    assert treatment.with_category(lines).to_pandas()["category"].to_list() == ["p", "q"]
    found = treatment.with_category(lines, products).to_pandas().sort_values("product_id")
    assert found["category"].fillna("").to_list() == ["tools", ""]
    assert treatment.with_category(lines, products[["product_id"]]).to_pandas()["category"].to_list() == ["p", "q"]


def test_speaks_other_dialects(dialect):
    money = "decimal(18, 6)"
    log = ibis.table(
        {"customer_id": "string", "date": "date", "amount": money, "cost": money, "product_id": "string"},
        name="transactions",
    )
    payments = ibis.table(
        {"customer_id": "string", "order_id": "string", "amount": money, "due": "date", "paid": "date"}, name="payments"
    )
    cases = ibis.table({"customer_id": "string", "opened": "timestamp", "cause": "string"}, name="cases")
    products = ibis.table({"product_id": "string", "category": "string"}, name="products")
    lines = customers.transaction_lines(log)
    tiered = treatment.tiered(
        customers.summary(log, as_of=AS_OF), periods.by_period(lines, None, [dt.date(2023, 12, 31), AS_OF])
    )
    warned = treatment.warned(
        tiered,
        customers.purchases(log),
        treatment.with_category(lines, products),
        as_of=AS_OF,
        split=SPLIT,
        first=START,
        invoices=receivables.invoices(payments, AS_OF),
        cases=cases,
        not_complaints=NOT_COMPLAINTS,
    )
    assert "memtable" not in ibis.to_sql(warned, dialect=dialect)
