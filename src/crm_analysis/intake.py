"""What a clean table is: the schemas, and the only place where raw data is judged.

Raw rows arrive as text with the file and line they came from (`sources`). Each becomes either a
clean, typed row or a quarantined one with its reasons; none disappears.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir


class Column(NamedTuple):
    """One column of a clean table.

    Attributes
    ----------
    kind
        `text`, `date`, `time` (a timestamp), `money` (decimal, six places, so that sums are exact and do
        not depend on the order of rows), `number`, `integer` or `boolean`.
    required
        The column must be there, and a row without a value in it is quarantined.
    allowed
        The values that a text column may take.
    between
        The smallest and the largest value that a number may take.
    """

    kind: str = "text"
    required: bool = False
    allowed: tuple[str, ...] = ()
    between: tuple[int, int] | None = None


KEY = Column(required=True)
TEXT, DATE, TIME, MONEY = Column(), Column("date"), Column("time"), Column("money")
REQUIRED_DATE, REQUIRED_TIME, REQUIRED_MONEY = (c._replace(required=True) for c in (DATE, TIME, MONEY))

SCHEMAS: dict[str, dict[str, Column]] = {
    "transactions": {
        "customer_id": KEY,
        "date": REQUIRED_DATE,
        "amount": REQUIRED_MONEY,
        "order_id": TEXT,
        "product_id": TEXT,
        "quantity": Column("number"),
        "cost": MONEY,
        "list_amount": MONEY,
        "salesperson_id": TEXT,
        "channel": TEXT,
        "promised": DATE,
        "delivered": DATE,
    },
    "customers": {
        "customer_id": KEY,
        "name": TEXT,
        "kind": Column(allowed=("person", "company")),
        "status": Column(allowed=("customer", "target", "prospect", "none")),
        "acquired_via": TEXT,
        "acquisition_cost": MONEY,
        "account_manager_id": TEXT,
        "region": TEXT,
        "birthday": DATE,
    },
    "products": {"product_id": KEY, "name": TEXT, "category": TEXT, "unit_cost": MONEY},
    "contacts": {
        "contact_id": KEY,
        "customer_id": KEY,
        "time": REQUIRED_TIME,
        "purpose": Column(required=True, allowed=("market", "prospecting", "sales", "service")),
        "channel": TEXT,
        "direction": Column(allowed=("in", "out")),
        "agent_id": TEXT,
        "wait_seconds": Column("number"),
        "outcome": TEXT,
        "interest": Column("integer", between=(0, 3)),
    },
    "payments": {
        "order_id": KEY,
        "customer_id": KEY,
        "amount": REQUIRED_MONEY,
        "due": REQUIRED_DATE,
        "paid": DATE,
    },
    "quotes": {
        "quote_id": KEY,
        "customer_id": KEY,
        "product_id": KEY,
        "date": REQUIRED_DATE,
        "unit_price": REQUIRED_MONEY,
        "salesperson_id": TEXT,
    },
    "cases": {
        "case_id": KEY,
        "customer_id": KEY,
        "opened": REQUIRED_TIME,
        "cause": KEY,
        "first_response": TIME,
        "closed": TIME,
        "satisfaction": Column("integer", between=(1, 5)),
        "reopened": Column("boolean"),
    },
    "assignments": {
        "customer_id": KEY,
        "account_manager_id": KEY,
        "start": REQUIRED_DATE,
        "end": DATE,
    },
    "service_costs": {"customer_id": KEY, "date": REQUIRED_DATE, "cost": REQUIRED_MONEY},
}

# Tables with one row per entity: of several rows with one key, one stays and the rest are quarantined.
PRIMARY_KEYS = {
    "customers": "customer_id",
    "products": "product_id",
    "contacts": "contact_id",
    "quotes": "quote_id",
    "cases": "case_id",
}
# The column that places a row in time: nothing after the as-of date is read.
TIME_COLUMNS = {
    "transactions": "date",
    "contacts": "time",
    "payments": "due",
    "quotes": "date",
    "cases": "opened",
    "assignments": "start",
    "service_costs": "date",
}
# What is known only from the date in another column on: before that it is empty.
KNOWN_FROM = {
    "transactions": {"delivered": "delivered"},
    "payments": {"paid": "paid"},
    "cases": {"first_response": "first_response", "closed": "closed", "satisfaction": "closed", "reopened": "closed"},
    "assignments": {"end": "end"},
}
OPEN_TABLES = {"customers"}  # further columns are kept, as text

ORIGIN = ("_file", "_line", "_problem")  # what `sources` adds to each raw row
RESERVED = {*ORIGIN, "_reason", "_record"}
MONEY_TYPE = dt.Decimal(18, 6)
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
ISO_DATE = r"^\d{4}-\d{2}-\d{2}([ T]([01]\d|2[0-3]):\d{2}(:\d{2}(\.\d+)?)?([Zz]| ?[+-]\d{2}(:?\d{2})?)?)?$"
OFFSET = r"\s*([+-]\d{2}(:?\d{2})?|[Zz])$"
NOTHING = ibis.null("string")
YEARS = (1000, 9999)  # "97" where the format says %Y is no date, rather than the year 97


@ibis.udf.scalar.builtin(name="try_strptime", signature=((dt.string, dt.string), dt.timestamp))
def _try_strptime(text, format):  # type: ignore[no-untyped-def]
    """DuckDB's parser that answers NULL where `strptime` fails."""


def judge(
    table: str,
    raw: ir.Table,
    columns: dict[str, str],
    *,
    decimal: str = ".",
    thousands: str = "",
    date_format: str = "",
) -> ir.Table:
    """Say of every raw row what its clean values are and what, if anything, is wrong with it.

    Parameters
    ----------
    table
        The name of a table in `SCHEMAS`.
    raw
        Text columns, and `_file`, `_line` and `_problem` (a row that could not be taken apart).
    columns
        Clean column name to raw column name; columns that are not in `SCHEMAS` stay text.
    decimal, thousands
        The decimal mark and the thousands separator in numbers.
    date_format
        A `strptime` format for dates and times that are not written YYYY-MM-DD.

    Returns
    -------
    ibis.Table
        The clean columns, `_file`, `_line`, `_reason` (empty for a clean row) and `_record` (a rejected row
        as it was read, as JSON; NULL for a clean row).

    Notes
    -----
    A date and time is taken as written: an offset from UTC does not move it to another day. Money is rounded
    to six decimal places.
    """
    values: list[ir.Value] = []
    faults: list[ir.StringValue] = []
    for name, source in columns.items():
        column = SCHEMAS[table].get(name, TEXT)
        text = raw[source].strip().nullif("")
        value = _parse(text, column, decimal, thousands, date_format)
        values.append(value.name(name))
        if column.required:
            faults.append(text.isnull().ifelse(f"{name} is empty", NOTHING))
        shown = ibis.literal(f"{name} '") + text.substr(0, 80)
        wrong = text.notnull() & ~_is_valid(value, column).fill_null(False)
        faults.append(wrong.ifelse(shown + f"' is not {_described(column, decimal, thousands, date_format)}", NOTHING))
    # A row that could not be taken apart has no columns to find fault with.
    reason = ibis.coalesce(raw["_problem"].nullif(""), ibis.literal("; ").join(faults))
    record = ibis.struct({c: raw[c] for c in raw.columns if c not in ORIGIN})
    judged = raw.select(*values, "_file", "_line", _reason=reason, _record=record)
    if key := PRIMARY_KEYS.get(table):
        # The rule does not look at the order of rows: the first of the records in alphabetical order stays.
        rank = ibis.row_number().over(
            group_by=[judged[key], judged["_reason"] == ""], order_by=[judged["_record"], "_file", "_line"]
        )
        repeated = (judged["_reason"] == "") & (rank > 0)
        judged = judged.mutate(_reason=repeated.ifelse(f"{key} is already on another row", judged["_reason"]))
    as_json = judged["_record"].cast("json").cast("string")
    return judged.mutate(_record=(judged["_reason"] != "").ifelse(as_json, NOTHING))


def _parse(text: ir.StringValue, column: Column, decimal: str, thousands: str, date_format: str) -> ir.Value:
    """Turn text into a value of the column's kind; NULL where that is impossible."""
    if column.kind == "text":
        return text.lower() if column.allowed else text
    if column.kind in ("date", "time"):
        stamp = text.re_search(ISO_DATE).ifelse(text.replace("T", " ").substr(0, 19), NOTHING).try_cast("timestamp")
        if date_format:
            # An offset is taken off unread: DuckDB would move the time to UTC.
            plain = text.re_replace(OFFSET, "") if date_format.endswith("%z") else text
            stamp = ibis.coalesce(_try_strptime(plain, date_format.removesuffix("%z").rstrip()), stamp)
        stamp = stamp.year().between(*YEARS).ifelse(stamp, ibis.null("timestamp"))
        return stamp.date() if column.kind == "date" else stamp
    if column.kind == "boolean":
        word = text.lower()
        return ibis.cases(
            (word.isin(["true", "yes", "y", "t", "1"]), True), (word.isin(["false", "no", "n", "f", "0"]), False)
        )
    if thousands:
        text = text.replace("\u00a0", " ").replace("\u202f", " ")
        grouped = rf"^[+-]?(\d{{1,3}}({re.escape(thousands)}\d{{3}})+|\d*)({re.escape(decimal)}\d*)?([eE][+-]?\d+)?$"
        text = text.re_search(grouped).ifelse(text.replace(thousands, ""), NOTHING)
    if decimal != ".":
        text = text.replace(".", "?").replace(decimal, ".")  # "1.234,5" without a thousands key is no number
    number = text.re_search(NUMBER).ifelse(text, NOTHING)
    if column.kind == "money":
        return number.try_cast(MONEY_TYPE)
    value = number.try_cast("float64")
    if column.kind == "integer":
        return (value % 1 == 0).ifelse(value, ibis.null("float64")).try_cast("int64")
    return value.isinf().ifelse(ibis.null("float64"), value)


def _is_valid(value: ir.Value, column: Column) -> ir.BooleanValue:
    if column.allowed:
        return value.isin(column.allowed)
    if column.between:
        return value.between(*column.between)
    return ~value.re_search(r"\x00") if column.kind == "text" else value.notnull()


def _described(column: Column, decimal: str, thousands: str, date_format: str) -> str:
    """Say how a value of the column should be written."""
    if column.allowed:
        return "one of " + ", ".join(column.allowed)
    if column.between:
        return "a whole number from {} to {}".format(*column.between)
    number = f"1{thousands}234{decimal}5"
    return {
        "text": "text without NUL characters",
        "date": f"a date ({date_format or 'YYYY-MM-DD'})",
        "time": f"a time ({date_format or 'YYYY-MM-DD HH:MM'})",
        "money": f"a number below 10^12 written like {number}",
        "number": f"a number written like {number}",
        "integer": "a whole number",
        "boolean": "yes or no",
    }[column.kind]
