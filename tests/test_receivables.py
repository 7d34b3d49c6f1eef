"""What is owed at a date, how old it is and how late it was paid."""

import datetime as dt

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import receivables

AS_OF = dt.date(2025, 6, 30)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.none() | st.integers(-20, 260)), min_size=1, max_size=20))
def test_invoices(bills):
    """Each invoice is as late as the days from due to paid, or to now if it is unpaid."""
    due = [AS_OF - dt.timedelta(days=ago) for ago, _ in bills]
    paid = [day if wait is None else day + dt.timedelta(days=wait) for day, (_, wait) in zip(due, bills, strict=True)]
    paid = [None if wait is None else day for day, (_, wait) in zip(paid, bills, strict=True)]
    frame = pd.DataFrame({"order_id": map(str, range(len(bills))), "customer_id": "a", "amount": 1.0, "due": due})
    frame["paid"] = pd.array(pd.to_datetime(pd.Series(paid)), dtype="datetime64[s]")
    found = receivables.invoices(frame, AS_OF).to_pandas()
    found = found.sort_values("order_id", key=lambda ids: ids.astype(int), ignore_index=True)
    for row, (ago, wait) in zip(found.itertuples(), bills, strict=True):
        unpaid = wait is None or wait > ago
        assert row.open == unpaid
        assert row.days_late == (ago if unpaid else wait)
        limits = [(0, None), (30, "1 to 30 days"), (60, "31 to 60 days"), (90, "61 to 90 days"), (9999, "over 90 days")]
        expected = next(name for limit, name in limits if ago <= limit)
        assert row.age == expected if unpaid and ago else pd.isna(row.age)


def test_without_dates_of_payment_everything_is_open():
    frame = pd.DataFrame({"order_id": ["1"], "customer_id": ["a"], "amount": [5.0], "due": [dt.date(2025, 6, 1)]})
    (row,) = receivables.invoices(frame, AS_OF).to_pandas().itertuples()
    assert (row.open, row.days_late, row.age) == (True, 29, "1 to 30 days")


RATES = [0.0, 0.1, 0.5, 1.0]
BILLS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 3) | st.integers(0, 200),
        st.none() | st.integers(-20, 260),
        st.integers(-500, 900),
        st.sampled_from("xyz"),
    ),
    min_size=1,
    max_size=20,
)


def as_invoices(bills):
    """Invoices of (customer, due so many days ago, paid so many days after that or never, cents, its order)."""
    due = [AS_OF - dt.timedelta(days=ago) for _, ago, *_ in bills]
    paid = [
        None if wait is None else day + dt.timedelta(days=wait)
        for day, (_, _, wait, *_) in zip(due, bills, strict=True)
    ]
    frame = pd.DataFrame(
        {
            "order_id": [who + order for who, *_, order in bills],
            "customer_id": [who for who, *_ in bills],
            "amount": [cents / 100 for *_, cents, _ in bills],
            "due": due,
            "paid": pd.to_datetime(pd.Series(paid, dtype="object")).astype("datetime64[s]"),
        }
    )
    return receivables.invoices(frame, AS_OF)


@settings(max_examples=10, deadline=None)
@given(BILLS, st.integers(0, 60), st.integers(0, 220), st.randoms())
def test_what_customers_owe_and_how_they_pay(bills, late_days, back, random):
    since = AS_OF - dt.timedelta(days=back)
    found = receivables.by_customer(as_invoices(bills), RATES, since=since, late_days=late_days)
    found = found.to_pandas().set_index("customer_id").sort_index()
    for who, row in found.iterrows():
        own = [
            (ago, ago > 0 and (wait is None or wait > ago), ago if wait is None or wait > ago else wait, cents, order)
            for one, ago, wait, cents, order in bills
            if one == who
        ]
        risk = [
            0 if not unpaid else cents * RATES[(ago > 30) + (ago > 60) + (ago > 90)] for ago, unpaid, _, cents, _ in own
        ]
        assert row["owed"] == pytest.approx(sum(cents for _, unpaid, _, cents, _ in own if unpaid) / 100)
        assert row["at_risk"] == pytest.approx(sum(risk) / 100)
        oldest = [ago for ago, unpaid, _, cents, _ in own if unpaid and cents > 0]
        assert row["oldest"] == max(oldest) if oldest else pd.isna(row["oldest"])
        judged = [
            (ago, days, cents, order) for ago, unpaid, days, cents, order in own if cents > 0 and (ago < back or unpaid)
        ]
        number = len({order for *_, order in judged})
        late = len({order for _, days, _, order in judged if days > late_days})
        months = {(AS_OF - dt.timedelta(days=ago)).strftime("%Y-%m") for ago, *_ in judged}
        assert (row["invoices"], row["late"], row["months"]) == (number, late, len(months))
        assert row["bad_payer"] == (len(months) >= 3 and 2 * late >= number)
        assert row["late"] > 0 or max(oldest, default=0) <= late_days  # who owes for long is never said to be on time
        if judged:
            weighed = sum(days * cents for _, days, cents, _ in judged) / sum(cents for _, _, cents, _ in judged)
            assert row["days_late"] == pytest.approx(weighed, abs=1e-6)
        else:
            assert pd.isna(row["days_late"])
    mixed = receivables.by_customer(
        as_invoices(random.sample(bills, len(bills))), RATES, since=since, late_days=late_days
    )
    pd.testing.assert_frame_equal(mixed.to_pandas().set_index("customer_id").sort_index(), found)
    aged = receivables.aged(as_invoices(bills), RATES)
    assert aged["age"].to_list() == [*receivables.AGES]
    assert aged["owed"].sum() == pytest.approx(found["owed"].sum())
    assert aged["at_risk"].sum() == pytest.approx(found["at_risk"].sum())
    for row, low, high in zip(aged.itertuples(), (0, 30, 60, 90), (30, 60, 90, 999), strict=True):
        owing = [bill for bill in bills if low < bill[1] <= high and (bill[2] is None or bill[2] > bill[1])]
        assert row.invoices == len({(who, order) for who, *_, order in owing})


def test_an_invoice_paid_in_parts_is_one():
    """Half of it on time and half of it 60 days late: one late invoice, not one late of two."""
    bills = [("a", 100, 0, 500, "x"), ("a", 100, 60, 500, "x"), ("a", 90, 0, 500, "y")]
    (row,) = receivables.by_customer(as_invoices(bills), since=dt.date(2025, 1, 1)).to_pandas().itertuples()
    assert (row.invoices, row.late, row.days_late) == (2, 1, 20)


def test_what_is_due_today_is_not_overdue():
    bills = [("a", 0, None, 700, "x"), ("a", 1, None, 500, "y")]
    found = receivables.invoices(as_invoices(bills), AS_OF).order_by("order_id").to_pandas()
    assert found["age"].fillna("").to_list() == ["", "1 to 30 days"]
    assert receivables.aged(as_invoices(bills)).loc[0, ["invoices", "owed"]].to_list() == [1, 5.0]
    (row,) = receivables.by_customer(as_invoices(bills), since=AS_OF).to_pandas().itertuples()
    assert (row.owed, row.oldest, row.invoices) == (5, 1, 1)
    since = AS_OF - dt.timedelta(days=12)
    assert receivables.days_overdue(as_invoices(bills), since, AS_OF) == pytest.approx(5 / 12 * 12)


def test_an_old_open_invoice_is_late():
    bills = [("a", 817, None, 9_110_600, "x"), ("a", 20, 0, 500, "y")]
    (row,) = receivables.by_customer(as_invoices(bills), since=dt.date(2025, 1, 1)).to_pandas().itertuples()
    assert (row.owed, row.oldest, row.late, row.invoices) == (91_106, 817, 1, 2)


def test_overdue_in_days_of_sales():
    bills = [("a", 10, None, 3000, "x"), ("a", 20, 1, 6000, "y"), ("b", 300, None, 900, "z")]
    since = AS_OF - dt.timedelta(days=30)
    assert receivables.days_overdue(as_invoices(bills), since, AS_OF) == pytest.approx(39 / 90 * 30)
    assert pd.isna(receivables.days_overdue(as_invoices(bills[2:]), since, AS_OF))


@pytest.mark.parametrize("rates", [[0.1], [0, 0, 0, 2], [0, 0, 0, -1], [0, 0, 0, float("nan")]])
def test_impossible_loss_rates_are_refused(rates):
    with pytest.raises(ValueError, match="loss rate"):
        receivables.aged(as_invoices([("a", 1, None, 1, "x")]), rates)


def test_impossible_days_are_refused():
    with pytest.raises(ValueError, match="at least 0 days"):
        receivables.by_customer(as_invoices([("a", 1, None, 1, "x")]), since=AS_OF, late_days=-1)


def test_finds_the_bad_payers_of_the_sample_company(sample, truth):
    from crm_analysis import open_dataset

    data = open_dataset(sample)
    invoices = receivables.invoices(data.table("payments"), data.as_of)
    owed = receivables.by_customer(invoices, since=dt.date(2023, 12, 31)).to_pandas().set_index("customer_id")
    assert set(owed.index[owed["bad_payer"]]) == set(truth["bad_payers"])  # no false positive
    assert owed.loc[truth["bad_payers"], "owed"].sum() > 0.8 * owed["owed"].sum()


def test_the_sample_owes_what_is_unpaid(sample):
    from crm_analysis import open_dataset

    raw = pd.read_csv(sample.parent / "sample" / "payments.csv", parse_dates=["due", "paid"])
    for as_of in (dt.date(2025, 12, 31), dt.date(2024, 6, 30)):
        data = open_dataset(sample, as_of=as_of)
        table = receivables.invoices(data.table("payments"), data.as_of)
        owed = float(table.filter(table["open"])["amount"].sum().execute())
        day = pd.Timestamp(as_of)
        assert owed == pytest.approx(raw["amount"][(raw["due"] <= day) & ~(raw["paid"] <= day)].sum(), abs=0.01)


def test_speaks_other_dialects(dialect):
    columns = {"order_id": "string", "customer_id": "string", "amount": "decimal(18, 6)", "due": "date", "paid": "date"}
    invoices = receivables.invoices(ibis.table(columns, name="p"), AS_OF)
    for expression in (invoices, receivables.by_customer(invoices, since=AS_OF)):
        assert "CASE" in ibis.to_sql(expression, dialect=dialect)
