"""A dataset's description: what it accepts, and where its errors point."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from crm_analysis.errors import InputError
from crm_analysis.intake import SCHEMAS
from crm_analysis.settings import Settings, TableSettings, line_of, read_settings

SMALLEST = 'title = "Shop"\n[tables.transactions]\npath = "sales.csv"\n'


@pytest.fixture
def read(tmp_path):
    """Return a function that writes a TOML and reads it."""

    def read(text: str | bytes) -> Settings:
        (tmp_path / "shop.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_settings(tmp_path / "shop.toml")

    return read


@pytest.fixture
def error(read, tmp_path):
    """Return a function that reads a TOML with an error and returns the sentence, without the folder."""

    def error(text: str | bytes) -> str:
        with pytest.raises(InputError) as raised:
            read(text)
        assert "\n" not in str(raised.value)
        return str(raised.value).replace(f"{tmp_path}/", "")

    return error


def test_defaults(read):
    settings = read(SMALLEST)
    assert (settings.title, settings.currency, settings.as_of, settings.cell_timeout) == ("Shop", "", None, 600)
    assert settings.tables == {"transactions": TableSettings(path="sales.csv")}
    table = settings.tables["transactions"]
    assert (table.delimiter, table.encoding, table.decimal, table.thousands) == (",", "utf-8", ".", "")


@pytest.mark.parametrize("written", ["1998-06-30", '"1998-06-30"'])
def test_as_of_is_a_date_or_its_iso_text(read, written):
    assert read(f"as_of = {written}\n{SMALLEST}").as_of == dt.date(1998, 6, 30)


def test_byte_order_mark_and_windows_lines_are_read(read, error):
    assert read(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode()).title == "Shop"
    assert error(b'title = "Shop"\r\nnote = 5\r\n[tables.transactions]\r\npath = "x"').startswith(
        "shop.toml, line 2: note:"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'titel = "x"\n' + SMALLEST,
            ", line 1: titel: there is no such key; the keys are title, note, currency, locale, as_of",
        ),
        ('title = "x"\n[table.transactions]', ", line 2: table: there is no such key; the keys are title, note"),
        ('[tables.transactions]\npath = "x"', ": title: it is missing"),
        ('title = ""\n[tables.transactions]', ", line 1: title: it is '', but should have at least 1 character"),
        ("title = 5\n[tables.transactions]", ", line 1: title: it is 5, but should be a valid string"),
        ('title = "x"', ": tables: it is missing"),
        ('title = "x"\ntables = 5', ", line 2: tables: it is 5, but should be a valid TOML table"),
        (
            'title = "x"\n[tables.products]\npath = "p"',
            ", line 2: tables.transactions: it is missing; it is the one table",
        ),
        (
            SMALLEST + "[parameters]\npareto = 5",
            ", line 5: parameters.pareto: it is 5, but should be a valid TOML table",
        ),
        (
            'engine = "mysql://x"\n' + SMALLEST,
            ", line 1: engine: it is 'mysql://x', but should look like 'duckdb:///shop.d",
        ),
        ('currency = "euro"\n' + SMALLEST, ", line 1: currency: it is 'euro', but should look like 'EUR'"),
        ('cell_timeout = "600"\n' + SMALLEST, ", line 1: cell_timeout: it is '600', but should be a valid integer"),
        ("cell_timeout = 0\n" + SMALLEST, ", line 1: cell_timeout: it is 0, but should be greater than 0"),
        ('as_of = "30.06.1998"\n' + SMALLEST, ", line 1: as_of: '30.06.1998' is not a date (YYYY-MM-DD)"),
        ("as_of = 1998\n" + SMALLEST, ", line 1: as_of: it is 1998, but should be a valid date"),
        ("a = 1\nb c = 2\n", ", line 2: not valid TOML: Expected '=' after a key"),
        ("a = 1\na = 2", ", line 2: not valid TOML: Cannot overwrite a value"),
        ('a = 1\n\nnote = """\nnever\nclosed\n', ", line 3: not valid TOML: Unterminated string"),
        ('a = 1\n# é\nb = "é"'.encode("cp1252"), ", line 2: not UTF-8; save the file in that encoding"),
    ],
)
def test_each_error_names_file_line_and_key(error, text, sentence):
    assert error(text).startswith(f"shop.toml{sentence}")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ('transactions = "x.csv"', "transactions: it is 'x.csv', but should be a valid TOML table"),
        ("transactions = {}", "transactions: give exactly one of path, table and sql"),
        ('transactions = {path = "x", sql = "SELECT 1"}', "transactions: give exactly one of path, table and sql"),
        ("transactions.path = 5", "transactions.path: it is 5, but should be a valid string"),
        ('transactions.path = ["a", 5]', "transactions.path: it is ['a', 5], but should be a valid string"),
        (
            'transactions.table = "t"',
            'transactions: it reads a database, so the top level needs engine = "duckdb:///…"',
        ),
        ('clients.path = "x"', f"clients: there is no such table; the tables are {', '.join(SCHEMAS)}"),
    ],
)
def test_errors_of_a_table(error, table, sentence):
    rest = "" if "transactions" in table else "\ntransactions.path = 'x'"
    assert error(f'title = "x"\n[tables]\n{table}{rest}') == f"shop.toml, line 3: tables.{sentence}"


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ('colums = {a = "b"}', "colums: there is no such key; the keys are path, table, sql, format, sheet, delimiter"),
        ("columns = 5", "columns: it is 5, but should be a valid TOML table"),
        ("columns.cost = 5", "columns.cost: it is 5, but should be a valid string"),
        ('columns."kunden nr" = "x"', "columns.kunden nr: there is no such column; the columns are customer_id, date"),
        ('decimal = ";"', "decimal: it is ';', but should be '.' or ','"),
        ('delimiter = "||"', "delimiter: it is '||', but should look like ';'"),
        ("delimiter = '\"'", "delimiter: it is '\"', but should look like ';'"),
        ('encoding = "latin9000"', "encoding: 'latin9000' is no text encoding that Python knows, such as cp1252"),
        ('encoding = "base64"', "encoding: 'base64' is no text encoding that Python knows"),
        ('date_format = "DD.MM.YYYY"', "date_format: 'DD.MM.YYYY' does not tell day, month and year, as %d.%m.%Y or"),
        ('date_format = "%d.%m."', "date_format: '%d.%m.' does not tell day, month and year"),
        ('date_format = "%Q"', "date_format: '%Q' does not tell day, month and year"),
        ('date_format = "%z %d.%m.%Y"', "date_format: '%z %d.%m.%Y' does not tell day, month and year"),
    ],
)
def test_errors_of_a_setting(error, setting, sentence):
    assert error(SMALLEST + setting).startswith(f"shop.toml, line 4: tables.transactions.{sentence}")


def test_decimal_mark_and_thousands_separator_differ(error):
    found = error(SMALLEST + 'decimal = ","\nthousands = ","')
    assert found == "shop.toml, line 2: tables.transactions: decimal and thousands must differ"


def test_unreadable_files(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/none.toml: there is no such file")):
        read_settings(tmp_path / "none.toml")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: cannot be read (Is a directory)")):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ('Name = "a"', "line 7: tables.customers.columns.Name: the name 'name' is taken; choose another one"),
        ('VIP = "a"\nvip = "b"', "line 7: tables.customers.columns.VIP: the name 'vip' is taken; choose another one"),
        ('_File = "a"', "line 7: tables.customers.columns._File: the name '_file' is taken; choose another one"),
    ],
)
def test_attributes_need_a_name_of_their_own(error, columns, sentence):
    text = SMALLEST + f'[tables.customers]\npath = "c.csv"\n[tables.customers.columns]\n{columns}'
    assert error(text) == f"shop.toml, {sentence}"


@pytest.mark.parametrize("given", ["%d.%m.%Y", "%m/%d/%y", "%Y%m%d", "%d %b %Y %H:%M", "%d.%m.%Y %H:%M %z", "%Y-%j"])
def test_date_formats_that_tell_the_date(read, given):
    assert read(SMALLEST + f'date_format = "{given}"').tables["transactions"].date_format == given


TRICKY = '''# title = "a comment"
title = "x"   # tables = "no"
note = """
as_of = 1998-01-01
[tables.transactions]
"""
[tables.transactions]
path = [
  "a.csv",
  ["b"],
]
columns = {date = "Day", "order_id" = "Order = no"}

[ tables . "customers" ]
  'path' = "c.csv"
columns."first.name" = "First"
columns.'second' = "Second"
[[parameters]]
'''


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["title"], 2),
        (["note"], 3),
        (["as_of"], None),
        (["tables"], 7),
        (["tables", "transactions"], 7),
        (["tables", "transactions", "path"], 8),
        (["tables", "transactions", "path", "1"], 8),
        (["tables", "transactions", "columns", "order_id"], 12),
        (["tables", "transactions", "sheet"], 7),
        (["tables", "customers"], 14),
        (["tables", "customers", "path"], 15),
        (["tables", "customers", "columns", "first.name"], 16),
        (["tables", "customers", "columns", "second"], 17),
        (["parameters"], 18),
        ([], None),
    ],
)
def test_line_of(keys, line):
    assert line_of(TRICKY, keys) == line


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "sub").mkdir()
        for name in ("a.csv", "b.csv", "sales[1].csv", "~$b.csv", ".c.csv", "sub/d.csv"):
            (tmp_path / name).write_text("x")
        (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
        return tmp_path

    @pytest.mark.parametrize(
        ("path", "names"),
        [
            ("a.csv", ["a.csv"]),
            ("[ab].csv", ["a.csv", "b.csv"]),
            ("*.csv", ["a.csv", "b.csv", "sales[1].csv"]),
            ("sales[1].csv", ["sales[1].csv"]),
            (["b.csv", "*.csv"], ["b.csv", "a.csv", "sales[1].csv"]),
            (["a.csv", "sub/../a.csv", "link.csv"], ["a.csv"]),
            ("**/*.csv", ["a.csv", "b.csv", "sales[1].csv", "sub/d.csv"]),
        ],
    )
    def test_each_once(self, folder, path, names):
        assert [str(f.relative_to(folder)) for f in TableSettings(path=path).files(folder)] == names

    def test_absolute(self, folder):
        assert TableSettings(path=f"{folder}/b.csv").files(folder / "sub") == [folder / "b.csv"]
        assert TableSettings(path=f"{folder}/[ab].csv").files(folder / "sub") == [folder / "a.csv", folder / "b.csv"]

    @pytest.mark.parametrize(
        ("path", "sentence"),
        [
            ("no*.csv", "no file matches 'no*.csv' in "),
            ("sub", "'sub' is a folder; name the files in it, for example 'sub/*.csv'"),
            (["a.csv", "none.csv"], "no file matches 'none.csv' in "),
            ([], "the list names no file"),
            ("a**.csv", "'a**.csv' is not a usable path"),
            ("", "'' is a folder"),
        ],
    )
    def test_errors(self, folder, path, sentence):
        with pytest.raises(InputError) as raised:
            TableSettings(path=path).files(folder)
        assert str(raised.value).startswith(sentence)

    def test_formats(self, folder):
        table = TableSettings(path="x")
        formats = [table.format_of(folder / f"x.{suffix}") for suffix in ("CSV", "tsv", "parquet", "xlsx", "ods")]
        assert formats == ["csv", "csv", "parquet", "excel", "excel"]
        with pytest.raises(
            InputError, match=r"sales.dat: its name does not tell what it is; give the format: csv, par"
        ):
            table.format_of(folder / "sales.dat")
