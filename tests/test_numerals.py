"""Numbers as readers write them, in the separators of the dataset's locale."""

import datetime as dt

import pandas as pd
import pytest

from crm_analysis import numerals


@pytest.fixture
def locale():
    """Return the function that sets the locale; the usual one is back afterwards."""
    yield numerals.use
    numerals.use("en")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.67777, "share", "67.8%"),
        (-0.142, "share", "−14.2%"),
        (2500315.63, "USD", "USD 2,500,316"),
        (106.08, "USD", "USD 106.08"),
        (-1234.5, "EUR", "−EUR 1,234"),
        (-0.2, "weeks", "−0.2 weeks"),
        (23570, "customers", "23,570"),
        (119, "days", "119 days"),
        (0.63457, "index", "0.635"),
        (0.816, "purchases", "0.816 purchases"),
        (21366.8, "purchases", "21,367 purchases"),
        (None, "share", "–"),
        (float("nan"), "USD", "–"),
        (pd.NaT, "", "–"),
        (-5.7e-14, "EUR", "EUR 0.00"),
        (-0.0001, "share", "0.0%"),
        (True, "", "yes"),
        ("00004", "", "00004"),
        (dt.date(1998, 6, 30), "", "1998-06-30"),
        (pd.Timestamp("1998-06-30"), "", "1998-06-30"),
    ],
)
def test_written(value, unit, text):
    assert numerals.written(value, unit) == text


@pytest.mark.parametrize(
    ("name", "number", "money", "small", "share"),
    [
        ("en", "1,234,567.9", "EUR 1,234,568", "JPY 12", "12.3%"),
        ("de", "1.234.567,9", "EUR 1.234.568", "JPY 12", "12,3%"),
        ("de_CH", "1’234’567.9", "EUR 1’234’568", "JPY 12", "12.3%"),
        ("en_IN", "12,34,567.9", "EUR 12,34,568", "JPY 12", "12.3%"),
        ("fr", "1\u202f234\u202f567,9", "EUR 1\u202f234\u202f568", "JPY 12", "12,3%"),
    ],
)
def test_locales(locale, name, number, money, small, share):
    locale(name)
    assert numerals.number(1234567.89, 1) == number
    assert numerals.written(1234567.89, "EUR") == money
    assert numerals.written(12.3, "JPY") == small
    assert numerals.percent(0.1234, 1) == share


@pytest.mark.parametrize(
    ("value", "currency", "text"),
    [(123.456, "EUR", "EUR 123.46"), (123.456, "JPY", "JPY 123"), (1.5, "KWD", "KWD 1.500"), (-0.4, "JPY", "JPY 0")],
)
def test_a_currency_has_its_own_decimals(value, currency, text):
    assert numerals.written(value, currency) == text


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.683, None, "68%"), (0.004, None, "0.4%"), (0, None, "0%"), (-0.5, None, "−50%"), (0.004, 2, "0.40%")],
)
def test_percent(share, digits, text):
    assert numerals.percent(share, digits) == text


def test_signs():
    assert [numerals.number(x, 1, sign=True) for x in (1, -1, 0, -0.04)] == ["+1.0", "−1.0", "0.0", "0.0"]


@pytest.mark.parametrize(
    ("value", "most", "text"),
    [(0.25, 10, "0.25"), (3.0, 10, "3"), (12345.678, 4, "12,346"), (0.00012, 3, "0.00012"), (0, 3, "0")],
)
def test_plain(value, most, text):
    assert numerals.plain(value, most) == text


@pytest.mark.parametrize("write", [numerals.number, numerals.count, numerals.percent, numerals.plain, numerals.written])
def test_what_is_not_known(write):
    assert {write(value) for value in (float("nan"), None, pd.NA)} == {"–"}
