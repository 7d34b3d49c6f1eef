"""Contribution, the two periods, the parts of a change, product levels and commissions, against plain Python."""

import datetime as dt
from collections import defaultdict
from itertools import combinations
from math import factorial, isnan, nan, prod
from random import Random

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import customers, margins, open_dataset, periods, profit, pyramid
from crm_analysis.errors import Unanswerable

START = dt.date(2023, 12, 31)
EDGES = [START, dt.date(2024, 3, 31), dt.date(2024, 6, 30)]
HOSTILE = "$x_1$ <b>'; --"
PRODUCTS = pd.DataFrame({"product_id": ["p", "q", HOSTILE], "category": ["tools", HOSTILE, None], "name": list("PQR")})
MARGINS, RATES = (0.5, 0.2), {"A": 0.1, "B": 0.05, "C": 0.0}
EXACT = {"check_exact": True}

LINE = st.tuples(
    st.sampled_from(["a", "b", "c", HOSTILE]),
    st.integers(1, 182),
    st.sampled_from([-300, 0, 100, 200, 1001]),
    st.sampled_from([-90, 0, 60, 99, 300]),
    st.sampled_from(["o1", "o2", "o3", None]),
    st.sampled_from(["p", "q", HOSTILE, "unlisted", None]),
    st.sampled_from(["s", "t", None]),
)
LOGS = st.lists(LINE, min_size=1, max_size=30)
NAMES = ["customer_id", "date", "amount", "cost", "order_id", "product_id", "salesperson_id"]


def as_lines(log, drop=()):
    """Return the lines of a log, whose amounts and costs are in cents."""
    rows = [
        (who, START + dt.timedelta(days=day), amount / 100, cost / 100, *ids) for who, day, amount, cost, *ids in log
    ]
    frame = pd.DataFrame(rows, columns=NAMES)
    frame = frame.astype(dict.fromkeys(["order_id", "product_id", "salesperson_id"], "string"))
    return customers.transaction_lines(frame.drop(columns=[*drop]))


def plain(value):
    return None if pd.isna(value) else value


def order_of(line):
    return line[4] or (line[0], line[1])


CATEGORY = {"p": "tools", "q": HOSTILE}
KEYS = {
    "customer_id": lambda line: line[0],
    "order_id": lambda line: line[4],
    "product_id": lambda line: line[5],
    "category": lambda line: CATEGORY.get(line[5]),
    "salesperson_id": lambda line: line[6],
    "month": lambda line: (START + dt.timedelta(days=line[1])).replace(day=1),
    "year": lambda line: str((START + dt.timedelta(days=line[1])).year),
}
COUNTS = ["customers", "orders", "lines_without_cost"]
CUTS = st.lists(st.sampled_from(sorted(KEYS)), unique=True, max_size=3)


@settings(max_examples=20, deadline=None)
@given(LOGS, CUTS)
def test_contribution_of_any_cut_agrees_with_plain_python(log, by):
    parts = defaultdict(list)
    for line in log:
        parts[tuple(KEYS[name](line) for name in by)].append(line)
    expected = {}
    for key, part in parts.items():
        revenue, cost = sum(line[2] for line in part), sum(line[3] for line in part)
        sold = [line for line in part if line[2] >= 0]
        margin = (revenue - cost) / revenue if revenue > 0 else None
        counts = (
            len({line[0] for line in sold}),
            len({(line[0], order_of(line)) for line in sold}),
            sum(line[3] == 0 for line in sold),
        )
        expected[key] = (*(pytest.approx(c / 100) for c in (revenue, cost, revenue - cost)), margin, *counts)
    found = profit.contribution(as_lines(log), *by, products=PRODUCTS).to_pandas()
    assert [*found.columns] == [*by, "revenue", "cost", "contribution", "margin", *COUNTS]
    if "month" in by:
        found["month"] = pd.to_datetime(found["month"]).dt.date
    rows = [tuple(map(plain, row)) for row in found.itertuples(index=False)]
    ours = {row[: len(by)]: row[len(by) :] for row in rows}
    assert set(ours) == set(expected)
    for key, row in ours.items():
        assert row[:3] + row[4:] == expected[key][:3] + expected[key][4:]
        assert row[3] == (None if expected[key][3] is None else pytest.approx(expected[key][3]))


def test_contribution_says_what_is_missing():
    lines = as_lines([("a", 1, 500, 100, None, "p", None)], drop=["cost", "order_id"])
    found = profit.contribution(lines, "customer_id").to_pandas()
    assert found.to_dict("records") == [
        {"customer_id": "a", "revenue": 5, "contribution": 5, "margin": 1, "customers": 1, "orders": 1}
    ]
    with pytest.raises(Unanswerable, match="the channel and the order_id"):
        profit.contribution(lines, "order_id", "channel")
    with pytest.raises(Unanswerable, match="category"):
        profit.contribution(lines, "category")
    with pytest.raises(ValueError, match="not by region"):
        profit.contribution(lines, "region")
    nothing = profit.contribution(lines.filter(lines["amount"] > 99)).to_pandas().iloc[0]
    assert nothing[["revenue", "contribution", "customers", "orders"]].to_list() == [0, 0, 0, 0]


SIDE = st.tuples(st.integers(0, 3), st.sampled_from([0, 100, 250, 4000]), st.sampled_from([-300, 0, 100, 101]))
PAIRS = st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=12)
MEASURES = [f"{name}_{side}" for side in ("before", "now") for name in periods.MEASURES]


def as_compared(pairs):
    rows = [(f"c{number:02}", *map(float, (*before, *now))) for number, (before, now) in enumerate(pairs)]
    return pd.DataFrame(rows, columns=["customer_id", *MEASURES])


@settings(max_examples=12, deadline=None)
@given(PAIRS)
def test_customers_are_ranked_in_each_period(pairs):
    found = profit.ranked(as_compared(pairs), (0.1, 0.2, 0.3, 0.4)).order_by("customer_id").to_pandas()
    total = sum(now[2] for _, now in pairs)
    for row, (before, now) in zip(found.itertuples(), pairs, strict=True):
        for side, own, place in (("before", before, 0), ("now", now, 1)):
            others = [pair[place][2] for pair in pairs if pair[place][0] > 0]
            above = sum(value > own[2] for value in others)
            rank, tier = plain(getattr(row, f"rank_{side}")), plain(getattr(row, f"tier_{side}"))
            if own[0] == 0:
                assert (rank, tier) == (None, None)
            else:
                cuts = zip((0.1, 0.3, 0.6, 9), pyramid.TIERS, strict=True)
                assert rank == above + 1
                assert tier == next(name for cut, name in cuts if above < len(others) * cut - 1e-6)
        assert row.change == now[2] - before[2]
        ranks = (plain(row.rank_before), plain(row.rank_now))
        assert plain(row.rank_change) == (None if None in ranks else ranks[0] - ranks[1])
        if total > 0:
            assert row.share == pytest.approx(now[2] / total)
            assert row.cumulated == pytest.approx(sum(n[2] for _, n in pairs if n[2] >= now[2]) / total)
        else:
            assert isnan(row.share)
            assert isnan(row.cumulated)
    tiers = profit.tiers(found)
    for side, place in (("before", 0), ("now", 1)):
        assert tiers[f"value_{side}"].sum() == pytest.approx(sum(pair[place][2] for pair in pairs))
        bought = [pair[place] for pair in pairs if pair[place][0] > 0]
        assert tiers[f"customers_{side}"][:4].sum() == len(bought)
        assert tiers[f"value_{side}"][4] == sum(pair[place][2] for pair in pairs if pair[place][0] == 0)


def test_a_loss_has_a_cause_and_something_to_do():
    cases = [
        ((2, 100, 50), (0, 0, 0), "no more purchases"),
        ((2, 100, 50), (0, -20, -70), "no more purchases"),
        ((0, 0, 0), (0, 0, -5), "returns or service without a purchase"),
        ((0, 0, 0), (1, 50, -5), "purchases and service at a loss"),
        ((2, 100, 50), (2, 0, 0), "no revenue left after returns"),
        ((0, 0, 0), (1, -30, -30), "no revenue left after returns"),
        ((2, -10, 5), (2, 100, -5), "purchases and service at a loss"),
        ((2, 100, 50), (2, 100, 10), "lower margin"),
        ((2, 100, 50), (2, 50, 25), "smaller purchases"),
        ((2, 100, -50), (2, 200, -100), "larger purchases and service at a loss"),
        ((2, 100, 50), (1, 50, 25), "fewer purchases"),
        ((2, 100, -50), (4, 200, -100), "more purchases and service at a loss"),
    ]
    pairs = [(before, now) for before, now, _ in cases]
    found = profit.fallen(profit.ranked(as_compared([*pairs, ((1, 10, 5), (1, 20, 10))]))).to_pandas()
    assert found.sort_values("customer_id")["cause"].to_list() == [cause for *_, cause in cases]
    assert not (found["to_do"] == found["cause"]).any()
    assert found["to_do"][found["cause"] == "fewer purchases"].to_list() == ["call, and ask who supplies the rest"]
    told = {row.cause: (row.customers, row.change) for row in profit.causes(found).itertuples()}
    assert told == {
        cause: (len(lost), sum(lost))
        for cause in profit.TO_DO
        if (lost := [now[2] - before[2] for before, now, why in cases if why == cause])
    }


def test_the_largest_loss_comes_first():
    pairs = [((1, 9, value), (1, 9, 0)) for value in (3, 8, 3, -1)]
    assert profit.fallen(profit.ranked(as_compared(pairs))).to_pandas()["customer_id"].to_list() == [
        "c01",
        "c00",
        "c02",
    ]


def shapley(before, now):
    """Each factor's part from all coalitions of the others that may have changed before it."""
    count = len(before)
    parts = []
    for own in range(count):
        others = [place for place in range(count) if place != own]
        part = 0.0
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for changed in combinations(others, size):
                rest = prod(now[place] if place in changed else before[place] for place in others)
                part += weight * rest * (now[own] - before[own])
        parts.append(part)
    return parts


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_the_parts_of_a_change_sum_to_it(pairs):
    totals = profit.totals(as_compared(pairs))
    sums = {}
    for side, place in (("before", 0), ("now", 1)):
        own = [pair[place] for pair in pairs]
        sums[side] = [sum(one[0] > 0 for one in own), *(sum(one[measure] for one in own) for measure in range(3))]
    assert totals.T.to_dict("list") == sums
    found = profit.decomposition(totals)
    assert found["factor"].to_list() == [*profit.FACTORS]
    change = sums["now"][3] - sums["before"][3]
    assert found["part"].sum() == pytest.approx(change, abs=1e-9)
    if min(*sums["before"][1:3], *sums["now"][1:3]) <= 0:
        assert found["part"].to_list() == [change, 0, 0, 0]
        return
    factors = [(n, orders / n, revenue / orders, value / revenue) for n, orders, revenue, value in sums.values()]
    assert found["part"].to_list() == pytest.approx(shapley(*factors), abs=1e-6)
    for row, before, now in zip(found.itertuples(), *factors, strict=True):
        less, more = profit.FACTORS[row.factor]
        assert (row.before, row.now) == (before, now)
        assert row.change == (less if now < before else more if now > before else "")


def test_a_change_without_costs_has_no_part_of_the_margin():
    found = profit.decomposition(profit.totals(as_compared([((2, 100, 100), (3, 90, 90)), ((0, 0, 0), (1, 5, 5))])))
    assert found["part"].to_list()[3] == 0
    assert found["change"].to_list() == ["more customers", "", "smaller purchases", ""]
    assert found["part"].sum() == -5


def test_service_without_purchases_is_in_the_margin():
    found = profit.decomposition(profit.totals(as_compared([((2, 100, 50), (2, 100, 50)), ((0, 0, 0), (0, 0, -30))])))
    assert found["part"].to_list() == [0, 0, 0, -30]


def test_months_stand_beside_those_of_the_period_before():
    log = [("a", day, 100 * day, 0, None, None, None) for day in (1, 32, 61, 62, 92, 122, 182)]
    found = profit.by_month(
        as_lines(log), EDGES, dt.date(2024, 1, 1)
    )  # 2024-01-01, 02-01, 03-01, 03-02, 04-01, 05-01, 06-30
    assert found["month"].dt.date.to_list() == [dt.date(2024, month, 1) for month in (4, 5, 6)]
    assert found["before"].to_list() == [1, 32, 123]
    assert found["now"].to_list() == [92, 122, 182]
    middle = [dt.date(2024, month, 15) for month in (1, 3, 5)]
    partial = profit.by_month(as_lines(log), middle, middle[0])  # of the last period, April alone is whole
    assert partial[["before", "now"]].to_numpy().tolist() == [[32, 92]]
    assert profit.by_month(as_lines(log), [dt.date(2024, month, 15) for month in (3, 4, 5)], middle[0]).empty
    late = profit.by_month(as_lines(log[1:]), EDGES, dt.date(2024, 1, 3))  # January is not whole
    assert late["before"].to_list() == [32, 123]


@settings(max_examples=20, deadline=None)
@given(LOGS)
def test_orders_at_a_loss_agree_with_plain_python(log):
    orders = defaultdict(lambda: [0, 0])
    for line in log:
        own = orders[line[0], order_of(line)]
        own[0] += line[2]
        own[1] += line[2] - line[3]
    expected = defaultdict(lambda: [0, 0, 0, 0])
    for (who, _), (amount, value) in orders.items():
        if amount >= 0:
            add = (1, int(value < 0), min(value, 0), value)
            expected[who] = [a + b for a, b in zip(expected[who], add, strict=True)]
    found = profit.losing_orders(as_lines(log)).to_pandas()
    order = sorted(expected, key=lambda who: (expected[who][2], who))
    assert found["customer_id"].to_list() == order
    for row in found.itertuples(index=False):
        n, losing, loss, value = expected[row.customer_id]
        assert tuple(row[1:]) == (n, losing, pytest.approx(loss / 100), pytest.approx(value / 100))


def level_of(revenue, cost, unknown):
    if revenue <= 0 or unknown:
        return None
    margin = (revenue - cost) / revenue
    return "A" if margin >= 0.5 else "B" if margin >= 0.2 else "C"


@settings(max_examples=8, deadline=None)
@given(LOGS)
def test_levels_and_commissions_agree_with_plain_python(log):
    lines, sold = as_lines(log), defaultdict(list)
    for line in log:
        if line[5]:
            sold[line[5]].append(line)
    sums = {name: (sum(line[2] for line in part), sum(line[3] for line in part)) for name, part in sold.items()}
    unknown = {name: any(line[3] == 0 <= line[2] for line in part) for name, part in sold.items()}
    level = {name: level_of(*both, unknown[name]) for name, both in sums.items()}
    levelled = margins.products(lines, PRODUCTS, MARGINS, least_customers=2)
    found = levelled.to_pandas()
    assert {row.product_id: plain(row.level) for row in found.itertuples()} == level
    for row in found.itertuples():
        assert row.few == (len({line[0] for line in sold[row.product_id] if line[2] >= 0}) < 2)
        assert plain(row.name) == {"p": "P", "q": "Q", HOSTILE: "R"}.get(row.product_id)

    by_level = margins.by_level(levelled, MARGINS).set_index("level")
    assert [*by_level.index] == ["A", "B", "C", "none"]
    for name, row in by_level.iterrows():
        own = [sums[one] for one in sums if (level[one] or "none") == name]
        assert (row["products"], row["revenue"]) == (len(own), pytest.approx(sum(r for r, _ in own) / 100))
        assert row["contribution"] == pytest.approx(sum(r - c for r, c in own) / 100)

    paid = margins.commission(lines, levelled, RATES)
    expected = defaultdict(lambda: [0, 0, 0.0])
    for line in log:
        name = level.get(line[5])
        rate = RATES.get(name, 0) if line[6] else 0
        add = (line[2] / 100, (line[2] - line[3]) / 100, rate * line[2] / 100)
        expected[line[6], name] = [a + b for a, b in zip(expected[line[6], name], add, strict=True)]
    ours = {(plain(row[0]), plain(row[1])): [*row[2:]] for row in paid.to_pandas().itertuples(index=False)}
    assert set(ours) == set(expected)
    for key, row in ours.items():
        assert row == pytest.approx(expected[key])

    if not any(line[6] for line in log):
        with pytest.raises(Unanswerable, match="no salespeople"):
            margins.salespeople(lines, paid)
        return
    people = margins.salespeople(lines, paid, least_customers=1).set_index("salesperson_id")
    named = people.drop(index="none", errors="ignore")
    assert named["contribution"].is_monotonic_decreasing
    revenue = sum(line[2] for line in log if line[6]) / 100
    assert named["revenue"].sum() == pytest.approx(revenue)
    assert people["commission"].sum() == pytest.approx(sum(row[2] for row in expected.values()))
    if revenue > 0:
        assert named["difference"].sum() == pytest.approx(0, abs=1e-9)
        assert named["short_of_usual"].sum() == pytest.approx(0, abs=1e-9)


def test_commission_against_a_hand_computation():
    log = [
        ("a", 1, 10000, 4000, "o1", "p", "s"),  # p: 60 % margin, level A
        ("b", 2, 10000, 7000, "o2", "q", "t"),  # q: 30 %, level B
        ("a", 3, -1000, -400, "o1", "p", "s"),
        ("c", 4, 10000, 9900, "o4", HOSTILE, "s"),  # 1 %, level C
        ("c", 5, 5000, 2000, "o5", "p", None),
    ]
    lines = as_lines(log)
    paid = margins.commission(lines, margins.products(lines, None, MARGINS), RATES)
    found = margins.salespeople(lines, paid, least_customers=2)
    columns = ["salesperson_id", "customers", "revenue", "contribution", "commission", "rank_by_revenue", "few"]
    assert found[columns].astype(object).where(found[columns].notna(), None).to_numpy().tolist() == [
        ["s", 2, 190, 55, 9.0, 1, False],  # 10 % of 100 - 10
        ["t", 1, 100, 30, 5.0, None, True],  # 5 % of 100
        ["none", 1, 50, 30, 0, None, False],
    ]
    flat = 14 / 290
    assert found["flat_commission"].to_list() == pytest.approx([190 * flat, 100 * flat, 0])
    assert found["difference"].to_list() == pytest.approx([9 - 190 * flat, 5 - 100 * flat, 0])
    assert found["commission_share"].to_list() == pytest.approx([9 / 55, 5 / 30, 0])
    assert found["short_of_usual"].to_list() == pytest.approx(
        [190 * 85 / 290 - 55, 100 * 85 / 290 - 30, nan], nan_ok=True
    )


def levelled(*rows):
    frame = pd.DataFrame(rows, columns=["product_id", "level", "revenue", "contribution", "customers"])
    return frame.assign(margin=frame["contribution"] / frame["revenue"], few=frame["customers"] < 30)


def test_what_to_promote_and_what_to_limit():
    table = levelled(
        ("well known", "A", 100.0, 60.0, 90),
        ("room", "A", 100.0, 60.0, 40),
        ("more room", "A", 300.0, 200.0, 50),
        ("few", "A", 100.0, 60.0, 29),
        ("usual", "B", 100.0, 40.0, 60),
        ("loses", "C", 100.0, -20.0, 80),
        ("few lose", "C", 100.0, -20.0, 3),
        ("none", None, -5.0, -5.0, 50),
    )
    promoted = margins.to_promote(
        table, MARGINS, reach=0.5
    ).to_pandas()  # half of the five judged have 60 customers or more
    assert promoted[["product_id", "within_reach", "gain"]].to_numpy().tolist() == [
        ["more room", 60, 40.0],
        ["room", 60, 30.0],
    ]
    limited = margins.to_limit(table, MARGINS).to_pandas()
    assert limited["product_id"].to_list() == ["loses"]
    row = limited.iloc[0]
    assert (row["revenue"] + row["gain"]) * (1 - 0.2) == pytest.approx(120)  # its cost leaves 20 % of the new revenue
    assert row["price_rise"] == pytest.approx(row["gain"] / row["revenue"])
    assert margins.to_promote(table[7:]).to_pandas().empty
    last = levelled(("room", "C", 100.0, 10.0, 40), ("well known", "C", 100.0, 10.0, 90))
    assert margins.to_promote(last, MARGINS, reach=1).to_pandas().empty  # it is limited, so it is not promoted


def test_no_level_where_a_cost_is_not_known():
    """A cost that is not known counts as 0; one such line must not make a product at a loss the best."""
    log = [("a", day, 1000, cost, None, product, None) for day, cost, product in ((1, 999, "p"), (2, 300, "q"))]
    gaps = [("b", 3, 5000, nan, None, "p", None), ("b", 4, -100, nan, None, "q", None)]
    found = margins.products(as_lines(log + gaps), None, MARGINS).to_pandas().set_index("product_id")
    assert found["lines_without_cost"].to_dict() == {"p": 1, "q": 0}  # the refund of goods that were kept costs nothing
    assert {name: plain(level) for name, level in found["level"].items()} == {"p": None, "q": "A"}


def test_an_order_id_of_two_customers_is_two_orders():
    log = [(who, 1, 100, 200, "o1", None, None) for who in ("a", "b")]
    assert profit.contribution(as_lines(log)).to_pandas()["orders"].to_list() == [2]
    assert profit.losing_orders(as_lines(log)).to_pandas()["orders"].sum() == 2


def test_impossible_parameters_are_refused():
    for bounds in ((), (0.2, 0.5), (0.5, 0.5), (1.0,), (nan,)):
        with pytest.raises(ValueError, match="lowest margins"):
            margins.labels(bounds)
    for commissions in ((0.1, 0.0), (0.1, 0.1, -0.1), (0.1, 0.1, nan)):
        with pytest.raises(ValueError, match="one for each of 3 levels"):
            margins.rates(MARGINS, commissions)
    assert margins.rates(MARGINS, (0.1, 0.05, 0.0)) == RATES
    assert margins.labels((0.5, -0.1)) == {"A": "A (50% or more)", "B": "B (−10% or more)", "C": "C (below −10%)"}
    with pytest.raises(ValueError, match="from 0 to 1"):
        margins.to_promote(levelled(), reach=1.5)
    without = as_lines([("a", 1, 1, 1, None, "p", None)], drop=["cost"])
    for asked in (margins.products, profit.losing_orders):
        with pytest.raises(Unanswerable, match="no costs"):
            asked(without)


def test_row_order_changes_nothing():
    ids = (["a", "b", "c", HOSTILE], ["o1", "o2", "o3", None], ["p", "q", HOSTILE, None], ["s", "t", None])
    random = Random(1)
    log = []
    for _ in range(40):
        who, order, product, person = map(random.choice, ids)
        log.append(
            (who, random.randint(1, 182), random.randint(-300, 1001), random.randint(0, 300), order, product, person)
        )
    one, other = as_lines(log), as_lines(random.sample(log, len(log)))
    results = []
    for lines in (one, other):
        compared = profit.ranked(periods.compare(periods.by_period(lines, None, EDGES), *EDGES[1:]))
        products = margins.products(lines, PRODUCTS, MARGINS, 1)
        results.append(
            [
                profit.contribution(lines, "product_id", "month").order_by("product_id", "month").to_pandas(),
                compared.order_by("customer_id").to_pandas(),
                profit.tiers(compared),
                profit.fallen(compared).to_pandas(),
                profit.decomposition(profit.totals(compared)),
                profit.losing_orders(lines).to_pandas(),
                margins.by_level(products, MARGINS),
                margins.to_promote(products).to_pandas(),
                margins.to_limit(products, MARGINS).to_pandas(),
            ]
        )
    for first, second in zip(*results, strict=True):
        pd.testing.assert_frame_equal(first, second, **EXACT)


@pytest.fixture(scope="module")
def last_year(sample):
    data = open_dataset(sample)
    edges = periods.edges(data.period[0], data.as_of, months=12, count=2)
    lines = data.lines()
    return data, edges, lines.filter(lines["date"] > edges[1]).cache()


def test_finds_the_product_levels_of_the_sample_company(last_year, truth):
    data, _, lines = last_year
    levels = margins.products(lines, data.table("products")).cache()
    frame = levels.to_pandas()
    found = {level: set(part["product_id"]) for level, part in frame.groupby("level")}
    assert found["A"] == set(truth["high_margin_products"])  # nothing else
    assert found["D"] == set(truth["low_margin_products"])
    assert len(frame) == 39
    assert frame["few"].sum() == 9
    limited = margins.to_limit(levels).to_pandas()
    assert sorted(limited["product_id"]) == sorted(truth["low_margin_products"])
    promoted = margins.to_promote(levels).to_pandas()
    assert promoted["product_id"].to_list() == ["P07", "P19"]  # the other two are among the best known products
    # The whole history and any single year say the same.
    every = data.lines()
    for year in (2023, 2024, 2025):
        part = margins.products(every.filter(every["date"].year() == year)).to_pandas()
        assert set(part["product_id"][part["level"] == "A"]) == set(truth["high_margin_products"])
        assert set(part["product_id"][part["level"] == "D"]) == set(truth["low_margin_products"])


def test_finds_whose_orders_lose_money(last_year, truth):
    """Every order at a loss holds a product sold at a loss; two of the eight big ones buy little of these."""
    frame = profit.losing_orders(last_year[2]).to_pandas()
    planted = set(truth["unprofitable_big"])
    assert len(planted & set(frame["customer_id"].head(8))) == 6
    losing = frame[frame["losing_orders"] > 0]
    assert planted <= set(losing["customer_id"])
    assert len(losing) == 120  # the other 112 lose too, by the same products


def test_the_sample_company_sums_up(last_year):
    data, edges, lines = last_year
    whole = profit.contribution(lines).to_pandas().iloc[0]
    for by in ("customer_id", "product_id", "category", "salesperson_id", "channel", "month"):
        part = profit.contribution(lines, by, products=data.table("products")).to_pandas()
        assert part[["revenue", "cost", "contribution"]].sum().to_list() == pytest.approx(
            whole[["revenue", "cost", "contribution"]].to_list()
        )
    compared = periods.compare(data.by_period(edges), *edges[1:]).cache()
    totals = profit.totals(compared)
    assert totals["revenue"]["now"] == pytest.approx(whole["revenue"])
    assert totals["value"]["now"] < whole["contribution"]  # service
    found = profit.decomposition(totals)
    assert found["part"].sum() == pytest.approx(totals["value"]["now"] - totals["value"]["before"], abs=1e-6)
    months = profit.by_month(data.lines(), edges, data.period[0])
    assert len(months) == 12
    assert months["now"].sum() == pytest.approx(whole["contribution"])


def test_finds_who_stopped_after_the_manager_left(last_year, truth):
    data, edges, _ = last_year
    compared = profit.ranked(periods.compare(data.by_period(edges), *edges[1:]))
    frame = profit.fallen(compared).to_pandas().set_index("customer_id")
    gone = [who for who in truth["lost_with_manager"] if who in frame.index]
    assert len(gone) == 25
    assert set(frame["cause"][gone]) == {"no more purchases"}


def test_speaks_other_dialects(dialect):
    money = "decimal(18, 6)"
    text = dict.fromkeys(["customer_id", "order_id", "product_id", "salesperson_id"], "string")
    log = ibis.table(text | {"date": "date", "amount": money, "cost": money}, name="transactions")
    named = ibis.table({"product_id": "string", "name": "string", "category": "string"}, name="products")
    lines = customers.transaction_lines(log)
    compared = profit.ranked(periods.compare(periods.by_period(lines, None, EDGES), *EDGES[1:]))
    products = margins.products(lines, named)
    for expression in (
        profit.contribution(lines, "customer_id", "category", "month", "year", products=named),
        profit.contribution(lines.drop("order_id"), "product_id"),
        profit.fallen(compared),
        profit.losing_orders(lines),
        margins.to_promote(products),
        margins.to_limit(products),
        margins.commission(lines, products, margins.rates()),
    ):
        assert "memtable" not in ibis.to_sql(expression, dialect=dialect)
