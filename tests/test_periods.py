"""Values by period agree with a plain computation and with the customers' totals; changes are explained to the last."""

import datetime as dt
from itertools import pairwise, permutations

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import customers, periods
from crm_analysis.errors import Unanswerable

START = dt.date(2024, 1, 31)
EDGES = [START, dt.date(2024, 2, 29), dt.date(2024, 3, 31), dt.date(2024, 4, 30)]


@pytest.mark.parametrize(
    ("as_of", "months", "count", "expected"),
    [
        ("2025-12-31", 12, 2, ["2023-12-31", "2024-12-31", "2025-12-31"]),
        ("2024-06-30", 3, 2, ["2023-12-31", "2024-03-31", "2024-06-30"]),
        ("2024-02-29", 1, 2, ["2023-12-31", "2024-01-31", "2024-02-29"]),
        ("2025-02-28", 12, 2, ["2023-02-28", "2024-02-29", "2025-02-28"]),
        ("2024-05-30", 3, 1, ["2024-02-29", "2024-05-30"]),
        ("2024-05-15", 6, 2, ["2023-05-15", "2023-11-15", "2024-05-15"]),
    ],
)
def test_periods_end_where_months_end(as_of, months, count, expected):
    found = periods.edges(dt.date(2020, 1, 1), dt.date.fromisoformat(as_of), months=months, count=count)
    assert [day.isoformat() for day in found] == expected


def test_whole_periods_are_compared():
    as_of = dt.date(2025, 12, 31)
    assert periods.edges(dt.date(2024, 1, 8), as_of, months=12, count=2)[0] == dt.date(2023, 12, 31)
    assert periods.edges(dt.date(2025, 12, 30), as_of, months=12, count=1)[0] == dt.date(2024, 12, 31)
    for day, months in (("2024-01-09", 11), ("2024-03-15", 10)):
        with pytest.raises(Unanswerable, match=rf"2 periods of 12 months .* on {day}: set months to {months} or less"):
            periods.edges(dt.date.fromisoformat(day), as_of, months=12, count=2)
    with pytest.raises(Unanswerable, match="2 periods of one month up to"):
        periods.edges(dt.date(2025, 12, 1), as_of, months=1, count=2)
    with pytest.raises(Unanswerable, match=r"begin on 2025-12-30\.$"):
        periods.edges(dt.date(2025, 12, 30), as_of, months=12, count=2)
    for wrong in ({"months": 0, "count": 1}, {"months": 1, "count": 0}):
        with pytest.raises(ValueError, match="at least one"):
            periods.edges(START, as_of, **wrong)


WHO = st.sampled_from(["a", "b", "c", "d"])
DAY = st.integers(-5, 120)
LOG = st.lists(st.tuples(WHO, DAY, st.integers(-900, 2000), st.integers(0, 900)), min_size=1, max_size=50)
SERVED = st.lists(st.tuples(st.sampled_from(["a", "b", "z"]), DAY, st.integers(0, 300)), max_size=10)


def as_lines(log):
    rows = [(who, START + dt.timedelta(days=day), amount / 100, cost / 100) for who, day, amount, cost in log]
    return pd.DataFrame(rows, columns=["customer_id", "date", "amount", "cost"])


def as_costs(served):
    rows = [(who, START + dt.timedelta(days=day), cost / 100) for who, day, cost in served]
    return pd.DataFrame(rows, columns=["customer_id", "date", "cost"])


def plain(log, served):
    """Sum what each customer bought and was worth in each period, in cents, one row after the other."""
    first = {who: min(day for other, day, *_ in log if other == who) for who, *_ in log}
    found, days = {}, {}
    for who, day, amount, cost in log:
        net, value = days.get((who, day), (0, 0))
        days[who, day] = net + amount, value + amount - cost
    events = [(who, day, net >= 0, net, value) for (who, day), (net, value) in days.items()]
    events += [(who, max(day, first[who]), False, 0, -cost) for who, day, cost in served if who in first]
    for who, day, bought, net, value in events:
        date = START + dt.timedelta(days=day)
        period = next((end for start, end in pairwise(EDGES) if start < date <= end), None)
        if period:
            before = found.get((who, period), (0, 0, 0))
            found[who, period] = (before[0] + bought, before[1] + net, before[2] + value)
    return found


@settings(max_examples=25, deadline=None)
@given(LOG, SERVED, st.randoms())
def test_by_period(log, served, random):
    log, served = list(log), list(served)
    lines = customers.transaction_lines(as_lines(log))
    worth = periods.by_period(lines, as_costs(served) if served else None, EDGES).to_pandas()
    found = {
        (row.customer_id, pd.Timestamp(row.period).date()): (
            row.purchases,
            round(row.revenue * 100),
            round(row.value * 100),
        )
        for row in worth.itertuples()
    }
    assert found == plain(log, served)
    random.shuffle(log)
    random.shuffle(served)
    again = periods.by_period(
        customers.transaction_lines(as_lines(log)), as_costs(served) if served else None, EDGES
    ).to_pandas()
    key = ["customer_id", "period"]
    pd.testing.assert_frame_equal(again.sort_values(key, ignore_index=True), worth.sort_values(key, ignore_index=True))


def test_all_periods_sum_to_the_customers_totals(sample):
    from crm_analysis import open_dataset

    data = open_dataset(sample)
    edges = periods.edges(data.period[0], data.as_of, months=12, count=3)
    worth = data.by_period(edges)
    sums = worth.group_by("customer_id").aggregate(
        purchases=worth["purchases"].sum(), revenue=worth["revenue"].sum(), value=worth["value"].sum()
    )
    whole = data.customers().to_pandas().set_index("customer_id").sort_index()
    found = sums.to_pandas().set_index("customer_id").sort_index()
    assert found.index.equals(whole.index)
    for name in periods.MEASURES:
        assert found[name].to_numpy() == pytest.approx(whole[name].to_numpy(), abs=1e-6)


def shapley(before, now):
    """Change one factor after the other, in all orders, and average what each brings."""
    parts = [0.0, 0.0, 0.0]
    for order in permutations(range(3)):
        at = list(before)
        for factor in order:
            worth = at[0] * at[1] * at[2]
            at[factor] = now[factor]
            parts[factor] += (at[0] * at[1] * at[2] - worth) / 6
    return parts


SIDE = st.tuples(st.integers(0, 9), st.integers(-50, 5000), st.integers(-2000, 2000))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=8))
def test_changes_are_explained(pairs):
    names = [f"{name}_{side}" for side in ("before", "now") for name in periods.MEASURES]
    rows = [(f"c{i}", *before, *now) for i, (before, now) in enumerate(pairs)]
    found = periods.explained(pd.DataFrame(rows, columns=["customer_id", *names]).astype(dict.fromkeys(names, float)))
    for row, (before, now) in zip(found.to_pandas().sort_values("customer_id").itertuples(), pairs, strict=True):
        assert row.change == now[2] - before[2]
        assert row.by_orders + row.by_amount + row.by_margin == pytest.approx(row.change, abs=1e-6)
        if min(*before[:2], *now[:2]) <= 0:
            assert (row.by_orders, row.by_amount, row.by_margin) == (row.change, 0, 0)
        else:
            factors = [(n, revenue / n, value / revenue) for n, revenue, value in (before, now)]
            assert [row.by_orders, row.by_amount, row.by_margin] == pytest.approx(shapley(*factors), abs=1e-6)


def test_compare_lays_two_periods_side_by_side():
    worth = pd.DataFrame(
        [
            ("a", EDGES[1], 2, 30.0, 10.0),
            ("a", EDGES[2], 1, 5.0, 1.0),
            ("b", EDGES[2], 1, 7.0, 2.0),
            ("c", EDGES[3], 1, 1.0, 1.0),
        ],
        columns=["customer_id", "period", *periods.MEASURES],
    )
    found = periods.compare(worth, EDGES[1], EDGES[2]).to_pandas().sort_values("customer_id").to_numpy().tolist()
    assert found == [["a", 2, 30.0, 10.0, 1, 5.0, 1.0], ["b", 0, 0.0, 0.0, 1, 7.0, 2.0]]


def test_speaks_other_dialects(dialect):
    money = "decimal(18, 6)"
    log = ibis.table({"customer_id": "string", "date": "date", "amount": money, "cost": money}, name="transactions")
    costs = ibis.table({"customer_id": "string", "date": "date", "cost": money}, name="service_costs")
    worth = periods.by_period(customers.transaction_lines(log), costs, EDGES)
    sql = ibis.to_sql(periods.explained(periods.compare(worth, *EDGES[1:3])), dialect=dialect)
    assert "memtable" not in sql
