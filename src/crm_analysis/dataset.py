"""A dataset opened: its clean tables in the engine, up to the as-of date."""

from __future__ import annotations

import contextlib
import datetime as dt
import glob
import hashlib
import inspect
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pandas as pd
from ibis.backends.duckdb import Backend

from crm_analysis import customers, intake, sources
from crm_analysis.errors import InputError, Unanswerable
from crm_analysis.intake import OPEN_TABLES, ORIGIN, SCHEMAS, TIME_COLUMNS
from crm_analysis.settings import Settings, line_of, read_settings

LONG_SILENCE = 92  # days without any transaction before the last one that make its date doubtful


def open_dataset(path: str | Path, as_of: str | dt.date | None = None) -> Dataset:
    """Open the dataset that a TOML describes.

    The raw tables are cleaned once for each state of the source files; after that a read-only cache in the
    folder `.cache` beside the TOML is opened.

    Parameters
    ----------
    path
        The TOML (see `Settings`).
    as_of
        The date of the analysis, YYYY-MM-DD; empty: the TOML's, or the last date in the transactions.

    Raises
    ------
    InputError
        The TOML, a file, a column or the date is not usable; the message says where and what to do.
    """
    path = Path(path).resolve()
    settings = read_settings(path)
    try:
        fingerprint = _fingerprint(settings, path.parent)
        connection = ibis.duckdb.connect(_cache(path, settings, fingerprint), read_only=True)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    connection.raw_sql("SET TimeZone = 'UTC'")
    data = Dataset(path, settings, connection, fingerprint, _as_of(as_of or settings.as_of, path, connection))
    data.check()
    return data


@dataclass(frozen=True)
class Dataset:
    """A dataset's clean tables; what happened after the as-of date is not read."""

    path: Path
    settings: Settings
    connection: Backend
    fingerprint: str
    as_of: dt.date

    @property
    def name(self) -> str:
        """The TOML's file name without its suffix."""
        return self.path.stem

    @property
    def title(self) -> str:
        return self.settings.title

    @property
    def currency(self) -> str:
        return self.settings.currency

    @cached_property
    def value_name(self) -> str:
        """What a customer's value is here: `profit` where costs are known, else `revenue`."""
        return "profit" if customers.has_costs(*self._value_tables()) else "revenue"

    def __repr__(self) -> str:
        rows = ", ".join(f"{row.table} {row.clean:,}" for row in self.quality.itertuples())
        return f"<Dataset {self.title}: {rows} rows; as of {self.as_of}; value is {self.value_name}>"

    def has(self, table: str, *columns: str) -> bool:
        """Whether a table, and these columns of it, are there."""
        return table in self.settings.tables and set(columns) <= set(self.connection.table(table).columns)

    def table(self, name: str, as_of: dt.date | None = None) -> ir.Table:
        """Return a clean table up to the as-of date."""
        if not self.has(name):
            raise Unanswerable(f"This needs the table '{name}', which {self.path.name} does not describe.")
        table = self.connection.table(name)
        column = TIME_COLUMNS.get(name)
        return table.filter(table[column].cast("date") <= (as_of or self.as_of)) if column else table

    def customers(self, as_of: dt.date | None = None) -> ir.Table:
        """Return one row per customer who has a transaction by the as-of date (see `customers.summary`)."""
        return customers.summary(*self._value_tables(as_of), as_of=as_of or self.as_of)

    @property
    def quarantine(self) -> ir.Table:
        """The rejected rows: `table`, `file`, `line`, `reason`, `record`."""
        return self.connection.table("_quarantine")

    @cached_property
    def quality(self) -> pd.DataFrame:
        """One row per table: rows `read`, `clean`, `quarantined`, `duplicates` (exact repetitions, kept)."""
        return self.connection.table("_quality").order_by("position").drop("position").to_pandas()

    @cached_property
    def period(self) -> tuple[dt.date, dt.date]:
        """The first and the last date of a transaction up to the as-of date."""
        dates = self.table("transactions")["date"]
        found = dates.as_table().aggregate(first=dates.min(), last=dates.max()).to_pandas().iloc[0]
        return pd.Timestamp(found["first"]).date(), pd.Timestamp(found["last"]).date()

    def check(self) -> None:
        """Make sure that no row was lost: rows read = rows clean + rows quarantined, for every table."""
        rejected = self.quarantine.group_by("table").aggregate(rows=lambda t: t.count()).to_pandas()
        quarantined = dict(zip(rejected["table"], rejected["rows"], strict=True))
        for row in self.quality.itertuples():
            clean = int(self.connection.table(row.table).count().execute())
            if row.read != clean + quarantined.get(row.table, 0):
                raise InputError(
                    f"{self.path.name}: of {row.read} rows of {row.table} {clean} are clean and"
                    f" {quarantined.get(row.table, 0)} in quarantine; delete the folder .cache and run again"
                )

    def warnings(self) -> list[str]:
        """Return what a reader of any number should know of the data, one sentence each."""
        found = [
            f"{row.quarantined:,} of {row.read:,} rows of {row.table} could not be used and are in no figure."
            for row in self.quality.itertuples()
            if row.quarantined
        ]
        dates = self.table("transactions").select("date").distinct().order_by(ibis.desc("date")).limit(2)
        last, *before = dates.to_pandas()["date"].map(lambda date: pd.Timestamp(date).date())
        if before and (last - before[0]).days > LONG_SILENCE:
            found.append(f"The last transaction, {last}, comes {(last - before[0]).days} days after the one before it.")
        if (self.as_of - last).days > 31:
            found.append(
                f"The as-of date, {self.as_of}, is {(self.as_of - last).days} days after the last transaction."
            )
        if self.value_name == "profit":
            unknown = customers.lines_without_cost(*self._value_tables()[:2])
            if unknown:
                found.append(f"{unknown:,} transaction rows have no cost; profit counts their cost as 0.")
        if self.has("customers"):
            strangers = self.customers().anti_join(self.table("customers"), "customer_id").count().execute()
            if strangers:
                found.append(f"{strangers:,} customers with transactions are not in the customers table.")
        return found

    def _value_tables(self, as_of: dt.date | None = None) -> tuple[ir.Table, ir.Table | None, ir.Table | None]:
        """Return what a customer's value is made of: transactions, products and service costs."""
        products = self.table("products") if self.has("products") else None
        service = self.table("service_costs", as_of) if self.has("service_costs") else None
        return self.table("transactions", as_of), products, service


def _fingerprint(settings: Settings, folder: Path) -> str:
    """Return what identifies the data: how its tables are described and what its files contain."""
    described = settings.model_dump(mode="json", include={"tables", "engine"})
    contents = [(file.name, sources.digest(file)) for file in sources.files_of(settings, folder)]
    return hashlib.sha256(json.dumps([described, contents], sort_keys=True).encode()).hexdigest()[:16]


def _cache(path: Path, settings: Settings, fingerprint: str) -> Path:
    """Return the file of the clean tables; build it where it is not there yet."""
    code = "".join(map(inspect.getsource, (intake, sources)))
    key = hashlib.sha256((fingerprint + code).encode()).hexdigest()[:16]
    folder = path.parent / ".cache"
    cache = folder / f"{path.stem}-{key}.duckdb"
    if cache.exists():
        return cache
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as building:
            unfinished = Path(building) / "clean.duckdb"
            _build(unfinished, settings, path)
            os.replace(unfinished, cache)  # in one step: nobody opens a half-built cache
    except OSError as error:
        raise InputError(f"the clean tables cannot be written to {folder} ({error.strerror})") from None
    for old in folder.glob(f"{glob.escape(path.stem)}-{'[0-9a-f]' * 16}.duckdb"):
        if old != cache:
            with contextlib.suppress(OSError):
                old.unlink()
    return cache


def _build(file: Path, settings: Settings, path: Path) -> None:
    """Clean every table of a dataset into a DuckDB file."""
    connection = ibis.duckdb.connect(file)
    connection.raw_sql("SET TimeZone = 'UTC'")
    quality = []
    quarantines = []
    for position, (table, source) in enumerate(settings.tables.items()):
        raw, read = sources.load_raw(connection, settings, table, path.parent)
        columns = _mapping(table, source.columns, raw, path)
        judged = intake.judge(
            table,
            raw,
            columns,
            decimal=source.decimal,
            thousands=source.thousands,
            date_format=source.date_format,
        )
        checked = connection.create_table(f"judged_{table}", judged, temp=True)
        clean = checked.filter(checked["reason"] == "")
        kept = connection.create_table(table, clean.select(*columns)).count().execute()
        quarantines.append(
            checked.filter(checked["reason"] != "").select(
                table=ibis.literal(table), file="_file", line="_line", reason="reason", record="record"
            )
        )
        distinct = checked.filter(checked["reason"] == "").select("record").distinct().count().execute()
        quality.append((position, table, read, int(kept), read - int(kept), int(kept - distinct)))
        if table == "transactions" and not kept:
            first = quarantines[-1].order_by("file", "line").limit(1).to_pandas()
            why = f"{first['file'][0]}, line {first['line'][0]}: {first['reason'][0]}" if read else "there are none"
            raise InputError(f"tables.transactions: none of {read:,} rows can be used: {why}")
    connection.create_table("_quarantine", ibis.union(*quarantines) if len(quarantines) > 1 else quarantines[0])
    frame = pd.DataFrame(quality, columns=["position", "table", "read", "clean", "quarantined", "duplicates"])
    connection.create_table("_quality", frame)
    connection.disconnect()


def _mapping(table: str, given: dict[str, str], raw: ir.Table, path: Path) -> dict[str, str]:
    """Return the source's column for each of a table's columns that are there."""
    there = [column for column in raw.columns if column not in ORIGIN]
    for column, source in given.items():
        if source not in there:
            line = line_of(path.read_text("utf-8-sig"), ["tables", table, "columns", column])
            raise InputError(
                f"line {line}: tables.{table}.columns.{column}: there is no column '{source}';"
                f" the columns are {', '.join(there)}"
            )
    mapping = {column: given.get(column, column) for column in SCHEMAS[table] if given.get(column, column) in there}
    for column, rule in SCHEMAS[table].items():
        if rule.required and column not in mapping:
            raise InputError(
                f"tables.{table}: the required column '{column}' is not there; the columns are {', '.join(there)};"
                f" name the one that it is in [tables.{table}.columns]"
            )
    if table in OPEN_TABLES:
        used = {*mapping.values(), *mapping}
        mapping |= {column: source for column, source in given.items() if column not in mapping}
        mapping |= {column: column for column in there if column not in used | set(given.values())}
    return mapping


def _as_of(given: str | dt.date | None, path: Path, connection: Backend) -> dt.date:
    """Return the as-of date; there must be transactions by then."""
    dates = connection.table("transactions")["date"]
    first, last = (pd.Timestamp(date.execute()).date() for date in (dates.min(), dates.max()))
    if isinstance(given, str):
        try:
            given = dt.date.fromisoformat(given)
        except ValueError:
            raise InputError(f"as_of '{given}' is not a date (YYYY-MM-DD)") from None
    if given and given < first:
        raise InputError(f"{path.name}: there are no transactions by {given}; the first is of {first}")
    return given or last
