"""Raw rows: reads files and database tables as text, each row with the file and line it came from."""

from __future__ import annotations

import csv
import hashlib
import sqlite3
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import date, datetime
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import duckdb
import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from crm_analysis.errors import InputError, about
from crm_analysis.intake import ORIGIN, RESERVED
from crm_analysis.settings import Settings, TableSettings

BATCH = 256  # rows that are in Python at a time: of more, its garbage collector makes slow work

csv.field_size_limit(2**31 - 1)

# A row: its line, its fields, and what was wrong when it was taken apart ("" if nothing).
Row = tuple[int, list[str], str]
# A file's rows as Arrow: its columns, `_line` and perhaps `_problem`. The first batch has no rows.
Batches = Generator[pa.RecordBatch]


class Raw(NamedTuple):
    """One table's raw rows.

    Attributes
    ----------
    table
        The source's columns as text, and `_file`, `_line` and `_problem`.
    read
        The number of rows, counted while reading.
    files
        The columns of each file, as they are written there.
    """

    table: ir.Table
    read: int
    files: dict[str, list[str]]


def files_of(settings: Settings, folder: Path) -> list[Path]:
    """Return every file that a dataset is read from: all that its fingerprint depends on."""
    files: list[Path] = []
    for name, table in settings.tables.items():
        if table.path is not None:
            with about("tables", name, "path"):
                files += table.files(folder)
    if settings.engine:
        with about("engine"):
            database = _database_file(settings.engine, folder)
        logs = [database.with_name(database.name + suffix) for suffix in (".wal", "-wal")]
        files += [database, *(log for log in logs if log.is_file() and log.stat().st_size)]
    return files


def shown(file: Path, folder: Path) -> str:
    """Return a file as it is named to a reader: relative to the dataset's folder if it is inside."""
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)


def digest(file: Path) -> str:
    """Return the SHA-256 of a file's content."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def load_raw(connection: Backend, settings: Settings, table: str, folder: Path) -> Raw:
    """Load one table's raw rows into the temporary table `raw_` + its name."""
    source = settings.tables[table]
    target = f"raw_{table}"
    connection.con.execute(f"CREATE OR REPLACE TEMP TABLE {target} (_file TEXT, _line BIGINT, _problem TEXT)")
    if source.path is None:
        database = _database_file(settings.engine or "", folder)
        name = f"{database.name}: {source.table or 'sql'}"
        parts = [(database, name, (settings.engine or "").partition(":")[0])]
    else:
        parts = [(file, shown(file, folder), source.format_of(file)) for file in source.files(folder)]
    read, files = 0, {}
    for file, name, format in parts:
        try:
            with closing(READERS[format](file, name, source)) as batches:
                files[name], rows = _append(connection, target, name, batches, source.decimal)
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({error.strerror or error})") from None
        read += rows
    return Raw(connection.table(target), read, files)


def _append(connection: Backend, target: str, name: str, batches: Batches, decimal: str) -> tuple[list[str], int]:
    """Append a file's rows, as text, to a table; return the file's columns and the number of its rows.

    Files need not have the same columns or their order. The engine does not tell names apart by case.
    """
    empty = next(batches)
    columns = [column for column in empty.schema.names if column not in ORIGIN]
    there = {column.lower() for column in connection.table(target).columns}
    for column in columns:
        if column.lower() not in there:
            quoted = column.replace('"', '""')
            connection.con.execute(f'ALTER TABLE {target} ADD COLUMN "{quoted}" TEXT')
    read = 0
    failed: list[Exception] = []

    def counted() -> Batches:
        nonlocal read
        try:
            for batch in batches:
                read += batch.num_rows
                yield batch
        except Exception as error:
            failed.append(error)  # what the engine makes of it says less
            raise

    connection.con.register("incoming", pa.RecordBatchReader.from_batches(empty.schema, counted()))
    try:
        text = _as_text(connection.table("incoming"), columns, decimal).mutate(_file=ibis.literal(name))
        connection.con.execute(f"INSERT INTO {target} BY NAME {connection.compile(text)}")
    except duckdb.Error as error:
        raise failed[0] if failed else InputError(f"{name}: cannot be read ({_first_line(error)})") from None
    finally:
        connection.con.unregister("incoming")
    return columns, read


def _as_text(table: ir.Table, columns: list[str], decimal: str) -> ir.Table:
    """Write every column as text; a float without a fraction as a whole number, NaN as nothing."""

    def text(column: ir.Value) -> ir.StringValue:
        written = column.cast("string")
        if isinstance(column, ir.FloatingValue):
            whole = (column.abs() < 2**53) & (column % 1 == 0)
            digits = whole.ifelse(column, ibis.null("float64")).cast("int64").cast("string")
            written = ibis.coalesce(digits, written.nullif("nan"))
        return written.replace(".", decimal) if isinstance(column, (ir.FloatingValue, ir.DecimalValue)) else written

    return table.mutate(*(text(table[column]).name(column) for column in columns))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _named(names: list[str], where: str) -> list[str]:
    """Return the columns' names, of which each must be there once."""
    names = [name or f"column {i}" for i, name in enumerate(names, 1)]
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in RESERVED:
            raise InputError(f"{where}: the column name '{name}' is reserved; rename it")
        if twin := seen.get(name.lower()):
            also = "" if twin == name else f" (as '{twin}': upper and lower case count as the same)"
            raise InputError(f"{where}: the column name '{name}' stands there twice{also}; rename one")
        seen[name.lower()] = name
    return names


def _text_batches(rows: Iterator[Row], name: str) -> Batches:
    """Yield a header and rows of text as Arrow."""
    line, header, problem = next(rows, (1, [], ""))
    where = f"{name}, line {line}"
    if problem:
        raise InputError(f"{where}: the column names cannot be read: {problem}")
    if not any(cell.strip() for cell in header):
        raise InputError(f"{where}: there are no column names; the first line must hold them")
    if any("\0" in cell for cell in header):
        raise InputError(f"{where}: the column names hold NUL characters; set the table's encoding, perhaps utf-16")
    columns = _named([cell.strip() for cell in header], where)
    width = len(columns)
    schema = pa.schema([*((c, pa.string()) for c in columns), ("_line", pa.int64()), ("_problem", pa.string())])
    yield pa.RecordBatch.from_pylist([], schema)
    while taken := list(islice(rows, BATCH)):
        lines, fields, problems = zip(*(_fit(row, width) for row in taken), strict=True)
        arrays = [pa.array(column, pa.string()) for column in zip(*fields, strict=True)]
        yield pa.record_batch([*arrays, pa.array(lines, pa.int64()), pa.array(problems, pa.string())], schema)


def _fit(row: Row, width: int) -> Row:
    """Give a row the header's width; what does not fit is said and kept in the last field."""
    line, fields, problem = row
    if len(fields) == width:
        return row
    problem = problem or f"{len(fields)} fields where the header has {width}"
    kept = [*fields[: width - 1], " | ".join(fields[width - 1 :])] if len(fields) > width else fields
    return line, kept + [""] * (width - len(kept)), problem


def _typed_batches(batches: pa.RecordBatchReader, name: str) -> Batches:
    """Yield typed rows with their number; a time with a zone as the clocks of that zone show it."""
    columns = _named(batches.schema.names, name)
    line = 1
    for batch in chain([pa.RecordBatch.from_pylist([], batches.schema)], batches):
        local = [pc.local_timestamp(c) if getattr(c.type, "tz", None) else c for c in batch.columns]
        lines = pa.array(np.arange(line, line + batch.num_rows))
        line += batch.num_rows
        yield pa.RecordBatch.from_arrays([*local, lines], [*columns, "_line"])


def _csv(file: Path, name: str, source: TableSettings) -> Batches:
    try:
        with file.open(encoding=source.encoding, newline="") as text:
            if text.read(1) != "\ufeff":
                text.seek(0)
            yield from _text_batches(_csv_rows(text, source.delimiter), name)
    except UnicodeError as error:
        line = 1
        if isinstance(error, UnicodeDecodeError):
            with file.open(encoding=source.encoding, errors="replace") as text:
                line = next((number for number, content in enumerate(text, 1) if "\ufffd" in content), 1)
        wrong = f"not {source.encoding}; set the table's encoding, for example to cp1252"
        raise InputError(f"{name}, line {line}: {wrong}") from None


def _csv_rows(text: Iterator[str], delimiter: str) -> Iterator[Row]:
    """Yield a text's rows with the line on which each begins; blank lines are no rows."""
    first = 1
    taken: list[str] = []  # the lines of the row that is being read
    again: deque[str] = deque()  # lines to read before those of the text

    def lines() -> Iterator[str]:
        while line := again.popleft() if again else next(text, ""):
            taken.append(line)
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        try:
            fields, problem = next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            # A quotation mark that should not be there may have swallowed whole rows: read them again.
            again.extendleft(reversed(taken[1:]))
            del taken[1:]
            never_closed = "unexpected end of data" in str(error)
            problem = "a quotation mark is opened and never closed" if never_closed else f"not valid CSV: {error}"
            fields = [taken[0].rstrip("\r\n")]
            reader = csv.reader(lines(), delimiter=delimiter, strict=True)
        if fields:
            yield first, fields, problem
        first += len(taken)
        taken.clear()


def _excel(file: Path, name: str, source: TableSettings) -> Batches:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        with CalamineWorkbook.from_path(file) as book:
            sheet = source.sheet or book.sheet_names[0]
            if sheet not in book.sheet_names:
                raise InputError(f"{name}: there is no sheet '{sheet}'; the sheets are {', '.join(book.sheet_names)}")
            cells = book.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
    except CalamineError as error:
        raise InputError(f"{name}: cannot be read as an Excel file ({_first_line(error)})") from None
    rows = ((line, [_written(cell, source.decimal) for cell in row], "") for line, row in enumerate(cells, 1))
    yield from _text_batches((row for row in rows if any(row[1])), name)


def _written(cell: object, decimal: str) -> str:
    """Write a value as text, a number and a date in the form that the table's settings announce."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell).replace(".", decimal)
    if isinstance(cell, datetime):
        return cell.isoformat(" ") if cell.time() != datetime.min.time() else cell.date().isoformat()
    return cell.isoformat() if isinstance(cell, date) else str(cell)


def _parquet(file: Path, name: str, source: TableSettings) -> Batches:
    try:
        with pq.ParquetFile(file) as parquet:
            reader = pa.RecordBatchReader.from_batches(parquet.schema_arrow, parquet.iter_batches())
            yield from _typed_batches(reader, name)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name}: cannot be read as a Parquet file ({_first_line(error)})") from None


def _sqlite(file: Path, name: str, source: TableSettings) -> Batches:
    address = f"{file.resolve().as_uri()}?mode=ro"
    table = (source.table or "").replace('"', '""')
    try:
        # The engine takes the rows in a thread of its own.
        with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as database:
            found = database.execute(source.sql or f'SELECT * FROM "{table}"')
            header = [column[0] for column in found.description or ()]
            cells = enumerate(chain([header], found))
            yield from _text_batches(((n, [_written(c, source.decimal) for c in row], "") for n, row in cells), name)
    except sqlite3.Error as error:
        raise InputError(f"{name}: cannot be read ({_first_line(error)})") from None


def _duckdb(file: Path, name: str, source: TableSettings) -> Batches:
    try:
        with duckdb.connect(file, read_only=True) as database:
            # The fingerprint covers this file alone.
            database.execute("SET enable_external_access = false; SET TimeZone = 'UTC'")
            found = database.sql(source.sql) if source.sql else database.table(source.table or "")
            if found is None:
                raise InputError(f"{name}: the query has no result; it must be a SELECT")
            yield from _typed_batches(found.to_arrow_reader(), name)
    except duckdb.Error as error:
        raise InputError(f"{name}: cannot be read ({_first_line(error)})") from None


READERS: dict[str, Callable[[Path, str, TableSettings], Batches]] = {
    "csv": _csv,
    "excel": _excel,
    "parquet": _parquet,
    "sqlite": _sqlite,
    "duckdb": _duckdb,
}


def _database_file(engine: str, folder: Path) -> Path:
    """Return the file of a `duckdb:///file` URL; three slashes: relative to the TOML, four: absolute."""
    file = folder / engine.partition(":///")[2]
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    return file
