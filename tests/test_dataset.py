"""A dataset opened: no row is lost, order changes nothing, nothing after the as-of date is read, one cache a state."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import ibis
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_analysis import dataset as module
from crm_analysis import open_dataset
from crm_analysis.errors import InputError, Unanswerable

SALES = "customer_id,date,amount\na,1997-01-01,10\nb,1997-01-05,2.50\na,1997-03-01,-3\n"


def sentence(*args, **kwargs) -> str:
    """Return the one sentence with which a dataset cannot be opened."""
    with pytest.raises(InputError) as raised:
        open_dataset(*args, **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def cache_files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".cache").iterdir())


def counts(data, table: str = "transactions") -> list[int]:
    """Return how many rows were read, are clean, are quarantined, and are repetitions."""
    return data.quality.set_index("table").loc[table].tolist()


class TestOpening:
    def test_the_smallest(self, write_dataset):
        data = open_dataset(write_dataset(SALES))
        assert (data.name, data.title, data.currency, data.value_name) == ("shop", "Shop", "", "revenue")
        assert data.as_of == dt.date(1997, 3, 1)
        assert data.period == (dt.date(1997, 1, 1), dt.date(1997, 3, 1))
        assert data.quality.to_dict("records") == [
            {"table": "transactions", "read": 3, "clean": 3, "quarantined": 0, "duplicates": 0}
        ]
        assert data.table("transactions").schema() == ibis.schema(
            {"customer_id": "string", "date": "date", "amount": "decimal(18, 6)"}
        )
        assert data.warnings() == []
        assert (
            repr(data) == "<Dataset Shop: transactions 3 rows; transactions from 1997-01-01 to 1997-03-01,"
            " as of 1997-03-01; value is revenue>"
        )

    def test_cdnow(self, cdnow, tmp_path):
        (tmp_path / "cdnow.toml").write_bytes(cdnow.read_bytes())
        (tmp_path / "cdnow.csv").symlink_to(cdnow.with_suffix(".csv"))
        data = open_dataset(tmp_path / "cdnow.toml")
        assert counts(data) == [69_659, 69_659, 0, 255]
        assert data.period == (dt.date(1997, 1, 1), dt.date(1998, 6, 30))
        sums = data.table("transactions").aggregate(a=lambda t: t["amount"].sum(), q=lambda t: t["quantity"].sum())
        assert sums.to_pyarrow().to_pylist() == [{"a": Decimal("2500315.63"), "q": 167_881}]
        assert data.warnings() == []

    @pytest.mark.parametrize("name", ["my shop", "shop [1]", "магазин", "shop*", "a.b", "it's"])
    def test_names_of_the_toml(self, write_dataset, name):
        path = write_dataset(SALES, name=name)
        assert open_dataset(path).name == name
        assert open_dataset(write_dataset(SALES, 'encoding = "cp1252"', name=name)).name == name
        assert len(cache_files(path.parent)) == 1

    def test_columns_under_other_names(self, write_dataset):
        text = 'Kunde;"Buchungs Tag";Betrag;Cost\na;31.12.1997;"1.234,50";"2,5"\nb;1997-12-30;5;\n'
        data = open_dataset(
            write_dataset(
                text,
                'delimiter = ";"\ndecimal = ","\nthousands = "."\ndate_format = "%d.%m.%Y"\n'
                'columns = {customer_id = "Kunde", date = "Buchungs Tag", amount = "BETRAG"}',
            )
        )
        assert data.table("transactions").order_by("date").to_pyarrow().to_pylist() == [
            {"customer_id": "b", "date": dt.date(1997, 12, 30), "amount": Decimal(5), "cost": None},
            {"customer_id": "a", "date": dt.date(1997, 12, 31), "amount": Decimal("1234.5"), "cost": Decimal("2.5")},
        ]
        assert data.value_name == "profit"
        assert data.warnings() == ["1 transaction rows have no cost; profit counts their cost as 0."]

    def test_a_table_or_column_that_is_not_there(self, write_dataset):
        data = open_dataset(write_dataset(SALES))
        assert data.has("transactions", "amount")
        assert not data.has("transactions", "cost")
        assert not data.has("quotes")
        with pytest.raises(
            Unanswerable, match=r"^This needs the table 'quotes', which shop\.toml does not describe\.$"
        ):
            data.table("quotes")
        data.require("transactions", "transactions.amount")
        with pytest.raises(
            Unanswerable,
            match=r"^This needs the column 'cost' of the table 'transactions' and the table 'cases', which shop\.toml",
        ):
            data.require("transactions.date", "transactions.cost", "cases.cause", "cases.closed")


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "sales.csv, line 1: there are no column names; the first line must hold them"),
            ("customer_id,date,amount\n", "there are no rows in sales.csv"),
            (
                "customer_id,date,amount\n\na,soon,1\nb,late,2\n",
                "none of 2 rows can be used; the first: sales.csv, line 3: date 'soon' is not a date (YYYY-MM-DD)",
            ),
            (
                "customer,date,amount\na,1997-01-01,1\n",
                "sales.csv: there is no column 'customer_id'; the columns are customer, date, amount;"
                " say which of them is the customer_id in [tables.transactions.columns]",
            ),
            (
                "customer_id;date;amount\na;1997-01-01;1\n",
                "sales.csv: there is no column 'customer_id'; the columns are customer_id;date;amount;"
                " if these are several, set the delimiter that is between them",
            ),
            (
                "customer_id,date,amount\na,1997-01-01,\xe9\n".encode("cp1252"),
                "sales.csv, line 2: not utf-8; set the table's encoding, for example to cp1252",
            ),
        ],
    )
    def test_each_names_its_place(self, write_dataset, text, expected):
        path = write_dataset(text)
        assert sentence(path) == f"{path}, line 3: tables.transactions: {expected}"
        assert cache_files(path.parent) == []

    def test_a_column_that_is_not_in_the_file(self, write_dataset):
        path = write_dataset(SALES, '[tables.transactions.columns]\n# cost = "Kosten"\ncost = "Costs"')
        expected = "there is no column 'Costs'; the columns are customer_id, date, amount"
        assert sentence(path) == f"{path}, line 7: tables.transactions.columns.cost: {expected}"

    def test_a_byte_that_is_wrong_far_down(self, write_dataset):
        lines = [b"customer_id,date,amount", *[b"a,1997-01-01,1"] * 300_000, b"\xff"]
        path = write_dataset(b"\n".join(lines))
        assert sentence(path).endswith(
            "sales.csv, line 300002: not utf-8; set the table's encoding, for example to cp1252"
        )

    def test_files(self, write_dataset, tmp_path):
        path = write_dataset(SALES)
        path.write_text(path.read_text().replace("sales.csv", "sale*.txt"))
        expected = f"{path}, line 4: tables.transactions.path: no file matches 'sale*.txt' in {tmp_path}"
        assert sentence(path) == expected
        path = write_dataset(SALES, top='engine = "duckdb:///none.db"')
        assert sentence(path) == f"{path}, line 2: engine: there is no file {tmp_path}/none.db"

    def test_a_file_without_a_required_column_among_others(self, write_dataset, tmp_path):
        path = write_dataset(SALES)
        path.write_text(path.read_text().replace("sales.csv", "sales*.csv"))
        (tmp_path / "sales2.csv").write_text("amount,customer_id\n1,a\n")
        assert sentence(path) == (
            f"{path}, line 3: tables.transactions: sales2.csv: there is no column 'date';"
            " the columns are amount, customer_id; say which of them is the date in [tables.transactions.columns]"
        )

    def test_a_file_without_an_optional_column_among_others(self, write_dataset, tmp_path):
        path = write_dataset(SALES, 'columns = {channel = "Weg"}')
        path.write_text(path.read_text().replace("sales.csv", "sales*.csv"))
        (tmp_path / "sales2.csv").write_text("weg,AMOUNT,date,customer_id\nweb,1,1997-01-01,a\n")
        data = open_dataset(path)
        assert counts(data) == [4, 4, 0, 0]
        assert sorted(data.table("transactions")["channel"].to_pyarrow().to_pylist(), key=str) == [
            None,
            None,
            None,
            "web",
        ]

    def test_an_unreadable_file(self, write_dataset, monkeypatch):
        path = write_dataset(SALES)

        opened = Path.open

        def denied(file, *args, **kwargs):
            if file.name == "sales.csv":
                raise PermissionError(13, "Permission denied", str(file))
            return opened(file, *args, **kwargs)

        monkeypatch.setattr(Path, "open", denied)
        expected = f"{path}: {path.parent}/sales.csv: cannot be read (Permission denied)"
        assert sentence(path) == expected
        monkeypatch.setattr(module.sources, "digest", lambda file: "")
        assert sentence(path) == f"{path}, line 3: tables.transactions: sales.csv: cannot be read (Permission denied)"

    def test_no_such_toml(self, tmp_path):
        assert sentence(tmp_path / "none.toml") == f"{tmp_path}/none.toml: there is no such file"
        assert sentence(tmp_path) == f"{tmp_path}: cannot be read (Is a directory)"


TABLES = {
    "payments": "order_id,customer_id,amount,due,paid\n1,a,1,1997-01-01,1997-01-05\n2,a,1,1997-01-02,1997-02-02\n"
    "3,a,1,1997-02-01,1997-01-04\n",
    "cases": "case_id,customer_id,opened,cause,first_response,closed,satisfaction,reopened\n"
    "1,a,1997-01-10 23:59,x,1997-01-11 10:00,1997-01-12,5,no\n2,a,1997-01-03,x,1997-01-03,1997-01-10 12:00,1,yes\n",
    "assignments": "customer_id,account_manager_id,start,end\na,m,1997-01-01,1997-02-01\nb,m,1997-01-11,\n",
    "contacts": "contact_id,customer_id,time,purpose\n1,a,1997-01-10 23:59:59,sales\n2,a,1997-01-11 00:00:00,sales\n",
    "quotes": "quote_id,customer_id,product_id,date,unit_price\n1,a,p,1997-01-10,1\n2,a,p,1997-01-11,1\n",
    "service_costs": "customer_id,date,cost\na,1997-01-10,1\na,1997-01-11,1\n",
}


class TestAsOf:
    @pytest.fixture
    def path(self, write_dataset, tmp_path):
        for name, text in TABLES.items():
            (tmp_path / f"{name}.csv").write_text(text)
        return write_dataset(SALES, "\n".join(f'[tables.{name}]\npath = "{name}.csv"' for name in TABLES))

    def test_nothing_after_it_is_read(self, path):
        data = open_dataset(path, as_of="1997-01-10")
        read = {name: data.table(name).count().execute() for name in data.settings.tables}
        assert read == {
            "transactions": 2,
            "payments": 2,
            "cases": 2,
            "assignments": 1,
            "contacts": 1,
            "quotes": 1,
            "service_costs": 1,
        }
        customers = data.customers().order_by("customer_id").select("customer_id", "revenue", "cost")
        assert customers.to_pyarrow().to_pylist() == [
            {"customer_id": "a", "revenue": 10.0, "cost": 1.0},
            {"customer_id": "b", "revenue": 2.5, "cost": 0.0},
        ]

    def test_what_happened_later_to_an_earlier_row_is_not_known(self, path):
        data = open_dataset(path, as_of="1997-01-10")
        paid = data.table("payments").order_by("order_id")["paid"].to_pyarrow().to_pylist()
        assert paid == [dt.date(1997, 1, 5), None]
        assert data.table("assignments")["end"].to_pyarrow().to_pylist() == [None]
        cases = data.table("cases").order_by("case_id").drop("customer_id", "opened", "cause").to_pyarrow().to_pylist()
        assert cases == [
            {"case_id": "1", "first_response": None, "closed": None, "satisfaction": None, "reopened": None},
            {
                "case_id": "2",
                "first_response": dt.datetime(1997, 1, 3),
                "closed": dt.datetime(1997, 1, 10, 12),
                "satisfaction": 1,
                "reopened": True,
            },
        ]
        later = open_dataset(path, as_of="1997-03-01").table("cases").order_by("case_id")["satisfaction"]
        assert later.to_pyarrow().to_pylist() == [5, 1]

    def test_an_earlier_date_may_be_asked_for_and_a_later_one_not(self, path):
        data = open_dataset(path, as_of="1997-02-01")
        assert data.table("transactions", dt.date(1997, 1, 1)).count().execute() == 1
        assert data.customers(dt.date(1997, 1, 1))["customer_id"].to_pyarrow().to_pylist() == ["a"]
        for ask in (lambda date: data.table("transactions", date), data.customers):
            with pytest.raises(
                InputError, match=r"shop\.toml is read up to 1997-02-01; nothing is known of 1997-02-02"
            ):
                ask(dt.date(1997, 2, 2))

    @pytest.mark.parametrize(
        "day", ["1997-01-05", dt.date(1997, 1, 5), dt.datetime(1997, 1, 5, 13), pd.Timestamp("1997-01-05")]
    )
    def test_ways_to_give_it(self, write_dataset, day):
        data = open_dataset(write_dataset(SALES, top="as_of = 1997-02-01"), as_of=day)
        assert data.as_of == dt.date(1997, 1, 5)
        assert type(data.as_of) is dt.date
        assert data.period == (dt.date(1997, 1, 1), dt.date(1997, 1, 5))

    def test_given_in_the_toml(self, write_dataset):
        assert open_dataset(write_dataset(SALES, top="as_of = 1997-02-01"), as_of="").as_of == dt.date(1997, 2, 1)

    def test_after_the_last_transaction(self, write_dataset):
        data = open_dataset(write_dataset(SALES), as_of="1997-12-31")
        assert data.as_of == dt.date(1997, 12, 31)
        assert data.warnings() == ["The as-of date, 1997-12-31, is 305 days after the last transaction."]

    def test_before_the_first_transaction(self, write_dataset):
        path = write_dataset(SALES)
        expected = "there are no transactions by 1996-12-31; the first is of 1997-01-01"
        assert sentence(path, as_of="1996-12-31") == f"{path}: {expected}"
        path = write_dataset(SALES, top="as_of = 1996-12-31")
        assert sentence(path) == f"{path}, line 2: as_of: {expected}"

    @pytest.mark.parametrize("given", ["yesterday", "1997-02-30", "30.06.1998"])
    def test_no_date(self, write_dataset, given):
        path = write_dataset(SALES)
        assert sentence(path, as_of=given) == f"{path}: as_of '{given}' is not a date (YYYY-MM-DD)"


class TestWarnings:
    def test_a_mistyped_year(self, write_dataset):
        text = SALES + "a,2098-01-01,1\nb,2098-01-02,1\n"
        data = open_dataset(write_dataset(text))
        assert data.as_of == dt.date(2098, 1, 2)
        assert data.warnings() == [
            "There is no transaction for 36,831 days between 1997-03-01 (3 rows up to then) and 2098-01-01"
            " (2 rows from then on); are these dates right?"
        ]
        assert open_dataset(write_dataset(text), as_of="1997-03-31").warnings() == []

    @pytest.mark.parametrize("date", ["1007-01-01", "9999-12-31"])
    def test_years_far_away(self, write_dataset, date):
        warnings = open_dataset(write_dataset(SALES + f"a,{date},1\n")).warnings()
        assert len(warnings) == 1
        assert f" {date} (1 rows" in warnings[0]

    def test_rows_that_could_not_be_used(self, write_dataset):
        data = open_dataset(write_dataset(SALES + "a,1997-02-30,1\nb\n"))
        assert data.warnings() == [
            "2 of 5 rows of transactions could not be used and are in no figure (date 1, rows that cannot be read 1)."
        ]
        assert data.quarantine.order_by("line").to_pyarrow().to_pylist() == [
            {
                "table": "transactions",
                "file": "sales.csv",
                "line": 5,
                "reason": "date '1997-02-30' is not a date (YYYY-MM-DD)",
                "record": '{"customer_id":"a","date":"1997-02-30","amount":"1"}',
            },
            {
                "table": "transactions",
                "file": "sales.csv",
                "line": 6,
                "reason": "1 fields where the header has 3",
                "record": '{"customer_id":"b","date":"","amount":""}',
            },
        ]

    def test_rows_that_are_there_twice(self, write_dataset):
        text = SALES + "a,1997-01-01,10\na,1997-01-01,10.0\n?,?,?\n?,?,?\n"
        data = open_dataset(write_dataset(text))
        assert counts(data) == [7, 5, 2, 1]
        assert data.warnings()[1:] == [
            "1 of 5 rows of transactions repeat another row exactly and are counted; is something in there twice?"
        ]
        assert data.table("transactions")["amount"].sum().execute() == Decimal("29.5")

    def test_repetitions_are_of_the_whole_line(self, write_dataset):
        text = "customer_id,date,amount,till\na,1997-01-01,1,7\na,1997-01-01,1,8\na,1997-01-01,1,8\n"
        assert counts(open_dataset(write_dataset(text))) == [3, 3, 0, 1]

    def test_strangers(self, write_dataset, tmp_path):
        (tmp_path / "customers.csv").write_text("customer_id\na\n")
        data = open_dataset(write_dataset(SALES, '[tables.customers]\npath = "customers.csv"'))
        assert data.warnings() == ["1 customers with transactions are not in the customers table."]

    def test_strangers_in_other_tables_and_customers_without_a_purchase(self, write_dataset, tmp_path):
        (tmp_path / "customers.csv").write_text("customer_id,status\na,customer\nb,\nc,customer\nd,target\n")
        (tmp_path / "contacts.csv").write_text(
            "contact_id,customer_id,time,purpose\n1,a,1997-01-02,sales\n2,x,1997-01-02,sales\n3,y,1997-01-02,sales\n"
        )
        tables = "".join(f'[tables.{name}]\npath = "{name}.csv"\n' for name in ("customers", "contacts"))
        assert open_dataset(write_dataset(SALES, tables)).warnings() == [
            "2 customers with contacts are not in the customers table.",
            "1 people have the status of a customer, but no transaction.",
        ]


class TestCustomerAttributes:
    @pytest.fixture
    def customers(self, write_dataset, tmp_path):
        """Return a function that opens a dataset with such customers and returns them."""

        def customers(text: str, columns: str = "") -> list[dict]:
            (tmp_path / "customers.csv").write_text(text)
            path = write_dataset(
                SALES, f'[tables.customers]\npath = "customers.csv"\n[tables.customers.columns]\n{columns}'
            )
            return open_dataset(path).table("customers").order_by("customer_id").to_pyarrow().to_pylist()

        return customers

    def test_further_columns_are_kept(self, customers):
        found = customers("customer_id,reason,self,Größe cm,table\na, tall ,x,190,t\n", 'height = "Größe cm"')
        assert found == [{"customer_id": "a", "height": "190", "reason": "tall", "self": "x", "table": "t"}]

    def test_a_column_whose_name_is_given_to_another_one(self, customers):
        found = customers("customer_id,Full,Name,NAME_\na,Ann Lee,ann,AL\n", 'name = "full"')
        assert found == [{"customer_id": "a", "name": "Ann Lee", "Name_": "ann", "NAME__": "AL"}]

    def test_a_column_that_the_toml_renames_is_not_judged_by_its_old_name(self, customers):
        found = customers("customer_id,status\na,VIP\n", 'level = "status"')
        assert found == [{"customer_id": "a", "level": "VIP"}]

    def test_names_in_capitals(self, customers):
        found = customers("CUSTOMER_ID,Kind,Region\na,Company,North\n")
        assert found == [{"customer_id": "a", "kind": "company", "region": "North"}]

    def test_one_column_for_two_names(self, customers):
        found = customers("customer_id\na\n", 'name = "customer_id"\ncustomer_id = "customer_id"')
        assert found == [{"customer_id": "a", "name": "a"}]

    def test_one_row_for_each_customer_in_any_order(self, customers):
        lines = ["a,Zoe", "a,Ann", "b,Bob", "a,Ann"]
        for order in (lines, lines[::-1], lines[1:] + lines[:1]):
            found = customers("customer_id,name\n" + "\n".join(order))
            assert found == [{"customer_id": "a", "name": "Ann"}, {"customer_id": "b", "name": "Bob"}]


CELLS = st.sampled_from(["a", " b", "客", "", '"', '"q"', '"x\ny"', "'", "=1", "\t"]) | st.text(
    "ab\"',;\n\r\0é", max_size=3
)
DATES = st.sampled_from(["1997-01-01", "1997-02-30", "1997-03-01T10:00", "", "x"]) | st.dates(
    dt.date(1996, 1, 1), dt.date(1999, 1, 1)
).map(str)
AMOUNTS = st.sampled_from(["1", "-2.5", "1e3", "nan", "1,5", "", "9" * 20]) | st.integers(-999, 999).map(
    lambda i: f"{i / 100}"
)
LINES = st.tuples(CELLS, DATES, AMOUNTS).map(",".join) | CELLS | st.just("a,1997-01-01,1")


class TestNoRowIsLost:
    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(lines=st.lists(LINES, max_size=12), end=st.sampled_from(["\n", "\r\n"]))
    def test_of_messy_rows(self, write_dataset, lines, end):
        text = end.join(["customer_id,date,amount", "z,1997-01-01,1", *lines])
        data = open_dataset(write_dataset(text))
        read, clean, quarantined, duplicates = counts(data)
        assert clean == data.table("transactions").count().execute()
        assert quarantined == data.quarantine.count().execute()
        assert read == clean + quarantined
        assert 0 <= duplicates < clean
        starts = data.quarantine["line"].to_pyarrow().to_pylist()
        assert len(set(starts)) == len(starts)
        assert all(2 < line <= text.count("\n") + text.count("\r") + 1 for line in starts)

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data(), lines=st.lists(st.tuples(st.sampled_from("abc"), DATES, AMOUNTS).map(",".join), max_size=12))
    def test_order_changes_nothing(self, write_dataset, data, lines):
        results = []
        for order in (lines, data.draw(st.permutations(lines))):
            opened = open_dataset(write_dataset("\n".join(["customer_id,date,amount", "z,1997-01-01,1", *order])))
            rows = opened.table("transactions").to_pyarrow().to_pylist()
            results.append(
                (
                    sorted(map(str, rows)),
                    opened.table("transactions")["amount"].sum().execute(),
                    opened.customers().order_by("customer_id").to_pyarrow().to_pylist(),
                    counts(opened),
                    sorted(opened.quarantine["reason"].to_pyarrow().to_pylist()),
                    opened.warnings(),
                )
            )
        assert results[0] == results[1]

    def test_a_lost_row_would_be_noticed(self, write_dataset, monkeypatch):
        loaded = module.sources.load_raw
        monkeypatch.setattr(module.sources, "load_raw", lambda *args: loaded(*args)._replace(read=4))
        assert sentence(write_dataset(SALES)).endswith(
            "tables.transactions: of 4 rows 3 are clean and 0 in quarantine; delete the folder .cache and run again"
        )


class TestCache:
    def test_it_is_built_once(self, write_dataset, tmp_path):
        path = write_dataset(SALES)
        open_dataset(path)
        (name,) = cache_files(tmp_path)
        before = (tmp_path / ".cache" / name).stat()
        open_dataset(path, as_of="1997-02-01")
        path.write_text(path.read_text().replace('"Shop"', '"Store"') + "[parameters.pareto]\ntop_share = 0.1\n")
        os.utime(tmp_path / "sales.csv")
        data = open_dataset(path)
        after = (tmp_path / ".cache" / name).stat()
        assert data.title == "Store"
        assert cache_files(tmp_path) == [name]
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_it_is_built_anew_when_a_file_or_the_tables_change(self, write_dataset, tmp_path):
        path = write_dataset(SALES)
        first = open_dataset(path)
        names = [cache_files(tmp_path)]
        write_dataset(SALES + "c,1997-01-01,1\n")
        second = open_dataset(path)
        names.append(cache_files(tmp_path))
        write_dataset(SALES + "c,1997-01-01,1\n", 'date_format = "%d.%m.%Y"')
        third = open_dataset(path)
        names.append(cache_files(tmp_path))
        assert [len(files) for files in names] == [1, 1, 1]
        assert len({files[0] for files in names}) == 3
        assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3
        assert [counts(data)[0] for data in (first, second, third)] == [3, 4, 4]

    def test_another_datasets_cache_stays(self, write_dataset, tmp_path):
        for name in ("shop", "shop-eu", "shop-0123456789abcdef", "sho"):
            open_dataset(write_dataset(SALES, name=name))
        (tmp_path / ".cache" / "shop-notes.duckdb").write_text("mine")
        assert len(cache_files(tmp_path)) == 5
        before = set(cache_files(tmp_path))
        open_dataset(write_dataset(SALES + "c,1997-01-01,1\n"))
        gone, new = before - set(cache_files(tmp_path)), set(cache_files(tmp_path)) - before
        assert [len(gone), len(new)] == [1, 1]
        assert {name[:-24] for name in gone | new} == {"shop"}

    def test_a_crash_while_building_leaves_nothing_that_is_opened(self, write_dataset, tmp_path, monkeypatch):
        path = write_dataset(SALES)
        with monkeypatch.context() as patch:
            patch.setattr(module.intake, "judge", lambda *args, **kwargs: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                open_dataset(path)
        assert cache_files(tmp_path) == []
        assert counts(open_dataset(path)) == [3, 3, 0, 0]

    @pytest.mark.parametrize("keep", [0, 1000, 0.5, -1])
    def test_a_damaged_one_is_built_anew(self, write_dataset, tmp_path, keep):
        path = write_dataset(SALES)
        open_dataset(path).connection.disconnect()
        (name,) = cache_files(tmp_path)
        cache = tmp_path / ".cache" / name
        size = cache.stat().st_size
        os.truncate(cache, keep if keep >= 1 else size + keep if keep < 0 else int(size * keep))
        assert counts(open_dataset(path)) == [3, 3, 0, 0]
        assert cache_files(tmp_path) == [name]

    def test_files_that_change_while_they_are_read(self, write_dataset, tmp_path, monkeypatch):
        path = write_dataset(SALES)
        build = module._build

        def slow(*args):
            build(*args)
            (tmp_path / "sales.csv").write_text(SALES + "c,1997-01-01,1\n")

        with monkeypatch.context() as patch:
            patch.setattr(module, "_build", slow)
            assert sentence(path) == f"{path}: its files were changed while they were read; run again"
        assert counts(open_dataset(path)) == [4, 4, 0, 0]

    def test_a_folder_that_cannot_be_written(self, write_dataset, tmp_path):
        path = write_dataset(SALES)
        (tmp_path / ".cache").write_text("a file")
        expected = f"{path}: the clean tables cannot be written to the folder {tmp_path}/.cache: "
        assert sentence(path).startswith(expected)

    def test_a_full_disk(self, write_dataset, monkeypatch):
        path = write_dataset(SALES)

        def full(*args):
            raise duckdb.IOException("IO Error: Could not write file: No space left on device\n\nmore")

        monkeypatch.setattr(module, "_build", full)
        assert sentence(path).endswith("/.cache: IO Error: Could not write file: No space left on device")

    def test_processes_at_the_same_time(self, write_dataset, tmp_path):
        path = write_dataset("customer_id,date,amount\n" + "a,1997-01-01,1\n" * 50_000)
        code = (
            "import sys; from crm_analysis import open_dataset; data = open_dataset(sys.argv[1]);"
            "print(data.quality['clean'][0], flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", code, str(path)]
        pipe = subprocess.PIPE
        both = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
        assert [process.stdout.readline() for process in both] == ["50000\n"] * 2
        assert counts(open_dataset(path))[1] == 50_000  # while others have it open
        for process in both:
            _, errors = process.communicate()
            assert (process.returncode, errors) == (0, "")
        assert len(cache_files(tmp_path)) == 1

    def test_it_opens_fast(self, cdnow):
        open_dataset(cdnow)
        start = time.perf_counter()
        open_dataset(cdnow)
        assert time.perf_counter() - start < 1


def test_other_sources(write_dataset, tmp_path):
    with duckdb.connect(tmp_path / "shop.duckdb") as database:
        database.execute("CREATE TABLE products AS SELECT 'p' AS product_id, 2.5::DECIMAL(9, 2) AS unit_cost")
    (tmp_path / "c.xlsx").write_bytes(b"no Excel")
    tables = '[tables.products]\ntable = "products"\n'
    data = open_dataset(write_dataset(SALES, tables, top='engine = "duckdb:///shop.duckdb"'))
    assert data.table("products").to_pyarrow().to_pylist() == [{"product_id": "p", "unit_cost": Decimal("2.5")}]
    path = write_dataset(SALES, tables + '[tables.customers]\npath = "c.xlsx"', top='engine = "duckdb:///shop.duckdb"')
    found = sentence(path)
    assert found.startswith(f"{path}, line 7: tables.customers: c.xlsx: cannot be read as an Excel file (")


def test_service_costs_of_people_without_a_transaction_are_told(write_dataset):
    toml = write_dataset(SALES)
    (toml.parent / "service.csv").write_text("customer_id,date,cost\na,1997-02-01,2\nnobody,1997-02-01,3.5\n")
    toml.write_text(toml.read_text() + '\n[tables.service_costs]\npath = "service.csv"\n')
    data = open_dataset(toml)
    assert data.value_name == "profit"
    told = "Service costs of 3.50 are for people without a transaction; they are in nobody's profit."
    assert data.warnings() == [told]
    assert open_dataset(toml, "1997-01-31").warnings() == []
