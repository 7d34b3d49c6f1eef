"""One row per customer: against `lifetimes`, against plain Python, and by the definitions."""

from __future__ import annotations

import datetime as dt
import warnings
from collections import defaultdict
from decimal import Decimal

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import customers, open_dataset
from crm_analysis.errors import Unanswerable

AS_OF = dt.date(2024, 3, 31)
START = dt.date(2024, 1, 1)


def lines(*rows: tuple) -> pd.DataFrame:
    """Transactions: customer, date, amount and, if wanted, quantity, product and cost."""
    columns = ["customer_id", "date", "amount", "quantity", "product_id", "cost"][: len(rows[0])]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(date=pd.to_datetime(frame["date"], format="ISO8601"))


def summarise(transactions: pd.DataFrame, *tables: pd.DataFrame | None, **given) -> pd.DataFrame:
    """The summary as a frame with one row per customer, sorted."""
    found = customers.summary(transactions, *tables, **{"as_of": AS_OF, **given}).to_pandas()
    return found.set_index("customer_id").sort_index()


cents = st.integers(-3000, 10000)
logs = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 100), cents, cents), min_size=1, max_size=40)


def as_frame(log: list[tuple]) -> pd.DataFrame:
    rows = [(who, START + dt.timedelta(days=day), amount / 100, cost / 100) for who, day, amount, cost in log]
    return pd.DataFrame(rows, columns=["customer_id", "date", "amount", "cost"])


def naive(log: list[tuple], as_of: dt.date) -> dict[str, dict]:
    """The definitions of DESIGN.md, section 4, in plain Python and exact numbers."""
    days: dict[str, dict[dt.date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for who, day, amount, cost in log:
        date = START + dt.timedelta(days=day)
        if date <= as_of:
            days[who][date] += Decimal(amount) / 100
            costs[who] += Decimal(cost) / 100
    found = {}
    for who, amounts in days.items():
        bought = sorted(date for date, amount in amounts.items() if amount >= 0)
        repeats = [amounts[date] for date in bought[1:]]
        revenue = sum(amounts.values())
        found[who] = {
            "first_purchase": bought[0] if bought else None,
            "last_purchase": bought[-1] if bought else None,
            "purchases": len(bought),
            "frequency": len(repeats),
            "recency": (bought[-1] - bought[0]).days / 7 if bought else None,
            "T": (as_of - bought[0]).days / 7 if bought else None,
            "monetary_value": float(sum(repeats)) / len(repeats) if repeats else 0.0,
            "revenue": float(revenue),
            "cost": float(costs[who]),
            "profit": float(revenue - costs[who]),
            "value": float(revenue - costs[who]),
        }
    return found


@pytest.fixture(scope="module")
def shop(cdnow):
    return open_dataset(cdnow)


@pytest.mark.parametrize("as_of", [dt.date(1998, 6, 30), dt.date(1997, 9, 30), dt.date(1997, 2, 10)])
@pytest.mark.parametrize("unit_days", [1, 7])
def test_cdnow_agrees_with_lifetimes(shop, as_of, unit_days):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lifetimes.utils import summary_data_from_transaction_data

        log = shop.table("transactions").to_pandas().astype({"amount": float})
        theirs = summary_data_from_transaction_data(
            log[pd.to_datetime(log["date"]) <= pd.Timestamp(as_of)],
            "customer_id",
            "date",
            monetary_value_col="amount",
            observation_period_end=as_of,
            freq="D",
            freq_multiplier=unit_days,
        )
    ours = summarise(shop.table("transactions"), as_of=as_of, unit_days=unit_days)[list(theirs.columns)]
    pd.testing.assert_frame_equal(ours, theirs.sort_index(), check_dtype=False, check_index_type=False, atol=1e-9)
    if as_of == shop.as_of:
        assert len(ours) == 23_570


def test_cdnow_matches_the_published_sums(shop):
    """The totals of Fader and Hardie's master file: lines of one customer on one day are one purchase."""
    found = shop.customers().to_pandas()
    assert found["revenue"].sum() == pytest.approx(2_500_315.63, abs=1e-6)
    assert found["purchases"].sum() == 67_591  # distinct customer days
    assert (found["first_purchase"] <= pd.Timestamp("1997-03-25")).all()


@settings(max_examples=25, deadline=None)
@given(logs, st.integers(0, 110))
def test_follows_the_definitions(log, days):
    as_of = START + dt.timedelta(days=days)
    expected = naive(log, as_of)
    found = summarise(as_frame(log), as_of=as_of)
    assert set(found.index) == set(expected)
    for who, row in found.iterrows():
        for column, value in expected[who].items():
            if value is None:
                assert pd.isna(row[column])
            elif column.endswith("_purchase"):
                assert pd.Timestamp(row[column]).date() == value
            else:
                assert row[column] == pytest.approx(value, abs=1e-12), (who, column)


@settings(max_examples=8, deadline=None)
@given(logs, st.randoms())
def test_row_order_and_input_kind_change_nothing(log, random):
    frame = as_frame(log)
    shuffled = frame.sample(frac=1, random_state=random.randrange(2**32))
    exact = frame.assign(amount=[Decimal(f"{x:.2f}") for x in frame["amount"]])
    connection = ibis.duckdb.connect()
    tables = [
        shuffled,
        exact,
        ibis.memtable(frame),
        connection.create_table("t", shuffled),
        frame.assign(date=frame["date"].map(str)),
    ]
    expected = summarise(frame)
    for table in tables:
        pd.testing.assert_frame_equal(summarise(table), expected, check_exact=True)


@settings(max_examples=12, deadline=None)
@given(logs, st.integers(0, 39), cents)
def test_splitting_a_line_changes_nothing(log, position, part):
    who, day, amount, cost = log[position % len(log)]
    split = [*log, (who, day, part, part), (who, day, -part, -part)]
    moved = [*log[: position % len(log)], *log[position % len(log) + 1 :]]
    moved += [(who, day, amount - part, cost + part), (who, day, part, -part)]
    for changed in (split, moved):
        pd.testing.assert_frame_equal(summarise(as_frame(changed)), summarise(as_frame(log)), check_exact=True)


def test_many_floats_sum_to_the_same_last_bit_in_any_order():
    frame = as_frame([("a", i % 90, (i * 7919) % 100_003, 0) for i in range(3000)]).drop(columns="cost")
    values = {summarise(frame.sample(frac=1, random_state=i)).at["a", "value"] for i in range(5)}
    assert values == {sum((i * 7919) % 100_003 for i in range(3000)) / 100}


def test_days_and_not_lines_are_purchases():
    """A free order is a purchase, a day of returns is none, and a return inside a day counts against the day."""
    found = summarise(
        lines(
            ("free", "2024-01-01", 0),
            ("free", "2024-01-08", 0),
            ("returned", "2024-01-01", 10),
            ("returned", "2024-01-02", -10),
            ("same day", "2024-01-01", 10),
            ("same day", "2024-01-01", -10),
            ("exchange", "2024-01-01", 10),
            ("exchange", "2024-01-01", -30),
            ("exchange", "2024-01-09", 5),
            ("only returns", "2024-02-01", -7.5),
            ("clock", "2024-01-01 09:30", 1),
            ("clock", "2024-01-01 18:00", 2),
        )
    )
    assert found["purchases"].to_dict() == {
        "clock": 1, "exchange": 1, "free": 2, "only returns": 0, "returned": 1, "same day": 1,
    }  # fmt: skip
    assert found.loc["free", ["frequency", "recency", "monetary_value", "value"]].to_list() == [1, 1, 0, 0]
    assert found.loc["exchange", ["revenue", "frequency", "monetary_value"]].to_list() == [-15, 0, 0]
    assert found.at["exchange", "first_purchase"] == pd.Timestamp("2024-01-09")
    nobody = found.loc["only returns"]
    assert nobody[["first_purchase", "last_purchase", "recency", "T"]].isna().all()
    assert nobody[["frequency", "monetary_value", "revenue", "value"]].to_list() == [0, 0, -7.5, -7.5]


def test_purchases_are_numbered_and_know_the_next():
    found = customers.purchases(
        lines(("a", "2024-01-05", 3), ("a", "2024-01-01", 1), ("a", "2024-01-01", 1), ("a", "2024-01-03", -1))
    )
    found = found.order_by("number").to_pandas()
    assert found["number"].to_list() == [1, 2]
    assert found["amount"].astype(float).to_list() == [2, 3]
    assert pd.to_datetime(found["next_date"]).to_list() == [pd.Timestamp("2024-01-05"), pd.NaT]
    assert (found["value"] == found["amount"]).all()


def test_a_purchase_is_worth_its_profit_where_costs_are_known():
    log = lines(("a", "2024-01-01", 100, 2, "p", 30), ("a", "2024-01-01", 100, 3, "p", None))
    products = pd.DataFrame({"product_id": ["p"], "unit_cost": [5.0]})
    assert customers.purchases(log, products).to_pandas()["value"].astype(float).to_list() == [200 - 30 - 15]


def test_value_is_profit_where_costs_are_known():
    """A line's own cost comes first, then quantity × unit cost, then 0; service costs are taken off."""
    transactions = lines(
        ("a", "2024-01-01", 100, 2, "p", 30),
        ("a", "2024-01-02", 100, 2, "p", None),
        ("a", "2024-01-03", 100, 2, "unknown", None),
        ("a", "2024-01-04", -50, -1, "p", None),
        ("b", "2024-01-01", 10, 1, "p", None),
    )
    products = pd.DataFrame({"product_id": ["p", "q"], "unit_cost": [12.5, 1]})
    service = pd.DataFrame(
        {
            "customer_id": ["b", "b", "stranger", "b"],
            "date": pd.to_datetime(["2024-01-01", "2024-03-31", "2024-01-01", "2024-04-01"]),
            "cost": [1, 2.25, 1000, 5000],
        }
    )
    own = transactions.drop(columns=["quantity", "product_id"])
    bare = own.drop(columns="cost")
    assert summarise(transactions)["value"].to_list() == [220, 10]
    assert summarise(transactions, products)["cost"].to_list() == [42.5, 12.5]
    assert summarise(transactions, products)["value"].to_list() == [207.5, -2.5]
    assert summarise(transactions, products, service)["profit"].to_list() == [207.5, -5.75]
    assert summarise(own, products, service)["value"].to_list() == [220, 6.75]
    assert summarise(bare, None, service)["value"].to_list() == [250, 6.75]
    revenue = summarise(bare, products)
    assert "profit" not in revenue
    assert "cost" not in revenue
    assert revenue["value"].to_list() == revenue["revenue"].to_list() == [250, 10]
    assert customers.has_costs(transactions)
    assert customers.has_costs(bare, None, service)
    assert not customers.has_costs(bare, products)
    assert customers.lines_without_cost(transactions) == 4
    assert customers.lines_without_cost(transactions, products) == 1
    assert customers.lines_without_cost(bare, products) == 0
    assert customers.unassigned_service_cost(transactions, service, as_of=AS_OF) == 1000
    assert customers.unassigned_service_cost(transactions, service[:2], as_of=AS_OF) == 0


@settings(max_examples=15, deadline=None)
@given(logs, logs, st.integers(0, 110), st.sets(st.sampled_from(["cost", "service"])))
def test_values_are_those_of_the_summary(log, served, days, known):
    frame, as_of = as_frame(log), START + dt.timedelta(days=days)
    service = as_frame(served)[["customer_id", "date", "cost"]] if "service" in known else None
    frame = frame if "cost" in known else frame.drop(columns="cost")
    found = customers.values(frame, None, service, as_of=as_of).to_pandas().set_index("customer_id").sort_index()
    expected = summarise(frame, None, service, as_of=as_of)
    pd.testing.assert_frame_equal(found, expected[["value"]], check_exact=True)


def test_values_of_the_sample_company_are_those_of_the_summary(sample):
    data = open_dataset(sample)
    for as_of in (None, dt.date(2024, 6, 30)):
        found, whole = (
            table.select("customer_id", "value").to_pandas().sort_values("customer_id", ignore_index=True)
            for table in (data.values(as_of), data.customers(as_of))
        )
        pd.testing.assert_frame_equal(found, whole, check_exact=True)


def test_nothing_after_the_as_of_date_is_read():
    log = lines(("a", "2024-01-01", 5, 1, "p", 1), ("a", "2024-03-31", 6, 1, "p", 1), ("a", "2024-04-01", 7, 1, "p", 1))
    later = lines(("a", "2024-03-31 23:59", 5), ("b", "2024-04-01 00:00", 1))
    service = pd.DataFrame({"customer_id": ["a", "a"], "date": pd.to_datetime(["2024-03-31", "2024-04-01"]), "cost": 1})
    expected = summarise(log[:2], None, service[:1])
    pd.testing.assert_frame_equal(summarise(log, None, service), expected, check_exact=True)
    assert expected.loc["a", ["purchases", "T", "recency", "value"]].to_list() == [2, 90 / 7, 90 / 7, 8]
    assert summarise(later).index.to_list() == ["a"]
    assert summarise(log, as_of=dt.date(2023, 12, 31)).empty


def test_gaps_are_rounded_up_to_days():
    log = [("a", f"2024-01-{day:02}", 1) for day in (1, 3, 6, 10)]  # gaps of 2, 3 and 4 days
    bought = customers.purchases(lines(*log))
    assert customers.gap_quantiles(bought, 0.0, 0.5, 0.51, 1.0) == [2, 3, 4, 4]
    regular = customers.purchases(lines(*((who, f"2024-01-{day:02}", 1) for who in "abc" for day in range(1, 29, 7))))
    assert customers.gap_quantiles(regular, 0.1, 0.55, 0.8, 0.95) == [7, 7, 7, 7]
    with pytest.raises(Unanswerable, match="bought on two days"):
        customers.gap_quantiles(customers.purchases(lines(("a", "2024-01-01", 1), ("b", "2024-01-02", 1))), 0.8)


def test_no_total_no_shares():
    assert customers.total_value(0.01) == 0.01
    for total, why in ((0.0, r"sum to 0\.00"), (-1234.5, r"sum to −1,234\.50"), (float("nan"), "no customers")):
        with pytest.raises(Unanswerable, match=why):
            customers.total_value(total)


def test_speaks_other_dialects(dialect):
    money = "decimal(18, 6)"
    log = ibis.table(
        {
            "customer_id": "string",
            "date": "date",
            "amount": money,
            "cost": money,
            "quantity": "float64",
            "product_id": "string",
        },
        name="transactions",
    )
    products = ibis.table({"product_id": "string", "unit_cost": money}, name="products")
    service = ibis.table({"customer_id": "string", "date": "date", "cost": money}, name="service_costs")
    tables = (log, products, service)
    for expression in (
        customers.purchases(log),
        customers.summary(*tables, as_of=AS_OF),
        customers.values(*tables, as_of=AS_OF),
    ):
        assert "SELECT" in ibis.to_sql(expression, dialect=dialect)
