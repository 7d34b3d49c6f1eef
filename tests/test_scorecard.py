"""From list price to profit, scores, quadrants, trends and dependence, against plain Python and the planted facts."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crm_analysis import customers, open_dataset, pareto, periods, receivables, scorecard
from crm_analysis.errors import Unanswerable

START, END = dt.date(2024, 1, 31), dt.date(2024, 3, 31)
HOSTILE = "$x_1$ <b>'; --"
WHO = st.sampled_from(["a", "b", "c", "d", HOSTILE])
MONEY = st.integers(-3000, 9000)
LOG = st.lists(
    st.tuples(WHO, st.integers(-40, 70), MONEY, st.none() | st.integers(0, 9999), st.none() | st.integers(0, 6000)),
    min_size=1,
    max_size=25,
)
SERVED = st.lists(st.tuples(st.sampled_from(["a", "b", "stranger"]), st.integers(-40, 70), st.integers(0, 900)))
EVEN = dict.fromkeys(scorecard.CRITERIA, 1.0)


def day(number):
    return START + dt.timedelta(days=number)


def as_lines(log):
    money = [(amount / 100, *(None if m is None else m / 100 for m in rest)) for _, _, amount, *rest in log]
    frame = pd.DataFrame(money, columns=["amount", "list_amount", "cost"]).astype(float)
    frame.insert(0, "customer_id", [who for who, *_ in log])
    frame.insert(1, "date", [day(number) for _, number, *_ in log])
    return customers.transaction_lines(frame, until=END)


def as_costs(served):
    columns = {"customer_id": [who for who, *_ in served], "date": [day(number) for _, number, _ in served]}
    frame = pd.DataFrame(columns | {"cost": [cost / 100 for *_, cost in served]})
    return frame.astype({"customer_id": "str", "date": "datetime64[s]", "cost": float})


def plain_accounts(log, served):
    """Sum the cents of each customer, one row after the other."""
    known = defaultdict(list)
    for who, number, *_ in log:
        if day(number) <= END:
            known[who].append(number)
    found = defaultdict(lambda: defaultdict(int))
    net, back = defaultdict(int), set()
    for who, number, amount, listed, cost in log:
        if not START < day(number) <= END:
            continue
        own = found[who]
        own["gross"] += max(amount, 0)
        own["returns"] += max(-amount, 0)
        own["list_amount"] += 0 if amount < 0 else amount if listed is None else listed
        own["cost"] += cost or 0
        net[who, number] += amount
        if amount < 0:
            back.add((who, number))
    for who, number, cost in served:
        if who in known and START < day(max(number, min(known[who]))) <= END:
            found[who]["service"] += cost
    for who, own in found.items():
        own["discounts"] = own["list_amount"] - own["gross"]
        own["revenue"] = own["gross"] - own["returns"]
        own["profit"] = own["revenue"] - own["cost"] - own["service"]
        own["purchases"] = 100 * sum(amount >= 0 for (one, _), amount in net.items() if one == who)
        own["return_days"] = 100 * sum(one == who for one, _ in back)
    return found


@settings(max_examples=8, deadline=None)
@given(LOG, SERVED, st.randoms())
def test_accounts_agree_with_plain_python_and_with_the_value(log, served, random):
    found = scorecard.accounts(as_lines(log), as_costs(served), START, END).to_pandas().set_index("customer_id")
    expected = plain_accounts(log, served)
    assert set(found.index) == set(expected)
    for who, own in expected.items():
        ours = found.loc[who]
        names = [name for name in found.columns if name != "margin"]
        assert {name: round(ours[name] * 100) for name in names} == {name: own[name] for name in names}
        margin = own["profit"] / own["revenue"] if own["revenue"] > 0 else math.nan
        assert ours["margin"] == pytest.approx(margin, nan_ok=True)
    until = as_costs([cost for cost in served if day(cost[1]) <= END])
    worth = periods.by_period(as_lines(log), until, [START, END]).to_pandas().set_index("customer_id")
    pd.testing.assert_series_equal(worth["value"].sort_index(), found["profit"].sort_index(), check_names=False)
    mixed = scorecard.accounts(
        as_lines(random.sample(log, len(log))), as_costs(random.sample(served, len(served))), START, END
    )
    pd.testing.assert_frame_equal(mixed.to_pandas().set_index("customer_id").loc[found.index], found)


def test_accounts_hold_what_is_known():
    rows = pd.DataFrame({"customer_id": ["a", "a"], "date": [day(1), day(2)], "amount": [10.0, -4.0]})
    found = scorecard.accounts(customers.transaction_lines(rows), None, START, END)
    assert found.columns == ("customer_id", "purchases", "return_days", "gross", "returns", "revenue")
    totals = scorecard.totals(found)
    assert totals == {"customers": 1, "returns": 4, "gross": 10, "revenue": 6}
    steps = scorecard.waterfall(totals)
    assert steps.to_numpy().tolist() == [["sales", 10, 1], ["returns", -4, -0.4], ["revenue", 6, 0.6]]
    with pytest.raises(Unanswerable, match="no costs"):
        scorecard.usual_margin(totals)
    with pytest.raises(Unanswerable, match="no revenue"):
        scorecard.usual_margin({"profit": -3.0, "revenue": 0.0})
    with pytest.raises(Unanswerable, match="no list prices"):
        scorecard.waterfall({"gross": 5.0, "revenue": 5.0, "returns": 0.0})
    with pytest.raises(Unanswerable, match="no sales"):
        scorecard.waterfall({"gross": 0.0, "revenue": -4.0, "returns": 4.0})
    empty = scorecard.accounts(customers.transaction_lines(rows), None, END, day(99))
    assert scorecard.totals(empty) == {"customers": 0, "returns": 0, "gross": 0, "revenue": 0}


def test_the_waterfall_ends_where_its_steps_lead():
    log = [("a", 1, 5000, 6000, 1000), ("b", 2, -700, None, -300), ("b", 3, 900, 800, None)]
    totals = scorecard.totals(scorecard.accounts(as_lines(log), as_costs([("a", 4, 150)]), START, END))
    steps = scorecard.waterfall(totals)
    assert steps["step"].to_list() == ["list price", "discounts", "returns", "cost of goods", "cost to serve", "profit"]
    assert steps["amount"].to_list() == pytest.approx([68, -9, -7, -7, -1.5, 43.5])
    assert steps["share"].to_list() == pytest.approx([amount / 68 for amount in steps["amount"]])


KNOWN = st.none() | st.integers(-3, 3)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(KNOWN, KNOWN, KNOWN), min_size=1, max_size=12),
    st.lists(st.sampled_from([0, 1, 3]), min_size=3, max_size=3).filter(any),
)
def test_scores_agree_with_plain_python(rows, weights):
    names = ["margin", "complaints", "growth"]  # more, less and more of it is better
    frame = pd.DataFrame([(f"c{i}", *row) for i, row in enumerate(rows)], columns=["customer_id", *names])
    frame = frame.astype(dict.fromkeys(names, "Float64"))
    used = dict(zip(names, weights, strict=True))
    found = scorecard.scored(frame, used).to_pandas().set_index("customer_id")
    score = {}
    for i, row in enumerate(rows):
        parts = []
        for name, own, place in zip(names, row, range(3), strict=True):
            others = [other[place] for j, other in enumerate(rows) if j != i and other[place] is not None]
            if own is not None and used[name]:
                worse = sum(o > own if name == "complaints" else o < own for o in others) + others.count(own) / 2
                parts.append((used[name], worse / len(others) if others else 0.5))
        score[f"c{i}"] = sum(w * p for w, p in parts) / sum(w for w, _ in parts) if parts else None
    known = [round(own, 8) for own in score.values() if own is not None]
    for who, own in score.items():
        if own is None:
            assert pd.isna(found.loc[who, "score"])
            assert pd.isna(found.loc[who, "grade"])
            continue
        assert found.loc[who, "score"] == pytest.approx(own, abs=1e-8)
        better = sum(other > round(own, 8) for other in known) / max(len(known) - 1, 1)
        assert found.loc[who, "grade"] == "ABCDE"[min(int(better * 5 + 1e-7), 4)]


def test_weights_of_what_is_not_there_are_shared():
    assert scorecard.proportions(EVEN, ["profit", "growth", "other"]) == {"profit": 0.5, "growth": 0.5}
    with pytest.raises(Unanswerable, match=r"\(days late\)"):
        scorecard.proportions({"days_late": 1, "profit": 0}, ["profit"])
    for weights in ({}, {"profit": 0}, {"profit": -1, "growth": 2}, {"profit": math.nan}, {"age": 1}):
        with pytest.raises(ValueError, match=r"weights|criteria"):
            scorecard.proportions(weights, scorecard.CRITERIA)


def test_two_criteria_are_no_scorecard():
    frame = pd.DataFrame({"customer_id": ["a", "b"], "revenue": [1.0, 2.0], "growth": [0.1, 0.2], "margin": [1, 2]})
    scored = scorecard.scored(frame, {"growth": 1, "margin": 1})
    found = scorecard.grades(scored, ["growth", "margin", "profit"])
    assert found.to_numpy().tolist() == [["A", 1, 2.0], ["E", 1, 1.0]]
    with pytest.raises(Unanswerable, match="needs 3 criteria"):
        scorecard.grades(scored, ["growth", "margin"])
    with pytest.raises(Unanswerable, match="Nothing that has a weight"):
        scorecard.grades(scored.filter(ibis.literal(False)), scorecard.CRITERIA)


@settings(max_examples=5, deadline=None)
@given(LOG, SERVED, st.sampled_from([0.2, 0.5]), st.sampled_from([0.0, 0.2]))
def test_quadrants_and_what_is_lost_add_up(log, served, share, margin):
    accounts = scorecard.accounts(as_lines(log), as_costs(served), START, END)
    placed = scorecard.placed(accounts, share, margin)
    frame, own = placed.to_pandas(), plain_accounts(log, served)
    for row in frame.itertuples():
        money = own[row.customer_id]
        big = sum(other["revenue"] > money["revenue"] for other in own.values()) < len(own) * share
        good = money["profit"] >= max(money["revenue"] * margin - 1e-6, 0)
        assert (row.big, row.good) == (big, good)
        words = {(1, 1): "big and good", (1, 0): "big, not good", (0, 1): "small and good", (0, 0): "small, not good"}
        assert row.quadrant == words[big, good]
    found = scorecard.quadrants(placed).set_index("quadrant")
    assert found["customers"].sum() == len(frame)
    assert found["profit"].sum() == pytest.approx(sum(money["profit"] for money in own.values()) / 100)
    totals = scorecard.totals(accounts)
    bought = accounts.filter(accounts["purchases"] > 0)
    buyers = scorecard.quadrants(scorecard.placed(bought, share, margin))
    assert buyers["customers"].sum() == sum(money["purchases"] > 0 for money in own.values())
    with_others = scorecard.with_others(buyers, totals)
    assert len(with_others) == 4 + any(money["purchases"] == 0 for money in own.values())
    for name in ("customers", "revenue", "profit"):
        assert with_others[name].sum() == pytest.approx(totals[name])
    worse = scorecard.big_not_good(placed, totals).to_pandas()
    assert set(worse["customer_id"]) == set(frame.loc[frame["big"] & ~frame["good"], "customer_id"])
    if totals["list_amount"] > 0:
        for row in worse.itertuples():
            money = own[row.customer_id]
            usual = totals["profit"] / totals["list_amount"] * money["list_amount"]
            assert row.lost == pytest.approx(usual / 100 - money["profit"] / 100, abs=1e-6)
    assert worse["lost"].to_list() == sorted(worse["lost"], reverse=True)


def test_what_drags_a_big_customer_down_is_told():
    log = [("a", 1, 5000, 9000, 3500), *(("b" + str(i), 1, 1000, 1000, 500) for i in range(9))]
    accounts = scorecard.accounts(as_lines(log), as_costs([("a", 2, 1000), ("b1", 3, 10)]), START, END)
    measured = scorecard.criteria(accounts, start=START, end=END)
    placed = scorecard.placed(scorecard.scored(measured, EVEN), 0.1, 0.2)
    (row,) = scorecard.big_not_good(placed, scorecard.totals(accounts)).to_pandas().itertuples()
    assert row.why == "discounts 44% (22%), service 11% (6%)"
    assert row.first_step.startswith("Take back the discount")
    assert row.lost_by_discounts + row.lost_by_cost + row.lost_by_service + row.lost_by_returns == row.lost
    with pytest.raises(ValueError, match="share of customers"):
        scorecard.placed(accounts, 0, 0.2)


def test_returns_name_what_they_are_a_share_of():
    log = [
        ("a", 1, 5000, 10000, 3500),
        ("a", 2, -900, None, 0),
        *(("b" + str(i), 1, 1000, 1000, 300) for i in range(9)),
    ]
    accounts = scorecard.accounts(as_lines(log), None, START, END)
    totals = scorecard.totals(accounts)
    (row,) = scorecard.big_not_good(scorecard.placed(accounts, 0.1, 0.3), totals).to_pandas().itertuples()
    assert "returns 9% of list price (5%)" in row.why
    plain = scorecard.placed(accounts.drop("list_amount", "discounts"), 0.1, 0.3)
    del totals["list_amount"]
    (row,) = scorecard.big_not_good(plain, totals).to_pandas().itertuples()
    assert "returns 18% of sales (6%)" in row.why


def test_the_map_holds_every_customer_with_revenue():
    frame = pd.DataFrame({"revenue": [1.0, 1.1, 500.0, 0.0, -3.0], "profit": [0.3, 0.33, -5000.0, 0.0, 1.0]})
    frame["margin"] = (frame["profit"] / frame["revenue"]).where(frame["revenue"] > 0)
    found = scorecard.density(frame)
    assert found["customers"].to_list() == [2, 1]
    assert found["margin_from"].to_list() == pytest.approx([0.3, -1.0])
    inside = found.iloc[0]
    assert inside["revenue_from"] <= 1 < 1.1 < inside["revenue_to"]


MONTHS = st.lists(st.integers(0, 50), min_size=0, max_size=30)


def as_months(rows):
    """Return the monthly table of customers given by their revenue from the last month backwards."""
    triples = [(who, step, float(own)) for who, months in rows.items() for step, own in enumerate(months) if own]
    return pd.DataFrame(triples, columns=["customer_id", "month", "revenue"])


@settings(max_examples=15, deadline=None)
@given(st.lists(MONTHS, min_size=1, max_size=6), st.integers(3, 12))
def test_trends_agree_with_least_squares_and_the_t_test(rows, months):
    named = {f"c{i}": row for i, row in enumerate(rows)}
    table = as_months(named)
    if table.empty:
        return
    found = scorecard.trends(table, [1.0] * 12, months).to_pandas().set_index("customer_id")
    quarter, expected = max(months // 4, 1), {}
    for who, row in named.items():
        last = max((step for step, own in enumerate(row) if own), default=0)
        known = min(last, 2 * months)
        y = (np.array(row + [0] * 30)[:known])[::-1].astype(float)
        if known >= max(months, quarter + 2, 3) and (y > 0).sum() >= 4:
            expected[who] = (row, y)
    assert set(found.index) == set(expected)
    for who, (row, y) in expected.items():
        ours, n = found.loc[who], len(y)
        assert (ours["known"], ours["bought"]) == (n, (y > 0).sum())
        assert ours["revenue"] == sum(row[:months])
        assert ours["revenue_before"] == sum(row[months : 2 * months])
        assert ours["pace"] == pytest.approx(sum(row[:quarter]) / quarter * months)
        fit = stats.linregress(np.arange(n), y)
        assert ours["change"] == pytest.approx(fit.slope * months**2, abs=1e-6)
        if fit.stderr > 1e-3:
            reach = stats.t.ppf(0.975, n - 2) * fit.stderr * months**2
            assert ours["high"] - ours["low"] == pytest.approx(2 * reach, rel=1e-6)
            assert ours["t"] == pytest.approx(fit.slope / fit.stderr, rel=1e-6, abs=1e-9)
            if np.ptp(y[:-quarter]) > 0:
                other = stats.ttest_ind(y[-quarter:], y[:-quarter])
                assert ours["break_t"] == pytest.approx(other.statistic, rel=1e-4, abs=1e-6)


def test_one_order_is_no_trend_and_a_flat_line_neither():
    spikes = {f"c{place}": [100.0 if step == place else 1.0 for step in range(25)] for place in range(24)}
    found = scorecard.trends(as_months(spikes), [1.0] * 12, 12).to_pandas()
    assert len(found) == 24
    assert (found["t"].abs() < 2).all()
    flat = scorecard.trends(as_months({"a": [7.77] * 30}), [1.0] * 12, 12).to_pandas().iloc[0]
    assert abs(flat["t"]) < 0.01
    assert abs(flat["break_t"]) < 0.01
    straight = scorecard.trends(as_months({"a": [30 - i for i in range(30)]}), [1.0] * 12, 12)
    assert scorecard.judged(straight).to_pandas()["way"].to_list() == ["up"]


def test_months_are_of_one_length_and_counted_back():
    dates = [END, END - dt.timedelta(days=30), END - dt.timedelta(days=31), END - dt.timedelta(days=365)]
    rows = pd.DataFrame({"customer_id": "a", "date": dates, "amount": 1.0})
    found = scorecard.months_of(customers.transaction_lines(rows), END).order_by("month").to_pandas()
    assert found[["month", "revenue"]].to_numpy().tolist() == [[0, 2], [1, 1], [11, 1]]


def test_the_season_alone_is_no_trend():
    random, wave = np.random.default_rng(1), 1 + 0.6 * np.sin(np.arange(24) / 12 * 2 * np.pi)
    rows = {f"c{i}": random.normal(100, 8, 24) * wave for i in range(60)}
    factors = scorecard.season(as_months(rows), 24)
    # Of one year alone, the season looks like a trend.
    rows |= {f"new{i}": [*random.normal(100, 8, 12) * wave[:12], 5.0] for i in range(60)}
    table = as_months(rows)
    assert np.corrcoef(factors, wave[:12])[0, 1] > 0.98
    seen = scorecard.judged(scorecard.trends(table, [1.0] * 12, 12)).to_pandas()["way"].notna()
    freed = scorecard.judged(scorecard.trends(table, factors, 12)).to_pandas()["way"].notna()
    assert seen.mean() > 0.4
    assert freed.mean() < 0.1
    assert scorecard.season(table, 23) == [1.0] * 12
    assert scorecard.season(as_months({"a": [5.0] * 30}), 24) == [1.0] * 12


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-900, 900), st.integers(12, 24)), min_size=1, max_size=30),
    st.sampled_from([0.05, 0.3]),
)
def test_named_is_whom_chance_hardly_explains(rows, chance):
    frame = pd.DataFrame(
        [(f"c{i}", t / 100, known) for i, (t, known) in enumerate(rows)], columns=["customer_id", "t", "known"]
    )
    found = scorecard.judged(frame.assign(break_t=0.0), chance).to_pandas().set_index("customer_id")["way"]
    p = 2 * stats.t.sf(frame["t"].abs(), frame["known"] - 2)
    clear = stats.false_discovery_control(p) <= chance + 1e-12
    expected = np.where(clear & (frame["t"] > 0), "up", np.where(clear, "down", "none"))
    assert found.reindex(frame["customer_id"]).fillna("none").to_list() == expected.tolist()


def test_nobody_to_judge():
    with pytest.raises(Unanswerable, match="No customer has been known"):
        scorecard.judged(scorecard.trends(as_months({"a": [1.0, 2.0]}), [1.0] * 12, 12))
    assert scorecard.trends(as_months({"a": [1.0] * 9}), [1.0] * 12, 1).count().execute() == 0  # two months are no line
    with pytest.raises(ValueError, match="one month"):
        scorecard.trends(as_months({"a": [1.0]}), [1.0] * 12, 0)
    with pytest.raises(ValueError, match="false discoveries"):
        scorecard.judged(pd.DataFrame(), 1.0)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(WHO, st.sampled_from([START, END]), st.integers(-500, 900)),
        min_size=1,
        max_size=9,
        unique_by=lambda row: row[:2],
    )
)
def test_dependence_agrees_with_plain_python(rows):
    worth = pd.DataFrame(rows, columns=["customer_id", "period", "value"]).astype({"value": float})
    by_period = {
        period: sorted((own for _, p, own in rows if p == period), reverse=True)
        for period in sorted({p for _, p, _ in rows})
    }
    if sum([*by_period.values()][-1]) <= 0:
        with pytest.raises(Unanswerable, match="shares of a total"):
            scorecard.dependence(worth)
        return
    found = scorecard.dependence(worth, (1, 2))
    assert [pd.Timestamp(period).date() for period in found["period"]] == [*by_period]
    for row, own in zip(found.itertuples(), by_period.values(), strict=True):
        total = sum(own) if sum(own) > 0 else math.nan
        assert (row.customers, row.value) == (len(own), sum(own))
        expected = [own[0] / total, sum(own[:2]) / total, total**2 / sum(o * o for o in own) if any(own) else math.nan]
        assert [row.top_1, row.top_2, row.effective_customers] == pytest.approx(expected, nan_ok=True)
    last = [*by_period][-1]
    top = scorecard.largest(worth.assign(revenue=1.0), last, 2)
    order = sorted(((-own, who) for who, p, own in rows if p == last))
    assert top["customer_id"].to_list() == [who for _, who in order[:2]]


def test_periods_are_as_many_as_there_are():
    assert periods.whole(dt.date(2023, 1, 1), dt.date(2025, 12, 31), months=12, most=3)[0] == dt.date(2022, 12, 31)
    assert len(periods.whole(dt.date(2024, 1, 1), dt.date(2025, 12, 31), months=12, most=3)) == 3
    assert len(periods.whole(dt.date(2025, 12, 1), dt.date(2025, 12, 31), months=12, most=3)) == 2
    with pytest.raises(ValueError, match="at least one customer"):
        scorecard.dependence(pd.DataFrame(), (0,))


NOBODY = pd.DataFrame({"customer_id": pd.Series(dtype=str)})


def people(**columns):
    """Return customers who do nothing wrong, with what is given instead."""
    harmless = {"purchases": 9, "return_days": 0, "returns": 0.0, "return_share": 0.0, "revenue": 100.0, "profit": 30.0}
    harmless |= {"bad_payer": False, "late": 0, "invoices": 9, "at_risk": 0.0, "cases": 0, "case_months": 0}
    return pd.DataFrame({"customer_id": ["a"]} | {k: [columns.get(k, v)] for k, v in harmless.items()}).assign(
        complaints=lambda t: t["cases"] / t["purchases"]
    )


@pytest.mark.parametrize(
    ("columns", "values", "evidence", "action"),
    [
        ({}, [-5, -5, 9, 9], None, ""),
        ({"profit": -1.0}, [-5, 1, 2, 1], None, ""),
        ({"profit": -1.0}, [-9], None, ""),
        ({"profit": -1.0}, [-5, -1, 2, 1], "loss in 2 of 4 quarters", "Agree"),
        (
            {"profit": -1.0, "bad_payer": True, "late": 7},
            [-5, -1],
            "loss in 2 of 2 quarters; 7 of 9 invoices over 30 days late",
            "End",
        ),
        ({"bad_payer": True, "late": 7}, [], "7 of 9 invoices over 30 days late", "Deliver"),
        ({"return_days": 3, "return_share": 0.2}, [], "20% of sales returned on 3 days", "Charge"),
        ({"return_days": 2, "return_share": 0.9}, [], None, ""),
        ({"cases": 5, "case_months": 2}, [], "5 complaints on 9 purchases", "Have"),
        ({"cases": 9, "case_months": 1}, [], None, ""),
        ({"cases": 4, "case_months": 2}, [], None, ""),
    ],
)
def test_evidence_is_never_of_one_occasion(columns, values, evidence, action):
    worth = pd.DataFrame({"customer_id": ["a"] * len(values), "value": [float(value) for value in values]})
    worth = worth.astype({"customer_id": "str", "value": "float64"})
    found = scorecard.bad(people(**columns), worth, usual_margin=0.3, big=NOBODY).to_pandas()
    assert found["evidence"].to_list() == ([] if evidence is None else [evidence])
    if evidence:
        assert found["action"].iloc[0].startswith(action)
        assert found["at_stake"].iloc[0] == pytest.approx(30 - columns.get("profit", 30.0))


def test_bad_customers_need_something_to_go_by():
    worth = pd.DataFrame({"customer_id": ["a"], "value": [1.0]})
    only = ["customer_id", "purchases", "return_days", "returns", "return_share", "revenue"]
    with pytest.raises(Unanswerable, match="nothing tells of a bad customer"):
        scorecard.bad(people()[only], worth, usual_margin=None, big=NOBODY)
    found = scorecard.bad(
        people(return_days=4, returns=30.0, return_share=0.3)[only], worth, usual_margin=None, big=NOBODY
    )
    assert found.to_pandas()[["at_stake", "evidence"]].to_numpy().tolist() == [
        [30.0, "30% of sales returned on 4 days"]
    ]
    with pytest.raises(ValueError, match="returns are at most"):
        scorecard.bad(people(), worth, usual_margin=0.3, big=NOBODY, most_returns=2)


def test_big_late_payers_are_asked_for_a_plan_and_others_to_prepay():
    owed = pd.DataFrame({"customer_id": ["a", "b", "c"], "bad_payer": [True, True, False], "at_risk": [1.0, 5.0, 9.0]})
    big = pd.DataFrame({"customer_id": ["a", "c"]})
    found = scorecard.late_payers(owed.assign(days_late=40.0), big).to_pandas()
    assert found["customer_id"].to_list() == ["b", "a"]
    assert found["size"].to_list() == ["small", "big"]
    assert found["to_do"].to_list() == ["Deliver against prepayment only.", "Agree a payment plan in person."]
    worth = pd.DataFrame({"customer_id": ["a"], "value": [1.0]})
    same = scorecard.bad(people(bad_payer=True), worth, usual_margin=0.3, big=big).to_pandas()
    assert same["action"].to_list() == ["Agree a payment plan in person."]


@pytest.fixture(scope="module")
def company(sample):
    """Return what the page computes of the sample company."""
    data = open_dataset(sample)
    (start, end), months = periods.edges(data.period[0], data.as_of, months=12, count=1), 12
    accounts = scorecard.accounts(data.lines(), data.table("service_costs"), start, end)
    accounts = accounts.filter(accounts["purchases"] > 0).cache()
    monthly = scorecard.months_of(data.lines(), data.as_of).cache()
    trends = scorecard.trends(monthly, scorecard.season(monthly, 24), months).cache()
    invoices = receivables.invoices(data.table("payments"), data.as_of)
    owed = receivables.by_customer(invoices, since=dt.date(2023, 12, 31)).cache()
    measured = scorecard.criteria(
        accounts, owed=owed, cases=data.table("cases"), trends=trends, start=start, end=end
    ).cache()
    return data, accounts, measured, trends


def test_finds_the_big_customers_who_earn_nothing(company, truth):
    _, accounts, measured, _ = company
    totals = scorecard.totals(accounts)
    placed = scorecard.placed(scorecard.scored(measured, EVEN), 0.20, scorecard.usual_margin(totals) / 2)
    found = scorecard.big_not_good(placed, totals).to_pandas()
    assert set(found["customer_id"].head(8)) == set(truth["unprofitable_big"])
    assert len(found) == 20  # the others sell at low margins too, but lose less than half as much
    assert found["lost"].iloc[8] < found["lost"].iloc[7] / 2
    for evidence in found["why"].head(8):
        assert "discounts" in evidence
        assert "service" in evidence


def test_finds_the_small_who_rise_and_the_big_who_have_stopped(company, truth):
    _, accounts, _, trends = company
    big = pareto.best(accounts.mutate(value=accounts["revenue"]), 0.20).select("customer_id")
    judged = scorecard.judged(trends).cache()
    rising = scorecard.rising(judged, big).to_pandas()
    assert set(rising["customer_id"]) == set(truth["rising_small"])  # no false positive
    assert (rising["low"] > 0).all()
    assert rising["change"].is_monotonic_decreasing
    falling = scorecard.falling(judged, big).to_pandas()
    assert set(falling["customer_id"].head(10)) == set(truth["quiet_key_accounts"])
    assert len(falling) == 12
    assert falling["change"].iloc[10] > falling["change"].iloc[9] / 5


def test_finds_the_bad_customers(company, truth):
    data, accounts, measured, _ = company
    quarters = periods.whole(data.period[0], data.as_of, months=3, most=4)
    usual = scorecard.usual_margin(scorecard.totals(accounts))
    big = pareto.best(accounts.mutate(value=accounts["revenue"]), 0.20)
    found = scorecard.bad(measured, data.by_period(quarters), usual_margin=usual, big=big).to_pandas()
    found = found.set_index("customer_id")
    assert set(found.index[found["late_habit"]]) == set(truth["bad_payers"])
    planted = {*truth["bad_payers"], *truth["unprofitable_big"]}
    assert set(found.index[:23]) == planted
    assert len(found) == 27  # three small ones who lose money, and one who complains


def test_speaks_other_dialects(dialect):
    money = "decimal(18, 6)"
    log = {"customer_id": "string", "date": "date", "amount": money, "cost": money, "list_amount": money}
    lines = customers.transaction_lines(ibis.table(log, name="transactions"))
    served = ibis.table({"customer_id": "string", "date": "date", "cost": money}, name="service_costs")
    cases = ibis.table({"customer_id": "string", "opened": "timestamp"}, name="cases")
    payments = {"order_id": "string", "customer_id": "string", "amount": money, "due": "date", "paid": "date"}
    owed = receivables.by_customer(receivables.invoices(ibis.table(payments, name="payments"), END), since=START)
    accounts = scorecard.accounts(lines, served, START, END)
    monthly = scorecard.months_of(lines, END)
    trends = scorecard.trends(monthly, [1.0] * 12, 12)
    measured = scorecard.criteria(accounts, owed=owed, cases=cases, trends=trends, start=START, end=END)
    placed = scorecard.placed(scorecard.scored(measured, EVEN), 0.2, 0.1)
    totals = dict.fromkeys(("list_amount", "discounts", "returns", "cost", "service"), 1.0)
    worth = periods.by_period(lines, served, [START, END])
    way = trends.mutate(way=ibis.literal("up"))
    for expression in (
        scorecard.big_not_good(placed, totals),
        scorecard.bad(measured, worth, usual_margin=0.3, big=placed),
        scorecard.late_payers(owed, placed),
        scorecard.rising(way, accounts),
        scorecard.falling(way, accounts),
    ):
        assert "memtable" not in ibis.to_sql(expression, dialect=dialect)
