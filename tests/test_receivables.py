"""What is owed at a date, how old it is and how late it was paid."""

import datetime as dt

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import receivables

AS_OF = dt.date(2025, 6, 30)


@settings(max_examples=25, deadline=None)
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
        limits = [(30, "up to 30 days"), (60, "31 to 60 days"), (90, "61 to 90 days"), (9999, "over 90 days")]
        expected = next(name for limit, name in limits if ago <= limit)
        assert row.age == expected if unpaid else pd.isna(row.age)


def test_without_dates_of_payment_everything_is_open():
    frame = pd.DataFrame({"order_id": ["1"], "customer_id": ["a"], "amount": [5.0], "due": [dt.date(2025, 6, 1)]})
    (row,) = receivables.invoices(frame, AS_OF).to_pandas().itertuples()
    assert (row.open, row.days_late, row.age) == (True, 29, "up to 30 days")


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
    assert "CASE" in ibis.to_sql(receivables.invoices(ibis.table(columns, name="p"), AS_OF), dialect=dialect)
