"""Reading files and databases as text: every row, its line, and a sentence for what cannot be read."""

from __future__ import annotations

import csv as csvlib
import datetime as dt
import io
import sqlite3
import subprocess
import sys
from decimal import Decimal

import duckdb
import ibis
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_analysis import sources
from crm_analysis.errors import InputError
from crm_analysis.settings import Settings, TableSettings


@pytest.fixture
def load(tmp_path):
    """Return a function that loads `transactions` as the settings of a table say."""

    def load(engine: str | None = None, **table) -> sources.Raw:
        settings = Settings(title="Shop", engine=engine, tables={"transactions": TableSettings(**table)})
        connection = ibis.duckdb.connect()
        connection.raw_sql("SET TimeZone = 'UTC'")
        raw = sources.load_raw(connection, settings, "transactions", tmp_path)
        assert raw.read == raw.table.count().execute()
        return raw

    return load


@pytest.fixture
def csv(tmp_path, load):
    """Return a function that loads a CSV of this content."""

    def csv(content: str | bytes, **table) -> sources.Raw:
        (tmp_path / "a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(path="a.csv", **table)

    return csv


def rows(raw: sources.Raw) -> list[tuple]:
    """Return the rows in their order: line, problem (None: none), values."""
    table = raw.table.order_by("_file", "_line").drop("_file").to_pyarrow().to_pylist()
    return [(row.pop("_line"), row.pop("_problem") or None, *row.values()) for row in table]


def sentence(action, *args, **kwargs) -> str:
    with pytest.raises(InputError) as raised:
        action(*args, **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


class TestCsv:
    def test_lines_are_those_of_the_file(self, csv):
        raw = csv('id,note\n1,"two\nlines"\n\n2,"three\r\nmore\r\nlines"\r\n\r\n3,\n')
        assert rows(raw) == [(2, None, "1", "two\nlines"), (5, None, "2", "three\r\nmore\r\nlines"), (9, None, "3", "")]
        assert raw.files == {"a.csv": ["id", "note"]}

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("last", [True, False])
    def test_line_ends(self, csv, end, last):
        raw = csv(end.join(["id,note", "1,a", "2,b"]) + end * last)
        assert rows(raw) == [(2, None, "1", "a"), (3, None, "2", "b")]

    @pytest.mark.parametrize("delimiter", [";", "\t", "|", "é"])
    def test_delimiters(self, csv, delimiter):
        raw = csv(f'id{delimiter}note\n1{delimiter}"a{delimiter}b, c"\n', delimiter=delimiter)
        assert rows(raw) == [(2, None, "1", f"a{delimiter}b, c")]

    @pytest.mark.parametrize(
        ("encoding", "text"),
        [
            ("utf-8", "Ünal,客户,👩"),
            ("utf-8", "\ufeffÜnal,客户,👩"),
            ("utf-8-sig", "Ünal,客户,👩"),
            ("utf-16", "Ünal,客户,👩"),
            ("utf-16-le", "Ünal,客户,👩"),
            ("utf-16-le", "\ufeffÜnal,客户,👩"),
            ("gb18030", "王,客户,€"),
            ("gb18030", "\ufeff王,客户,€"),
            ("cp1252", "Müller,€,é"),
            ("cp1256", "عميل,é,x"),
        ],
    )
    def test_encodings(self, csv, encoding, text):
        values = text.lstrip("\ufeff")
        raw = csv((text.replace(values, f'"a",b,c\n{values}\n')).encode(encoding), encoding=encoding)
        assert raw.files == {"a.csv": ["a", "b", "c"]}
        assert rows(raw) == [(2, None, *values.split(","))]

    def test_a_wrong_encoding_is_told_with_its_line(self, csv):
        lines = [b"id,name", *(b"%d,Meyer" % i for i in range(5000)), "5000,Müller".encode("cp1252"), b"5001,x"]
        expected = "a.csv, line 5002: not utf-8; set the table's encoding, for example to cp1252"
        assert sentence(csv, b"\n".join(lines)) == expected
        assert sentence(csv, b"id,n\n1,abc", encoding="utf-16").startswith("a.csv, line 1: ")

    def test_utf_16_read_as_utf_8(self, csv):
        found = sentence(csv, "id,name\n1,a".encode("utf-16-le"))
        assert found == "a.csv, line 1: the column names hold NUL characters; set the table's encoding, perhaps utf-16"

    def test_nul_characters_stay(self, csv):
        assert rows(csv("id,note\n1,a\0b\n")) == [(2, None, "1", "a\0b")]

    def test_ragged_rows(self, csv):
        raw = csv("id,date,note\n1,2,3\n1,2\n1,2,3,4,5\n1,2,3,\n  \n,,\n")
        assert rows(raw) == [
            (2, None, "1", "2", "3"),
            (3, "2 fields where the header has 3", "1", "2", ""),
            (4, "5 fields where the header has 3", "1", "2", "3 | 4 | 5"),
            (5, "4 fields where the header has 3", "1", "2", "3 | "),
            (6, "1 fields where the header has 3", "  ", "", ""),
            (7, None, "", "", ""),
        ]

    def test_a_malformed_quotation_rejects_its_own_line_alone(self, csv):
        raw = csv('id,note\n1,"a"b\n2,ok\n3,"opened\n4,ok\n5,"x"\n6,ok\n')
        wrong = """not valid CSV: ',' expected after '"'"""
        assert rows(raw) == [
            (2, wrong, '1,"a"b', ""),
            (3, None, "2", "ok"),
            (4, wrong, '3,"opened', ""),
            (5, None, "4", "ok"),
            (6, None, "5", "x"),
            (7, None, "6", "ok"),
        ]

    def test_a_quotation_that_is_never_closed_rejects_its_own_line_alone(self, csv):
        raw = csv('id,note\n1,ok\n2,"opened\n' + "".join(f"{i},ok\n" for i in range(3, 1003)))
        assert raw.read == 1002
        found = rows(raw)
        assert found[1] == (3, "a quotation mark is opened and never closed", '2,"opened', "")
        assert found[2:] == [(i + 1, None, str(i), "ok") for i in range(3, 1003)]

    def test_many_malformed_lines(self, csv):
        raw = csv("id,note\n" + '1,"a"b\n2,"\n' * 5000)
        assert raw.read == 10_000
        assert {problem is None for _, problem, *_ in rows(raw)} == {False}

    def test_quotation_marks_inside_an_unquoted_field_are_text(self, csv):
        assert rows(csv('id,note\n1,5" pipe\n2,"say ""hi"""\n')) == [
            (2, None, "1", '5" pipe'),
            (3, None, "2", 'say "hi"'),
        ]

    def test_one_column(self, csv):
        assert rows(csv("id\na\n\nb\n")) == [(2, None, "a"), (4, None, "b")]

    def test_a_header_alone(self, csv):
        raw = csv("id,note")
        assert (raw.read, raw.files) == (0, {"a.csv": ["id", "note"]})

    def test_header_names(self, csv):
        assert csv('\n" id ",,Ärger,a"b,group\n1,2,3,4,5\n').files == {
            "a.csv": ["id", "column 2", "Ärger", 'a"b', "group"]
        }

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("", "a.csv, line 1: there are no column names; the first line must hold them"),
            ("\n\n", "a.csv, line 1: there are no column names; the first line must hold them"),
            ("\n , \n1,2", "a.csv, line 2: there are no column names; the first line must hold them"),
            ("id,a,id\n", "a.csv, line 1: the column name 'id' stands there twice; rename one"),
            (
                "Id,id\n",
                "a.csv, line 1: the column name 'id' stands there twice (as 'Id': upper and lower case count as",
            ),
            ("a,b,a\n", "a.csv, line 1: the column name 'a' stands there twice; rename one"),
            ("id,,column 2\n", "a.csv, line 1: the column name 'column 2' stands there twice; rename one"),
            ("id,_LINE\n", "a.csv, line 1: the column name '_LINE' is reserved; rename it"),
            ('id,"a"b\n', """a.csv, line 1: the column names cannot be read: not valid CSV: ',' expected after '"'"""),
            (
                '"id,a\n1,2',
                "a.csv, line 1: the column names cannot be read: a quotation mark is opened and never closed",
            ),
        ],
    )
    def test_headers_that_cannot_be_used(self, csv, content, expected):
        assert sentence(csv, content).startswith(expected)

    def test_very_long_fields_and_many_rows(self, csv):
        raw = csv("id,note\n" + "".join(f"{i},{'x' * (300_000 if i == 7 else 3)}\n" for i in range(5000)))
        assert raw.read == 5000
        assert len(rows(raw)[7][3]) == 300_000
        assert [row[0] for row in rows(raw)] == list(range(2, 5002))

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        table=st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=4), min_size=2, max_size=2), max_size=9),
        delimiter=st.sampled_from(",;\t|"),
        end=st.sampled_from(["\n", "\r\n"]),
    )
    def test_whatever_is_written_is_read(self, csv, table, delimiter, end):
        text = io.StringIO(newline="")
        writer = csvlib.writer(text, delimiter=delimiter, lineterminator=end, quoting=csvlib.QUOTE_ALL)
        writer.writerows([["id", "note"], *table])
        found = rows(csv(text.getvalue(), delimiter=delimiter))
        assert [list(row[2:]) for row in found] == table
        assert [row[1] for row in found] == [None] * len(table)
        assert len({row[0] for row in found}) == len(table)


class TestSeveralFiles:
    def test_columns_in_another_order_and_case_or_missing(self, tmp_path, load):
        (tmp_path / "1.csv").write_text("id,Note\n1,a\n")
        (tmp_path / "2.csv").write_text("note,extra,ID\nb,x,2\n")
        (tmp_path / "3.csv").write_text("id\n3\n")
        raw = load(path="*.csv")
        assert raw.table.drop("_problem").order_by("_file").to_pyarrow().to_pylist() == [
            {"_file": "1.csv", "_line": 2, "id": "1", "Note": "a", "extra": None},
            {"_file": "2.csv", "_line": 2, "id": "2", "Note": "b", "extra": "x"},
            {"_file": "3.csv", "_line": 2, "id": "3", "Note": None, "extra": None},
        ]
        assert raw.files == {"1.csv": ["id", "Note"], "2.csv": ["note", "extra", "ID"], "3.csv": ["id"]}

    def test_very_many_files(self, tmp_path, load):
        for i in range(300):
            (tmp_path / f"{i}.csv").write_text(f"id\n{i}\n")
        assert load(path="*.csv").table["id"].nunique().execute() == 300

    def test_kinds_of_files_may_differ(self, tmp_path, load):
        (tmp_path / "1.csv").write_text("id,amount\n1,2.50\n")
        pq.write_table(pa.table({"id": [2], "amount": [1.25]}), tmp_path / "2.parquet")
        assert rows(load(path=["1.csv", "2.parquet"])) == [(2, None, "1", "2.50"), (1, None, "2", "1.25")]

    def test_one_outside_the_folder_is_named_in_full(self, tmp_path, load, tmp_path_factory):
        other = tmp_path_factory.mktemp("other") / "a.csv"
        other.write_text("id\n1\n")
        assert list(load(path=str(other)).files) == [str(other)]


class TestParquet:
    @pytest.fixture
    def parquet(self, tmp_path, load):
        def parquet(table: pa.Table, **settings) -> list[tuple]:
            pq.write_table(table, tmp_path / "a[1].parquet", row_group_size=1000)
            return rows(load(path="a[1].parquet", **settings))

        return parquet

    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            (pa.array([1, None, -5]), ["1", None, "-5"]),
            (pa.array([1.0, 0.1, 1e15, None]), ["1", "0.1", "1000000000000000", None]),
            (pa.array([1e300, float("nan"), float("inf")]), ["1e+300", None, "inf"]),
            (pa.array([12.1, 3.0], pa.float32()), ["12.1", "3"]),
            (pa.array([Decimal("12.50")]), ["12.50"]),
            (pa.array(["a", None, ""]), ["a", None, ""]),
            (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
            (pa.array(["a"], pa.large_string()), ["a"]),
            (pa.array([True, False]), ["true", "false"]),
            (pa.array([dt.date(1997, 1, 2)]), ["1997-01-02"]),
            (pa.array([dt.datetime(1997, 1, 2, 3, 4, 5)]), ["1997-01-02 03:04:05"]),
            (pa.array([dt.datetime(1997, 1, 2)], pa.timestamp("ns")), ["1997-01-02 00:00:00"]),
            (pa.array([{"x": 1, "y": "é"}]), ["{'x': 1, 'y': é}"]),
            (pa.array([[1, 2], []]), ["[1, 2]", "[]"]),
        ],
    )
    def test_types(self, parquet, column, expected):
        assert [row[2] for row in parquet(pa.table({"x": column}))] == expected

    @pytest.mark.parametrize("zone", ["Europe/Berlin", "+01:00"])
    def test_a_time_with_a_zone_is_what_the_clocks_there_show(self, parquet, zone):
        instant = dt.datetime(1997, 1, 1, 23, 30, tzinfo=dt.UTC)
        assert parquet(pa.table({"x": pa.array([instant], pa.timestamp("us", zone))})) == [
            (1, None, "1997-01-02 00:30:00")
        ]

    def test_numbers_are_written_with_the_tables_decimal_mark(self, parquet):
        table = pa.table({"a": [1.5], "b": [Decimal("2.50")], "c": ["v1.2"]})
        assert parquet(table, decimal=",") == [(1, None, "1,5", "2,50", "v1.2")]

    def test_row_numbers(self, parquet):
        found = parquet(pa.table({"x": range(5000)}))
        assert [(line, value) for line, _, value in found] == [(i + 1, str(i)) for i in range(5000)]

    def test_no_rows(self, load, tmp_path):
        pq.write_table(pa.table({"id": pa.array([], pa.int64())}), tmp_path / "a.parquet")
        assert load(path="a.parquet").files == {"a.parquet": ["id"]}

    def test_errors(self, load, tmp_path):
        (tmp_path / "a.parquet").write_bytes(b"no Parquet")
        assert sentence(load, path="a.parquet").startswith("a.parquet: cannot be read as a Parquet file (")
        pq.write_table(pa.table({"x": [str(i) * 50 for i in range(20_000)]}), tmp_path / "b.parquet")
        content = bytearray((tmp_path / "b.parquet").read_bytes())
        content[1000:5000] = b"\xff" * 4000
        (tmp_path / "b.parquet").write_bytes(content)
        assert sentence(load, path="b.parquet").startswith("b.parquet: cannot be read as a Parquet file (")
        pq.write_table(pa.table({"Id": [1], "id": [2]}), tmp_path / "c.parquet")
        assert sentence(load, path="c.parquet").startswith(
            "c.parquet: the column name 'id' stands there twice (as 'Id'"
        )


class TestExcel:
    @pytest.fixture
    def excel(self, tmp_path, load):
        def excel(cells: list[list], *, sheet: str | None = None, **settings) -> list[tuple]:
            book = openpyxl.Workbook()
            book.active.title = "Notes"
            page = book.create_sheet(sheet) if sheet else book.active
            for row in cells:
                page.append(row)
            book.save(tmp_path / "a.xlsx")
            return rows(load(path="a.xlsx", sheet=sheet, **settings))

        return excel

    def test_values(self, excel):
        cells = [
            ["id", "date", "amount", "note"],
            [1, dt.date(1997, 1, 2), 12.5, True],
            [],
            [2.5, dt.datetime(1997, 1, 2, 3, 4), "1,5", "é"],
        ]
        assert excel(cells) == [
            (2, None, "1", "1997-01-02", "12.5", "true"),
            (4, None, "2.5", "1997-01-02 03:04:00", "1,5", "é"),
        ]

    def test_numbers_are_written_with_the_tables_decimal_mark(self, excel):
        assert excel([["a", "b"], [1.5, "2,5"], [3, 1e-7]], decimal=",") == [
            (2, None, "1,5", "2,5"),
            (3, None, "3", "1e-07"),
        ]

    def test_sheets(self, excel, load):
        assert excel([["id"], ["x"]], sheet="Sales") == [(2, None, "x")]
        found = sentence(load, path="a.xlsx", sheet="sales")
        assert found == "a.xlsx: there is no sheet 'sales'; the sheets are Notes, Sales"
        assert sentence(load, path="a.xlsx").startswith("a.xlsx, line 1: there are no column names")

    def test_a_table_that_begins_elsewhere(self, excel, load):
        cells = [[], [None, "id", "amount"], [None, "x", 1], [None, "y", 2]]
        assert excel(cells) == [(3, None, "", "x", "1"), (4, None, "", "y", "2")]
        assert load(path="a.xlsx").files == {"a.xlsx": ["column 1", "id", "amount"]}

    def test_cells_beside_the_header_are_kept(self, excel):
        assert excel([["id"], ["x", "stray"]]) == [(2, None, "x", "stray")]

    def test_errors(self, excel, load, tmp_path):
        assert sentence(excel, [[], ["id", "Id"]]).startswith("a.xlsx, line 2: the column name 'Id' stands there twice")
        (tmp_path / "b.xlsx").write_bytes(b"no Excel")
        assert sentence(load, path="b.xlsx").startswith("b.xlsx: cannot be read as an Excel file (")
        (tmp_path / "c.xlsx").write_bytes((tmp_path / "a.xlsx").read_bytes()[:2000])
        assert sentence(load, path="c.xlsx").startswith("c.xlsx: cannot be read as an Excel file (")


SCHEMA = """
    CREATE TABLE sales (id INTEGER, day DATE, amount DOUBLE, note TEXT);
    INSERT INTO sales VALUES (1, '1997-01-02', 12.5, 'a'), (2, '1997-01-03', 3.0, NULL);
"""


class TestDatabases:
    @pytest.fixture(params=["duckdb", "sqlite"])
    def engine(self, request, tmp_path):
        """Return the URL of a database with the table `sales`."""
        file = tmp_path / "my shop #1.db"
        connect = duckdb.connect if request.param == "duckdb" else sqlite3.connect
        database = connect(file)
        for statement in SCHEMA.split(";")[:2]:
            database.execute(statement)
        database.commit()
        database.close()
        return f"{request.param}:///{file.name}"

    def test_table_and_sql(self, load, engine, tmp_path):
        expected = [(1, None, "1", "1997-01-02", "12.5", "a"), (2, None, "2", "1997-01-03", "3", "")]
        found = [tuple(value or "" for value in row) for row in rows(load(engine, table="sales"))]
        assert found == [tuple(value or "" for value in row) for row in expected]
        assert list(load(engine, table="sales").files) == ["my shop #1.db: sales"]
        sql = "SELECT id, sum(amount) AS total FROM sales GROUP BY id ORDER BY id DESC; -- all"
        assert rows(load(engine, sql=sql)) == [(1, None, "2", "3"), (2, None, "1", "12.5")]
        absolute = engine.replace(":///", f":///{tmp_path}/")
        assert load(absolute, table="sales").read == 2

    def test_errors(self, load, engine, tmp_path):
        assert sentence(load, engine, table="orders").startswith("my shop #1.db: orders: cannot be read (")
        assert sentence(load, engine, sql="SELEKT 1").startswith("my shop #1.db: sql: cannot be read (")
        assert sentence(load, engine, sql="DELETE FROM sales").startswith("my shop #1.db: sql: cannot be read (")
        assert sentence(load, engine, sql=" -- nothing").startswith("my shop #1.db: sql")
        assert sentence(load, engine + "x", table="sales") == f"there is no file {tmp_path}/my shop #1.dbx"
        (tmp_path / "bad.db").write_bytes(b"no database" * 1000)
        kind = engine.partition(":")[0]
        assert sentence(load, f"{kind}:///bad.db", table="sales").startswith("bad.db: sales: cannot be read (")

    def test_a_query_reads_no_other_file(self, load, engine, tmp_path):
        (tmp_path / "a.csv").write_text("id\n1\n")
        sql = f"SELECT * FROM read_csv('{tmp_path}/a.csv')"
        assert sentence(load, engine, sql=sql).startswith("my shop #1.db: sql: cannot be read (")

    def test_sqlite_keeps_text_in_a_column_of_numbers(self, load, tmp_path):
        with sqlite3.connect(tmp_path / "a.db") as database:
            database.execute("CREATE TABLE sales (id INTEGER, amount REAL)")
            database.executemany("INSERT INTO sales VALUES (?, ?)", [(1, "1,5"), ("x", 0.1 + 0.2), (None, b"z")])
        found = rows(load("sqlite:///a.db", table="sales"))
        assert [row[2:] for row in found] == [("1", "1,5"), ("x", "0.30000000000000004"), ("", "b'z'")]

    def test_sqlite_with_a_log_keeps_its_fingerprint(self, tmp_path, load):
        database = sqlite3.connect(tmp_path / "a.db")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE sales (id)")
        database.execute("INSERT INTO sales VALUES (1)")
        database.commit()
        database.close()
        settings = Settings(title="x", engine="sqlite:///a.db", tables={"transactions": TableSettings(table="sales")})
        before = sources.files_of(settings, tmp_path)
        assert load("sqlite:///a.db", table="sales").read == 1
        assert sources.files_of(settings, tmp_path) == before

    def test_a_database_that_is_being_written(self, load, tmp_path):
        code = "import duckdb, sys; d = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", code, str(tmp_path / "a.duckdb")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"open\n"
            found = sentence(load, "duckdb:///a.duckdb", table="sales")
            writer.stdin.close()
        assert found.startswith("a.duckdb: sales: cannot be read (IO Error: Could not set lock on file")
