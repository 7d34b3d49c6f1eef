"""A dataset's description: one TOML file, read and checked."""

from __future__ import annotations

import contextlib
import datetime as dt
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import duckdb
from babel import Locale, UnknownLocaleError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from crm_analysis.errors import InputError
from crm_analysis.intake import OPEN_TABLES, RESERVED, SCHEMAS

FORMATS = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), "csv"),
    ".parquet": "parquet",
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "excel"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TableSettings(_Strict):
    """Where one table is and how it is written.

    Attributes
    ----------
    path
        A file or a glob of files, relative to the TOML; or a list of them.
    table, sql
        Instead of a path: the name of a table, or a query, in the database that `engine` names.
    format
        `csv`, `parquet` or `excel`; by default told from the file's suffix.
    sheet
        The sheet of an Excel file; by default the first.
    delimiter, encoding
        How text files are written.
    decimal, thousands
        How numbers are written in text files, and wherever else a number is kept as text.
    date_format
        A `strptime` format for dates that are not written YYYY-MM-DD.
    columns
        The project's column names (left) and the source's (right); those with equal names need no entry.
    """

    path: str | list[str] | None = None
    table: str | None = None
    sql: str | None = None
    format: Literal["csv", "parquet", "excel"] | None = None
    sheet: str | None = None
    delimiter: str = Field(",", pattern=r'^[^"\r\n\x00]$', examples=[";"])
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""
    date_format: str = ""
    columns: dict[str, str] = {}

    @field_validator("encoding")
    @classmethod
    def _decodes(cls, encoding: str) -> str:
        try:
            b"\0\0\0\0".decode(encoding)
        except (LookupError, ValueError):
            raise ValueError(f"'{encoding}' is no text encoding that Python knows, such as cp1252") from None
        return encoding

    @field_validator("date_format")
    @classmethod
    def _tells_the_date(cls, date_format: str) -> str:
        plain = date_format.removesuffix("%z").rstrip()
        there_and_back = "SELECT strptime(strftime(DATE '2003-11-28', $f), $f)::DATE = DATE '2003-11-28'"
        with contextlib.suppress(duckdb.Error):
            if "%z" not in plain.lower() and duckdb.execute(there_and_back, {"f": plain}).fetchall()[0][0]:
                return date_format
        raise ValueError(f"'{date_format}' does not tell day, month and year, as %d.%m.%Y or %m/%d/%Y %H:%M does")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.path, self.table, self.sql)) != 1:
            raise ValueError("give exactly one of path, table and sql")
        if self.thousands == self.decimal:
            raise ValueError("decimal and thousands must differ")
        return self

    def files(self, folder: Path) -> list[Path]:
        """Return the files that `path` names, in its order, each once; a pattern without a file is an error."""
        found: dict[Path, Path] = {}
        for pattern in [self.path] if isinstance(self.path, str) else self.path or []:
            plain = folder / pattern
            if plain.is_dir():
                raise InputError(f"'{pattern}' is a folder; name the files in it, for example '{pattern}/*.csv'")
            base = Path(plain.anchor) if Path(pattern).is_absolute() else folder
            try:
                # What begins like this was left by a program that has or had the real file open.
                globbed = [p for p in base.glob(str(plain.relative_to(base))) if not p.name.startswith((".", "~$"))]
                matches = [plain] if plain.is_file() else sorted(p for p in globbed if p.is_file())
            except (OSError, ValueError) as error:
                raise InputError(f"'{pattern}' is not a usable path ({error})") from None
            if not matches:
                raise InputError(f"no file matches '{pattern}' in {folder}")
            for file in matches:
                found.setdefault(file.resolve(), file)
        if not found:
            raise InputError("the list names no file")
        return list(found.values())

    def format_of(self, file: Path) -> str:
        """Return the format of a file: as given, or by its suffix."""
        if found := self.format or FORMATS.get(file.suffix.lower()):
            return found
        raise InputError(f"{file.name}: its name does not tell what it is; give the format: csv, parquet or excel")


class Settings(_Strict):
    """A dataset: what it is called, where its tables are and how its notebooks are run.

    Attributes
    ----------
    title, note
        Printed on every page; the note says what a reader must know of the data.
    currency
        The ISO 4217 code of all amounts; without it they are shown without a currency.
    locale
        How numbers are written on the pages: `en` (1,234.5), `de` (1.234,5), `de_CH`, `en_IN`, …
    as_of
        The date of the analysis; by default the last date in the transactions.
    engine
        The URL of the database that `table` and `sql` read: `duckdb:///file` or `sqlite:///file`.
    cell_timeout
        Seconds that one cell of a notebook may take in a report.
    tables
        Each table of the design that is there.
    parameters
        For each notebook, parameters that differ from its own defaults; under `every`, for all that have them.
    """

    title: str = Field(min_length=1)
    note: str = ""
    currency: str = Field("", pattern="^([A-Z]{3})?$", examples=["EUR"])
    locale: str = "en"
    as_of: dt.date | None = None
    engine: str | None = Field(None, pattern="^(duckdb|sqlite):///.", examples=["duckdb:///shop.duckdb"])
    cell_timeout: int = Field(600, gt=0)
    tables: dict[str, TableSettings]
    parameters: dict[str, dict[str, Any]] = {}

    @field_validator("locale")
    @classmethod
    def _is_a_locale(cls, locale: str) -> str:
        try:
            Locale.parse(locale)
        except (ValueError, UnknownLocaleError):
            raise ValueError(f"'{locale}' is no locale that is known, such as en, de or fr_CA") from None
        return locale

    @field_validator("as_of", mode="before")
    @classmethod
    def _is_a_date(cls, as_of: object) -> object:
        try:
            return dt.date.fromisoformat(as_of) if isinstance(as_of, str) else as_of
        except ValueError:
            raise ValueError(f"'{as_of}' is not a date (YYYY-MM-DD)") from None

    @model_validator(mode="after")
    def _tables_are_known(self) -> Self:
        if "transactions" not in self.tables:
            raise _fault("it is missing; it is the one table that every dataset needs", "tables", "transactions")
        for name, table in self.tables.items():
            if name not in SCHEMAS:
                raise _fault(f"there is no such table; the tables are {', '.join(SCHEMAS)}", "tables", name)
            known = list(SCHEMAS[name])
            for column in table.columns:
                key = ("tables", name, "columns", column)
                if column not in known and name not in OPEN_TABLES:
                    raise _fault(f"there is no such column; the columns are {', '.join(known)}", *key)
                # The engine does not tell names apart by case.
                taken = [*RESERVED, *(other for other in [*known, *table.columns] if other != column)]
                if twin := next((other for other in taken if other.lower() == column.lower()), None):
                    raise _fault(f"the name '{twin}' is taken; choose another one", *key)
            if table.path is None and self.engine is None:
                raise _fault('it reads a database, so the top level needs engine = "duckdb:///…"', "tables", name)
        return self


def _fault(message: str, *keys: str) -> PydanticCustomError:
    """Return an error about a key that lies deeper than the model that is checked."""
    return PydanticCustomError("fault", "{message}", {"message": message, "keys": keys})


def read_settings(path: Path) -> Settings:
    """Read a dataset's TOML; an error names the file, the line and the key."""
    if path.suffix.lower() != ".toml" and path.is_file():
        raise InputError(f"{path}: a dataset is described by a TOML file, and this is none; see the README")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    try:
        text = _text(content)
        return Settings.model_validate(tomllib.loads(text))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8; save the file in that encoding") from None
    except tomllib.TOMLDecodeError as error:
        line = max((end for _, end, _ in _statements(text)), default=0) + 1
        raise InputError(f"{path}, line {line}: not valid TOML: {error}") from None
    except ValidationError as errors:
        # A misspelt key also makes the right one missing: say the cause.
        first = min(errors.errors(), key=lambda error: error["type"] != "extra_forbidden")
        keys, message = _explained(first)
        raise located(InputError(message, *keys), path) from None


def located(error: InputError, path: Path) -> InputError:
    """Return an error with the dataset's TOML, and the line and the name of the key that it is about."""
    line = line_of(_text(path.read_bytes()), error.keys)
    where = f"{path}, line {line}" if line else f"{path}"
    return InputError(": ".join([where, *filter(None, [".".join(error.keys)]), str(error)]))


def _explained(error: ErrorDetails) -> tuple[list[str], str]:
    """Return the key that one of pydantic's errors is about, and a sentence on what is wrong with it."""
    keys = [str(key) for key in error["loc"]]
    model = TableSettings if len(keys) > 2 else Settings
    field = keys[2 if model is TableSettings else 0] if keys else ""
    if field == "path":
        keys = keys[:3]  # pydantic goes on with the type that it tried
    match error["type"]:
        case "fault":
            return list(error["ctx"]["keys"]), error["msg"]
        case "value_error":
            return keys, error["msg"].removeprefix("Value error, ")
        case "missing":
            return keys, "it is missing"
        case "extra_forbidden":
            return keys, f"there is no such key; the keys are {', '.join(model.model_fields)}"
        case "string_pattern_mismatch":
            example = ", ".join(model.model_fields[field].examples or [])
            return keys, f"it is {error['input']!r}, but should look like '{example}'"
        case _:
            should = error["msg"].partition(" should ")[2].replace("dictionary", "TOML table").partition(" or inst")[0]
            return keys, f"it is {error['input']!r:.60}, but should {should}"


def line_of(text: str, keys: Sequence[str]) -> int | None:
    """Return the line of a TOML text on which a key stands, or the nearest of its parents; None without any."""
    best, deepest = None, 0
    for start, _, document in _statements(text):
        depth = 0
        while depth < len(keys) and isinstance(document, dict) and keys[depth] in document:
            document, depth = document[keys[depth]], depth + 1
        if depth > deepest:
            best, deepest = start, depth
    return best


def _statements(text: str) -> Iterator[tuple[int, int, Any]]:
    """Yield the first and the last line of each statement of a TOML, and what the TOML says up to there.

    Every beginning of the text that is valid TOML ends with a statement (or a comment), so the parser itself
    finds them, whatever stands in quotation marks or over several lines.
    """
    lines = text.split("\n")
    start = 1
    for end in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        yield start, end, document
        start = end + 1


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig").replace("\r\n", "\n")
