"""A dataset opened: its clean tables in the engine, up to the as-of date."""

from __future__ import annotations

import contextlib
import datetime as dt
import glob
import hashlib
import html
import inspect
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pandas as pd
from ibis.backends.duckdb import Backend

from crm_analysis import customers, intake, numerals, periods, privacy, sources
from crm_analysis.errors import InputError, NotDescribed, about
from crm_analysis.intake import KNOWN_FROM, OPEN_TABLES, ORIGIN, SCHEMAS, TIME_COLUMNS
from crm_analysis.settings import Settings, located, read_settings

LONG_SILENCE = 92  # days without any transaction that make the dates around them doubtful
SHOWN = 300  # characters of a table's column names that a notebook shows
MANY_DUPLICATES = 0.01  # the share of exactly repeated rows from which a reader is told of them


def open_dataset(path: str | Path, as_of: str | dt.date | None = None) -> Dataset:
    """Open the dataset that a TOML describes.

    The raw tables are cleaned once for each state of the source files; after that a read-only cache in the
    folder `.cache` beside the TOML is opened. In a report with `--pseudonymise` that is one with pseudonyms.

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
    numerals.use(settings.locale)
    try:
        fingerprint = _fingerprint(settings, path.parent)
        key = privacy.key_of(path)
        connection = _connect(path, settings, fingerprint, key)
        if key:  # other data, so that a report can be sure that each of its notebooks has read those
            fingerprint += f"-{privacy.mark(key)}"
        data = Dataset(path, settings, connection, fingerprint, _as_of(as_of, settings, connection), privacy.mark(key))
        data.check()
    except InputError as error:
        raise located(error, path) from None
    return data


@dataclass(frozen=True)
class Dataset:
    """A dataset's clean tables; what happened after the as-of date is not read."""

    path: Path
    settings: Settings
    connection: Backend
    fingerprint: str
    as_of: dt.date
    pseudonyms: str = ""  # what marks the key of the pseudonyms that stand for the customers; empty: none do

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
        first, last = self.period
        return (
            f"<Dataset {self.title}: {rows} rows; transactions from {first} to {last}, as of {self.as_of};"
            f" value is {self.value_name}{' in ' if self.currency else ''}{self.currency}>"
        )

    def _repr_html_(self) -> str:
        """Show in a notebook what is there: the tables with their columns, and what a reader should know of them."""
        first, last = self.period
        told = [
            f"Transactions from {first} to {last}, read up to {self.as_of}; "
            f"the value of a customer is {self.value_name}, in {self.currency or 'the currency of the data'}.",
            *self.warnings(),
        ]
        columns = [", ".join(self.connection.table(name).columns) for name in self.quality["table"]]
        tables = self.quality[["table", "read", "clean", "quarantined"]].assign(
            columns=[textwrap.shorten(names, SHOWN, placeholder=" …") for names in columns]
        )
        with pd.option_context("display.max_colwidth", None):
            shown = tables.to_html(
                index=False, border=0, justify="left", formatters=dict.fromkeys(tables.columns[1:4], numerals.count)
            )
        return f"<b>{html.escape(self.title)}</b><br>{'<br>'.join(map(html.escape, told))}{shown}"

    def has(self, table: str, *columns: str) -> bool:
        """Whether a table, and these columns of it, are there."""
        return table in self.settings.tables and set(columns) <= set(self.connection.table(table).columns)

    def table(self, name: str, as_of: dt.date | None = None) -> ir.Table:
        """Return a clean table up to the as-of date; what became known of its rows later is empty."""
        self.require(name)
        table = self.connection.table(name)
        if name not in TIME_COLUMNS:
            return table
        end = self._by(as_of)
        table = table.filter(table[TIME_COLUMNS[name]].cast("date") <= end)
        return table.mutate(
            **{
                column: (table[date].cast("date") > end).ifelse(ibis.null(table[column].type()), table[column])
                for column, date in KNOWN_FROM.get(name, {}).items()
                if {column, date} <= set(table.columns)
            }
        )

    def require(self, *columns: str) -> None:
        """Raise `NotDescribed` unless all of these tables (`cases`) and columns (`products.category`) are there."""
        named = [(table, column) for table, _, column in (name.partition(".") for name in columns)]
        lacking = [
            f"the column '{column}' of the table '{table}'" if column and self.has(table) else f"the table '{table}'"
            for table, column in named
            if not self.has(table, *filter(None, [column]))
        ]
        if lacking:
            needed = " and ".join(dict.fromkeys(lacking))
            raise NotDescribed(f"This needs {needed}, which {self.path.name} does not describe.")

    def purchases(self, as_of: dt.date | None = None) -> ir.Table:
        """Return every purchase by the as-of date (see `customers.purchases`)."""
        return customers.purchases(*self._value_tables(as_of)[:2])

    def customers(self, as_of: dt.date | None = None) -> ir.Table:
        """Return one row per customer who has a transaction by the as-of date (see `customers.summary`)."""
        return customers.summary(*self._value_tables(as_of), as_of=self._by(as_of))

    def values(self, as_of: dt.date | None = None) -> ir.Table:
        """Return what every customer is worth at the as-of date (see `customers.values`)."""
        return customers.values(*self._value_tables(as_of), as_of=self._by(as_of))

    def lines(self, as_of: dt.date | None = None) -> ir.Table:
        """Return every transaction line by the as-of date with its value (see `customers.transaction_lines`)."""
        return customers.transaction_lines(*self._value_tables(as_of)[:2])

    def by_period(self, edges: Sequence[dt.date]) -> ir.Table:
        """Return what each customer was worth in each period (see `periods.by_period`)."""
        return periods.by_period(self.lines(), self._value_tables()[2], edges)

    def names(self) -> ir.Table | None:
        """Return the customers' `customer_id` and `name`, where the customers table has names."""
        if not self.has("customers", "name"):
            return None
        return self.table("customers").select("customer_id", "name")

    @property
    def quarantine(self) -> ir.Table:
        """The rejected rows: `table`, `file`, `line`, `reason`, `record`."""
        return self.connection.table("_quarantine")

    @cached_property
    def quality(self) -> pd.DataFrame:
        """One row per table: rows `read`, `clean`, `quarantined`, `duplicates` (exact repetitions, kept)."""
        return self.connection.table("_quality").to_pandas()

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
                    f"of {row.read:,} rows {clean:,} are clean and {quarantined.get(row.table, 0):,} in quarantine;"
                    " delete the folder .cache and run again",
                    *("tables", row.table),
                )

    def warnings(self) -> list[str]:
        """Return what a reader of any number should know of the data, one sentence each."""
        found = [
            f"{numerals.count(row.quarantined)} of {numerals.count(row.read)} rows of {row.table} could not be used "
            "and are in no figure"
            f" ({self._reasons(row.table)})."
            for row in self.quality.itertuples()
            if row.quarantined
        ]
        found += [
            f"{numerals.count(row.duplicates)} of {numerals.count(row.clean)} rows of {row.table} repeat another row "
            "exactly and are counted;"
            " is something in there twice?"
            for row in self.quality.itertuples()
            if row.duplicates > MANY_DUPLICATES * row.clean
        ]
        if silence := self._longest_silence():
            found.append(silence)
        last = self.period[1]
        if (self.as_of - last).days > 31:
            found.append(
                f"The as-of date, {self.as_of}, is {(self.as_of - last).days} days after the last transaction."
            )
        if self.value_name == "profit":
            unknown = customers.lines_without_cost(*self._value_tables()[:2])
            if unknown:
                found.append(f"{numerals.count(unknown)} transaction rows have no cost; profit counts their cost as 0.")
        if self.has("service_costs"):
            bought, _, served = self._value_tables()
            if unassigned := customers.unassigned_service_cost(bought, served, as_of=self.as_of):
                amount = f"{numerals.number(unassigned, 2)} {self.currency}".rstrip()
                found.append(
                    f"Service costs of {amount} are for people without a transaction; they are in nobody's profit."
                )
        if self.has("customers"):
            people = self.table("customers")
            for table in ("transactions", "contacts", "cases"):
                if not self.has(table):
                    continue
                known = self.table(table).select("customer_id").distinct()
                if strangers := known.anti_join(people, "customer_id").count().execute():
                    found.append(f"{numerals.count(strangers)} customers with {table} are not in the customers table.")
            if self.has("customers", "status"):
                bought = self.connection.table("transactions")  # after the as-of date, too: a status has no date
                idle = people.filter(people["status"] == "customer").anti_join(bought, "customer_id").count().execute()
                if idle:
                    found.append(f"{numerals.count(idle)} people have the status of a customer, but no transaction.")
        return found

    def _reasons(self, table: str) -> str:
        """Say how many of a table's rows were rejected for which column, most first; without what stood there."""
        rejected = self.quarantine.filter(self.quarantine["table"] == table)
        column = (
            rejected["reason"].re_extract(r"^([a-z_]+) (?:is|')", 1).nullif("").fill_null("rows that cannot be read")
        )
        counted = rejected.group_by(column=column).aggregate(rows=rejected.count())
        most = counted.order_by(ibis.desc("rows"), "column").limit(3).to_pandas()
        return ", ".join(f"{row.column} {numerals.count(row.rows)}" for row in most.itertuples())

    def _longest_silence(self) -> str | None:
        """Say between which dates no transaction is, if that is so long that one of them may be mistyped."""
        days = self.table("transactions").group_by("date").aggregate(rows=lambda t: t.count()).to_pandas()
        days = days.assign(date=pd.to_datetime(days["date"])).sort_values("date", ignore_index=True)
        gaps = days["date"].diff().dt.days
        if not gaps.max() > LONG_SILENCE:
            return None
        after = int(gaps.idxmax())
        start, end = (f"{days['date'][i]:%Y-%m-%d}" for i in (after - 1, after))
        before, since = (int(part["rows"].sum()) for part in (days[:after], days[after:]))
        return (
            f"There is no transaction for {numerals.count(int(gaps.max()))} days between {start} "
            f"({numerals.count(before)} rows up to then)"
            f" and {end} ({numerals.count(since)} rows from then on); are these dates right?"
        )

    def _by(self, as_of: dt.date | None) -> dt.date:
        """Return the date up to which to read: a given one must not be after the dataset's."""
        if as_of and as_of > self.as_of:
            raise InputError(f"{self.path.name} is read up to {self.as_of}; nothing is known of {as_of}")
        return as_of or self.as_of

    def _value_tables(self, as_of: dt.date | None = None) -> tuple[ir.Table, ir.Table | None, ir.Table | None]:
        """Return what a customer's value is made of: transactions, products and service costs."""
        products = self.table("products") if self.has("products") else None
        service = self.table("service_costs", as_of) if self.has("service_costs") else None
        return self.table("transactions", as_of), products, service


def _fingerprint(settings: Settings, folder: Path) -> str:
    """Return what identifies the data: how its tables are described and what its files contain."""
    described = settings.model_dump(mode="json", include={"tables", "engine"})
    contents = [(sources.shown(file, folder), sources.digest(file)) for file in sources.files_of(settings, folder)]
    return hashlib.sha256(json.dumps([described, contents], sort_keys=True).encode()).hexdigest()[:16]


def _connect(path: Path, settings: Settings, fingerprint: str, key: str) -> Backend:
    """Open the clean tables, with a key those with pseudonyms; build them where they are not there yet."""
    code = "".join(map(inspect.getsource, (intake, sources, privacy, sys.modules[__name__])))
    state = hashlib.sha256((fingerprint + code).encode()).hexdigest()[:16]
    clean = path.parent / ".cache" / f"{path.stem}-{state}.duckdb"

    def build(file: Path) -> None:
        _build(file, settings, path)
        if _fingerprint(settings, path.parent) != fingerprint:
            raise InputError("its files were changed while they were read; run again")

    try:
        tables = _cached(clean, path.stem, build)
    except InputError as error:
        if key and error.keys:  # the message may cite what stands in a row
            unusable = "this cannot be read as it is described; without --pseudonymise the report says why"
            raise InputError(unusable, *error.keys) from None
        raise
    if not key:
        return tables
    tables.disconnect()
    hidden = clean.with_suffix(f".{privacy.mark(key)}.duckdb")
    return _cached(hidden, path.stem, lambda file: privacy.build(file, clean, key))


def _cached(cache: Path, name: str, build: Callable[[Path], None]) -> Backend:
    """Open a cache of a dataset; build it where it is not there yet, and remove those of earlier states."""
    folder = cache.parent
    with contextlib.suppress(duckdb.Error):  # not there, or damaged: build it
        return _opened(cache)
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as building:
            unfinished = Path(building) / "clean.duckdb"
            build(unfinished)
            os.replace(unfinished, cache)  # in one step: nobody opens a half-built cache
        for old in folder.glob(f"{glob.escape(name)}-{'[0-9a-f]' * 16}.*duckdb"):
            if not old.name.startswith(cache.name[: len(name) + 17]):
                with contextlib.suppress(OSError):
                    old.unlink()
        return _opened(cache)
    except (OSError, duckdb.Error) as error:
        why = str(getattr(error, "strerror", error)).partition("\n")[0]
        raise InputError(f"the clean tables cannot be written to the folder {folder}: {why}") from None


def _opened(cache: Path) -> Backend:
    connection = ibis.duckdb.connect(cache, read_only=True)
    connection.raw_sql("SET TimeZone = 'UTC'")
    connection.con.execute("FROM _quality").fetchall()  # the table that is written last
    return connection


def _build(file: Path, settings: Settings, path: Path) -> None:
    """Clean every table of a dataset into a DuckDB file."""
    quality, quarantines = [], []
    with contextlib.closing(ibis.duckdb.connect(file).con) as engine:
        engine.execute("SET TimeZone = 'UTC'")
        connection = ibis.duckdb.from_connection(engine)
        for table in settings.tables:
            with about("tables", table):
                counts, quarantined = _clean(connection, settings, table, path.parent)
            quality.append(counts)
            quarantines.append(quarantined)
        connection.create_table("_quarantine", ibis.union(*quarantines) if len(quarantines) > 1 else quarantines[0])
        connection.create_table("_quality", pd.DataFrame(quality))


def _clean(connection: Backend, settings: Settings, table: str, folder: Path) -> tuple[dict[str, object], ir.Table]:
    """Write one clean table; return its line of `Dataset.quality` and the rejected rows."""
    source = settings.tables[table]
    raw = sources.load_raw(connection, settings, table, folder)
    columns = _mapping(table, source.columns, raw)
    judged = intake.judge(
        table,
        raw.table,
        columns,
        decimal=source.decimal,
        thousands=source.thousands,
        date_format=source.date_format,
    )
    judged = connection.create_table(f"judged_{table}", judged, temp=True)
    clean = connection.create_table(table, judged.filter(judged["_reason"] == "").select(*columns))
    rejected = judged.filter(judged["_reason"] != "")
    kept = int(clean.count().execute())
    whole = raw.table.anti_join(rejected, ["_file", "_line"]).drop(*ORIGIN)
    duplicates = kept - int(whole.distinct().count().execute())
    quarantined = rejected.select(
        table=ibis.literal(table), file="_file", line="_line", reason="_reason", record="_record"
    )
    if table == "transactions" and not kept:
        if not raw.read:
            raise InputError(f"there are no rows in {', '.join(raw.files)}")
        first = quarantined.order_by("file", "line").limit(1).to_pandas().iloc[0]
        why = f"{first['file']}, line {first['line']}: {first['reason']}"
        raise InputError(f"none of {raw.read:,} rows can be used; the first: {why}")
    connection.drop_table(f"raw_{table}")
    counts = {"table": table, "read": raw.read, "clean": kept, "quarantined": raw.read - kept, "duplicates": duplicates}
    return counts, quarantined


def _mapping(table: str, given: dict[str, str], raw: sources.Raw) -> dict[str, str]:
    """Return the source's column for each of a table's columns that are there; case does not count."""
    there = {column.lower(): column for column in raw.table.columns if column not in ORIGIN}
    for column, source in given.items():
        if source.lower() not in there:
            raise InputError(
                f"there is no column '{source}'; the columns are {', '.join(there.values())}"
                + ("" if len(there) > 1 else "; if these are several, set the delimiter that is between them"),
                *("tables", table, "columns", column),
            )
    named = {column: there[source.lower()] for column, source in given.items()}
    # A column that the TOML gives a name of its own is not claimed by another name too.
    free = {name: column for name, column in there.items() if column not in named.values()}
    mapping = {
        column: named.get(column) or free[column] for column in SCHEMAS[table] if column in named or column in free
    }
    for column in (column for column, rule in SCHEMAS[table].items() if rule.required):
        wanted = mapping.get(column, column).lower()
        for file, columns in raw.files.items():
            if wanted not in map(str.lower, columns):
                which = f"say which of them is the {column} in [tables.{table}.columns]"
                raise InputError(
                    f"{file}: there is no column '{given.get(column, column)}'; the columns are {', '.join(columns)};"
                    f" {which if len(columns) > 1 else 'if these are several, set the delimiter that is between them'}"
                )
    if table in OPEN_TABLES:
        mapping |= named
        taken = {column.lower() for column in mapping}
        for column in there.values():
            if column not in mapping.values():
                name = column
                while name.lower() in taken:  # the TOML gives this name to another column
                    name += "_"
                taken.add(name.lower())
                mapping[name] = column
    return mapping


def _as_of(given: str | dt.date | None, settings: Settings, connection: Backend) -> dt.date:
    """Return the as-of date, by which there must be transactions."""
    keys = () if given else ("as_of",)
    if isinstance(given, str) and given:
        try:
            given = dt.date.fromisoformat(given)
        except ValueError:
            raise InputError(f"as_of '{given}' is not a date (YYYY-MM-DD)") from None
    dates = connection.table("transactions")["date"]
    first, last = connection.table("transactions").aggregate(first=dates.min(), last=dates.max()).to_pandas().iloc[0]
    as_of = pd.Timestamp(given or settings.as_of or last).date()
    if as_of < pd.Timestamp(first).date():
        raise InputError(f"there are no transactions by {as_of}; the first is of {pd.Timestamp(first).date()}", *keys)
    return as_of
