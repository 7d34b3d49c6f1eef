"""Raw rows: reads files and database tables as text, each row with the file and line it came from."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from datetime import date, datetime
from itertools import chain, islice
from pathlib import Path
from urllib.parse import urlsplit

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend

from crm_analysis.errors import InputError
from crm_analysis.intake import ORIGIN
from crm_analysis.settings import Settings, TableSettings

BATCH = 100_000  # rows that are taken apart in Python at a time

csv.field_size_limit(2**31 - 1)

# A row: its line, its fields, and what was wrong when it was taken apart ("" if nothing).
Row = tuple[int, list[str], str]


def files_of(settings: Settings, folder: Path) -> list[Path]:
    """Return every file that a dataset is read from: all that its fingerprint depends on."""
    files = [file for table in settings.tables.values() if table.path for file in table.files(folder)]
    if settings.engine:
        database = _database_file(settings.engine, folder)
        logs = [database.with_name(database.name + suffix) for suffix in (".wal", "-wal")]
        files += [database, *(log for log in logs if log.is_file())]
    return files


def digest(file: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def load_raw(connection: Backend, settings: Settings, table: str, folder: Path) -> tuple[ir.Table, int]:
    """Load one table's raw rows into a temporary table.

    Returns
    -------
    ibis.Table
        The source's columns as text, and `_file`, `_line` and `_problem`.
    int
        The number of rows read, counted while reading.
    """
    source = settings.tables[table]
    if source.path is None:
        return _load_database(connection, settings, table, folder)
    counted = 0
    parts: list[ir.Table] = []
    for number, file in enumerate(source.files(folder)):
        name, format = f"raw_{table}_{number}", source.format_of(file)
        shown = str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
        if format == "parquet":
            part = _parquet(connection, file, shown, name)
            counted += int(part.count().execute())
        else:
            rows = _excel_rows(file, source) if format == "excel" else _csv_rows(file, source)
            counting = _Counting(rows)
            part = _store(connection, name, file, shown, counting)
            counted += counting.count
        parts.append(part)
    columns = list(dict.fromkeys(chain.from_iterable(part.columns for part in parts)))
    aligned = [
        part.select(*(part[c] if c in part.columns else ibis.null("string").name(c) for c in columns)) for part in parts
    ]
    return (ibis.union(*aligned) if len(aligned) > 1 else aligned[0]), counted


class _Counting:
    """Count the rows that pass, so that the engine's own count can be checked against it."""

    def __init__(self, rows: Iterator[Row]):
        self.rows, self.count = rows, 0

    def batch(self) -> list[Row]:
        taken = list(islice(self.rows, BATCH))
        self.count += len(taken)
        return taken


def _store(connection: Backend, name: str, file: Path, shown: str, rows: _Counting) -> ir.Table:
    """Store a header and rows of text as a temporary table."""
    header = [cell.strip() for cell in next(rows.rows, (0, [], ""))[1]]
    if not any(header):
        raise InputError(f"{file}: the file is empty; its first line must name the columns")
    if twice := sorted({cell for cell in header if header.count(cell) > 1 and cell}):
        raise InputError(f"{file}, line 1: the column name '{twice[0]}' stands there twice")
    header = [cell or f"column {i}" for i, cell in enumerate(header, 1)]
    if taken := set(header) & set(ORIGIN):
        raise InputError(f"{file}, line 1: the column name '{taken.pop()}' is reserved; rename it")
    schema = pa.schema(
        [(column, pa.string()) for column in header] + [("_line", pa.int64()), ("_problem", pa.string())]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        while taken := rows.batch():
            lines, fields, problems = zip(*(_fit(row, len(header)) for row in taken), strict=True)
            columns = [pa.array(column, pa.string()) for column in zip(*fields, strict=True)]
            yield pa.record_batch([*columns, pa.array(lines, pa.int64()), pa.array(problems, pa.string())], schema)

    _create(connection, name, pa.RecordBatchReader.from_batches(schema, batches()))
    return connection.table(name).mutate(_file=ibis.literal(shown))


def _create(connection: Backend, name: str, reader: pa.RecordBatchReader) -> None:
    connection.con.register("incoming", reader)
    connection.con.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS SELECT * FROM incoming')
    connection.con.unregister("incoming")


def _fit(row: Row, width: int) -> Row:
    """Give a row the header's width; what does not fit is said and kept in the last field."""
    line, fields, problem = row
    if len(fields) == width:
        return row
    problem = problem or f"{len(fields)} fields where the header has {width}"
    kept = [*fields[: width - 1], " | ".join(fields[width - 1 :])] if len(fields) > width else fields
    return line, kept + [""] * (width - len(kept)), problem


def _csv_rows(file: Path, source: TableSettings) -> Iterator[Row]:
    """Yield a text file's rows with the line on which each begins; blank lines are no rows."""
    line = 1
    try:
        with file.open(encoding=source.encoding, newline="") as text:
            reader = csv.reader(text, delimiter=source.delimiter, strict=True)
            while True:
                line = reader.line_num + 1
                try:
                    fields, problem = next(reader), ""
                except StopIteration:
                    return
                except csv.Error as error:
                    if "unexpected end of data" in str(error):
                        raise InputError(f"{file}, line {line}: a quotation mark opened here is never closed") from None
                    fields, problem = [], f"not valid CSV: {error}"
                if fields or problem:
                    yield line, fields, problem
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: near line {line} a byte (0x{error.object[error.start]:02x}) is not {source.encoding};"
            ' set encoding in the table\'s TOML, for example encoding = "cp1252"'
        ) from None
    except UnicodeError as error:
        raise InputError(f"{file}: not {source.encoding} ({error}); set encoding in the table's TOML") from None


def _excel_rows(file: Path, source: TableSettings) -> Iterator[Row]:
    """Yield a sheet's rows as text, numbers and dates in the form that the table's settings announce."""
    from python_calamine import CalamineError, CalamineWorkbook

    def text(cell: object) -> str:
        if isinstance(cell, bool):
            return str(cell).lower()
        if isinstance(cell, float):
            return (
                str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell).replace(".", source.decimal)
            )
        if isinstance(cell, datetime):
            return cell.isoformat(" ") if cell.time() != datetime.min.time() else cell.date().isoformat()
        return cell.isoformat() if isinstance(cell, date) else str(cell)

    try:
        with CalamineWorkbook.from_path(file) as book:
            sheet = source.sheet or book.sheet_names[0]
            if sheet not in book.sheet_names:
                raise InputError(f"{file}: there is no sheet '{sheet}'; the sheets are {', '.join(book.sheet_names)}")
            cells = book.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
    except CalamineError as error:
        raise InputError(f"{file}: cannot be read as an Excel file ({error})") from None
    for line, row in enumerate(cells, 1):
        fields = [text(cell) for cell in row]
        if any(fields):
            yield line, fields, ""


def _parquet(connection: Backend, file: Path, shown: str, name: str) -> ir.Table:
    try:
        typed = connection.read_parquet(file, table_name=name, file_row_number=True)
    except Exception as error:
        raise InputError(f"{file}: cannot be read as a Parquet file ({error})") from None
    line = typed["file_row_number"].cast("int64") + 1
    return _as_text(typed.drop("file_row_number")).mutate(
        _file=ibis.literal(shown), _line=line, _problem=ibis.literal("")
    )


def _load_database(connection: Backend, settings: Settings, table: str, folder: Path) -> tuple[ir.Table, int]:
    """Copy a table or a query of another database, as text."""
    source = settings.tables[table]
    assert settings.engine is not None
    file = _database_file(settings.engine, folder)
    if settings.engine.startswith("duckdb"):
        database = ibis.duckdb.connect(file, read_only=True)
        database.raw_sql("SET enable_external_access = false")  # the fingerprint covers this file alone
    else:
        database = ibis.sqlite.connect(file)
    shown = source.table or "sql"
    try:
        typed = database.table(source.table) if source.table else database.sql(source.sql)
        rows = _as_text(typed).to_pyarrow()
    except Exception as error:
        wanted = f"table '{source.table}'" if source.table else f"query '{source.sql}'"
        raise InputError(f"{file}: {wanted} cannot be read ({' '.join(str(error).split())[:200]})") from None
    finally:
        database.disconnect()
    rows = rows.append_column("_line", pa.array(range(1, len(rows) + 1), pa.int64()))
    _create(connection, f"raw_{table}", rows.to_reader())
    stored = connection.table(f"raw_{table}").mutate(
        _file=ibis.literal(f"{file.name}: {shown}"), _problem=ibis.literal("")
    )
    return stored, len(rows)


def _as_text(table: ir.Table) -> ir.Table:
    """Cast every column to text; a float without a fraction is written as a whole number, NaN as nothing."""

    def text(column: ir.Value) -> ir.StringValue:
        if isinstance(column, ir.FloatingValue):
            whole = (column == column.floor()) & (column.abs() < 2**53)
            digits = whole.ifelse(column, ibis.null("float64")).cast("int64").cast("string")
            return ibis.coalesce(digits, column.cast("string")).nullif("nan").nullif("NaN")
        return column.cast("string")

    return table.select(**{name: text(table[name]) for name in table.columns})


def _database_file(engine: str, folder: Path) -> Path:
    """Return the file of a `duckdb:///file` URL; three slashes: relative to the TOML, four: absolute."""
    url = urlsplit(engine)
    file = folder / (url.netloc + url.path.removeprefix("/"))
    if not file.is_file():
        raise InputError(f'engine = "{engine}": there is no file {file}')
    return file
