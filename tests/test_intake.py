"""Judging raw rows: which text is which value, what is said of the rest, and that nothing disappears."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import ibis
import pandas as pd
import pytest

from crm_analysis import intake
from crm_analysis.intake import SCHEMAS

LINE = {"customer_id": "c1", "date": "1997-01-02", "amount": "12.50"}


def judged(table: str, rows: list[dict], **options) -> pd.DataFrame:
    """Judge rows of text whose columns have the table's own names."""
    columns = list(dict.fromkeys(column for row in rows for column in row if column != "_problem"))
    raw = pd.DataFrame(
        [[row.get(column) for column in columns] for row in rows], columns=columns, dtype="string"
    ).assign(_file="sales.csv", _line=range(2, len(rows) + 2), _problem=[row.get("_problem", "") for row in rows])
    found = intake.judge(table, ibis.memtable(raw), {c: c for c in columns}, **options).order_by("_line").to_pandas()
    assert len(found) == len(rows)
    return found


def values(column: str, texts: list[str | None], table: str = "transactions", **options) -> list:
    """Return the clean values of one column; for a rejected row the reason."""
    case = {"customer_id": "c", "opened": "1997-01-01", "cause": "x"}
    rows = [
        {**(LINE if table == "transactions" else {**case, "case_id": str(i)}), column: t} for i, t in enumerate(texts)
    ]
    found = judged(table, rows, **options)
    plain = [None if pd.isna(v) else v for v in found[column]]
    return [reason or clean for clean, reason in zip(plain, found["_reason"], strict=True)]


def test_amounts():
    texts = ["12.5", " 12.50\t", "-0.01", "+7", ".5", "5.", "00012", "1.5e3", "1E-2", "0.1234565", "1e11"]
    amounts = ["12.5", "12.5", "-0.01", "7", "0.5", "5", "12", "1500", "0.01", "0.123457", "100000000000"]
    assert values("amount", texts) == [Decimal(amount) for amount in amounts]
    largest = "999999999999.999999"
    assert values("amount", [largest, f"-{largest}"]) == [Decimal(largest), -Decimal(largest)]


def test_what_is_no_amount_is_quarantined():
    texts = ["1,5", "1.234,50", "1,234.50", "1 234", "1_000", "$5", "5 EUR", "(5)", "5-", "--5", "−5", "0x10", "١٢"]
    texts += ["1e", "e5", "1.2.3", ".", "-", "=1+1", "nan", "NaN", "inf", "-Infinity", "NULL", "1e12", "1e999"]
    expected = [f"amount '{text}' is not a number below 10^12 written like 1234.5" for text in texts]
    assert values("amount", texts) == expected


@pytest.mark.parametrize(
    ("decimal", "thousands", "amounts"),
    [
        (",", "", {"1,5": "1.5", "-1234,5": "-1234.5", "1.234,50": None, "1.234": None}),
        (",", ".", {"1.234,50": "1234.5", "1.234.567": "1234567", ",5": "0.5", "1,5e-3": "0.0015"}),
        (",", ".", {"1.5": None, "12.34": None, "1234.567": None, "1..234": None, "1.234,5,6": None}),
        (".", ",", {"1,234.5": "1234.5", "1234.5": "1234.5", "-12,345": "-12345"}),
        (".", ",", {"1,5": None, "1,2345": None, ",234": None, "1234.5,000": None}),
        (".", " ", {"1 234 567.8": "1234567.8", "1 23": None}),
        (",", " ", {"1\u00a0234,5": "1234.5", "1\u202f234,5": "1234.5"}),
        (".", "'", {"1'234.5": "1234.5"}),
    ],
)
def test_decimal_marks_and_thousands_separators(decimal, thousands, amounts):
    like = f"1{thousands}234{decimal}5"
    expected = [
        Decimal(amount) if amount else f"amount '{text}' is not a number below 10^12 written like {like}"
        for text, amount in amounts.items()
    ]
    assert values("amount", list(amounts), decimal=decimal, thousands=thousands) == expected


def test_quantities_are_finite_numbers():
    assert values("quantity", ["2.5", "-1", "1e300", None]) == [2.5, -1, 1e300, None]
    texts = ["1e999", "-1e999", "inf", "nan", "two"]
    assert values("quantity", texts) == [f"quantity '{text}' is not a number written like 1234.5" for text in texts]


def test_whole_numbers_within_bounds():
    assert values("satisfaction", ["5", "1.0", "1e0", None], "cases") == [5, 1, 1, None]
    texts = ["0", "6", "2.5", "1e300", "-1e300", "five"]
    expected = [f"satisfaction '{text}' is not a whole number from 1 to 5" for text in texts]
    assert values("satisfaction", texts, "cases") == expected


def test_yes_and_no():
    found = values("reopened", ["yes", "T", "1", "No", "FALSE", None, "perhaps"], "cases")
    assert found == [True, True, True, False, False, None, "reopened 'perhaps' is not yes or no"]


def dates(texts: list[str], **options) -> list[str]:
    """Return dates as text, or the reasons why there are none."""
    found = values("date", texts, **options)
    return [reason if isinstance(reason, str) else str(pd.Timestamp(reason).date()) for reason in found]


def test_dates_are_taken_as_written():
    texts = ["1997-02-28", " 1997-02-28 ", "1997-02-28T23:59:59.999", "1997-02-28 00:30+02:00", "1997-02-28T00:00Z"]
    texts += ["1997-02-28T23:30:00-0800", "1997-02-28 23:30:00 +02"]
    assert dates(texts) == ["1997-02-28"] * len(texts)
    assert dates(["2000-02-29", "9999-12-31", "2098-01-01"]) == ["2000-02-29", "9999-12-31", "2098-01-01"]


def test_what_is_no_date_is_quarantined():
    texts = ["1997-02-30", "1900-02-29", "1997-13-01", "1997-1-1", "19970101", "01.02.1997", "01/02/1997"]
    texts += ["1997-01-01 24:00", "1997-01-01 10:60", "0000-01-01", "0097-01-01", "10000-01-01", "infinity", "35000"]
    assert dates(texts) == [f"date '{text}' is not a date (YYYY-MM-DD)" for text in texts]


def test_times_are_taken_as_written():
    texts = ["1997-02-28 23:30:15.9", "1997-02-28T23:30:15+02:00", "1997-02-28T23:30:15Z", "1997-02-28", "28.2.97"]
    evening = dt.datetime(1997, 2, 28, 23, 30, 15)
    reason = "closed '28.2.97' is not a time (YYYY-MM-DD HH:MM)"
    assert values("closed", texts, "cases") == [evening] * 3 + [dt.datetime(1997, 2, 28), reason]


@pytest.mark.parametrize(
    ("date_format", "good", "bad"),
    [
        ("%d.%m.%Y", ["3.2.1997", "03.02.1997", "1997-02-03"], ["30.02.1997", "03.02.97", "03.02.1997 10:00"]),
        ("%d.%m.%y", ["03.02.97"], ["03.02.1997"]),
        ("%m/%d/%Y", ["02/03/1997"], ["13/03/1997"]),
        ("%Y%m%d", ["19970203"], ["19970230"]),
        ("%d.%m.%Y %H:%M %z", ["03.02.1997 00:30 +0200"], ["03.02.1997 24:30 +0200"]),
        ("%d.%m.%Y %H:%M%z", ["03.02.1997 23:30-08:00", "03.02.1997 23:30Z"], ["03.02.1997"]),
    ],
)
def test_a_date_format_and_iso_dates_beside_it(date_format, good, bad):
    assert dates(good, date_format=date_format) == ["1997-02-03"] * len(good)
    assert dates(bad, date_format=date_format) == [f"date '{text}' is not a date ({date_format})" for text in bad]


def test_ids_are_any_text():
    texts = [
        "<script>alert(1)</script>",
        "O'Brien",
        'a"b',
        "=cmd()",
        "👩‍🚀",
        "عميل",
        "客户",
        "x" * 10_000,
        "nan",
        "NULL",
    ]
    assert values("customer_id", texts) == texts


def test_text_is_stripped_and_nothing_is_empty():
    found = values("customer_id", [" \t c 1\n", "a\nb", " \t ", None, "a\0b"])
    empty, nul = "customer_id is empty", "customer_id 'a\0b' is not text without NUL characters"
    assert found == ["c 1", "a\nb", empty, empty, nul]
    assert values("channel", ["  ", "web"]) == [None, "web"]


def test_words_of_a_list_may_be_in_capitals():
    rows = [{"customer_id": f"{i}", "kind": kind} for i, kind in enumerate(["Person", "company", None, "robot"])]
    found = judged("customers", rows)
    assert found["kind"][:2].tolist() == ["person", "company"]
    assert found["_reason"].tolist() == ["", "", "", "kind 'robot' is not one of person, company"]


def test_every_fault_of_a_row_is_said_and_the_row_is_kept_as_it_was():
    row = {"customer_id": "", "date": "soon", "amount": "much", "note": 'say "hi"'}
    found = judged("transactions", [row, {**LINE, "note": "x"}])
    assert found["_reason"].tolist() == [
        "customer_id is empty; date 'soon' is not a date (YYYY-MM-DD);"
        " amount 'much' is not a number below 10^12 written like 1234.5",
        "",
    ]
    assert json.loads(found["_record"][0]) == row
    assert pd.isna(found["_record"][1])


def test_a_long_value_is_shortened():
    assert values("amount", ["x" * 500])[0].startswith("amount '" + "x" * 80 + "' is not")


def test_of_a_row_that_could_not_be_taken_apart_only_that_is_said():
    found = judged("transactions", [{"customer_id": "c1", "_problem": "1 fields where the header has 3"}, LINE])
    assert found["_reason"].tolist() == ["1 fields where the header has 3", ""]


def test_many_columns_make_no_slow_query():
    wide = {"customer_id": "1", **{f"attribute {i}": "x" for i in range(200)}}
    assert judged("customers", [wide, {**wide, "customer_id": "2"}])["_reason"].tolist() == ["", ""]


@pytest.mark.parametrize("table", intake.PRIMARY_KEYS)
def test_of_rows_with_one_key_the_same_stays_in_any_order(table):
    required = {
        name: "1997-01-01" if column.kind in ("date", "time") else column.allowed[0] if column.allowed else "1"
        for name, column in SCHEMAS[table].items()
        if column.required
    }
    key = intake.PRIMARY_KEYS[table]
    rows = [
        {**required, key: id, "name": name}
        for id, name in [("a", "Z"), ("a", "B"), (" a ", "A"), ("b", "C"), ("a", "B")]
    ]
    for order in (rows, rows[::-1], rows[2:] + rows[:2]):
        found = judged(table, order)
        clean = found[found["_reason"] == ""]
        assert sorted(zip(clean[key], clean["name"], strict=True)) == [("a", "A"), ("b", "C")]
        assert set(found["_reason"]) == {"", f"{key} is already on another row"}


def test_a_rejected_row_does_not_push_out_a_good_one():
    rows = [{"product_id": "a", "unit_cost": "?"}, {"product_id": "a", "unit_cost": "2"}]
    found = judged("products", rows)
    assert found["_reason"][1] == ""
    assert found["_reason"][0].startswith("unit_cost '?' is not a number")


def test_time_columns_are_required_dates_of_their_table():
    for table, column in intake.TIME_COLUMNS.items():
        assert SCHEMAS[table][column].required
        assert SCHEMAS[table][column].kind in ("date", "time")
    for table, known in intake.KNOWN_FROM.items():
        assert {*known, *known.values()} <= set(SCHEMAS[table])
