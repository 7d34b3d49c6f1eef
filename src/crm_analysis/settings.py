"""A dataset's description: one TOML file, read and checked."""

from __future__ import annotations

import codecs
import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from crm_analysis.errors import InputError
from crm_analysis.intake import OPEN_TABLES, SCHEMAS

FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".xlsx": "excel", ".xls": "excel"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
    delimiter, encoding, decimal, thousands
        How text files are written; Excel cells that hold text follow `decimal` and `thousands` too.
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
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = "utf-8-sig"
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'"] = ""
    date_format: str = ""
    columns: dict[str, str] = {}

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, encoding: str) -> str:
        try:
            return codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(f"'{encoding}' is no encoding that Python knows") from None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.path, self.table, self.sql)) != 1:
            raise ValueError("give exactly one of path, table and sql")
        if self.thousands == self.decimal:
            raise ValueError("decimal and thousands must differ")
        return self

    def files(self, folder: Path) -> list[Path]:
        """Return the files that `path` names, sorted; an error names the pattern that matches none."""
        patterns = [self.path] if isinstance(self.path, str) else self.path or []
        found: dict[Path, None] = {}
        for pattern in patterns:
            absolute = Path(pattern).is_absolute()
            base, glob = (Path(Path(pattern).anchor), pattern[1:]) if absolute else (folder, pattern)
            plain = base / glob
            matches = [plain] if plain.is_file() else sorted(p for p in base.glob(glob) if p.is_file())
            if not matches:
                raise InputError(f"no file matches '{pattern}' in {folder}")
            found |= dict.fromkeys(matches)
        return list(found)

    def format_of(self, file: Path) -> str:
        """Return the format of a file: as given, or by its suffix."""
        if found := self.format or FORMATS.get(file.suffix.lower()):
            return found
        raise InputError(f"{file}: give its format (csv, parquet or excel); '{file.suffix}' does not tell")


class Settings(_Strict):
    """A dataset: what it is called, where its tables are and how its notebooks are run.

    Attributes
    ----------
    title, note
        Printed on every page; the note says what a reader must know of the data.
    currency
        The ISO 4217 code of all amounts.
    as_of
        The date of the analysis; by default the last date in the transactions.
    engine
        The URL of the database that `table` and `sql` read: `duckdb:///file` or `sqlite:///file`.
    cell_timeout
        Seconds that one cell of a notebook may take in a report.
    tables
        Each table of the design that is there.
    parameters
        For each notebook, parameters that differ from its own defaults.
    """

    title: str = Field(min_length=1)
    note: str = ""
    currency: str = Field("USD", pattern="^[A-Z]{3}$")
    as_of: dt.date | None = None
    engine: str | None = Field(None, pattern="^(duckdb|sqlite)://.+")
    cell_timeout: int = Field(600, gt=0)
    tables: dict[str, TableSettings]
    parameters: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _tables_are_known(self) -> Self:
        if "transactions" not in self.tables:
            raise ValueError("tables.transactions is missing; it is the one table that every dataset needs")
        for name, table in self.tables.items():
            if name not in SCHEMAS:
                raise ValueError(f"tables.{name} is not a table; the tables are {', '.join(SCHEMAS)}")
            for column in table.columns:
                if column not in SCHEMAS[name] and name not in OPEN_TABLES:
                    known = ", ".join(SCHEMAS[name])
                    raise ValueError(f"tables.{name}.columns.{column} is not a column; the columns are {known}")
            if table.path is None and self.engine is None:
                raise ValueError(f'tables.{name} reads a database, so the top level needs engine = "duckdb:///…"')
        return self


def read_settings(path: Path) -> Settings:
    """Read a dataset's TOML; an error names the file, the line and the key."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a UTF-8 text file ({error})") from None
    try:
        return Settings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as errors:
        first = errors.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        keys = [str(key) for key in first["loc"] if str(key) not in ("str", "list[str]")]
        named = re.match(r"(tables\.[\w.-]+) ", message)  # a check across tables says itself which key it means
        line = line_of(text, named[1].split(".") if named else keys)
        if first["type"] == "extra_forbidden":
            model = TableSettings if keys[0] == "tables" else Settings
            message = f"unknown key; the keys here are {', '.join(model.model_fields)}"
        where = f"{path}, line {line}" if line else f"{path}"
        raise InputError(f"{where}: {'.'.join(keys) + ': ' if keys else ''}{message}") from None


def line_of(text: str, keys: list[str]) -> int | None:
    """Return the line of a TOML text on which a key stands, or the nearest of its parents."""
    section: list[str] = []
    found: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+([^\]]+)\]", line):
            section = _key_parts(header[1])
            found.setdefault(tuple(section), number)
        elif key := re.match(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"))*)\s*=""", line):
            found.setdefault(tuple(section + _key_parts(key[1])), number)
    return next((found[tuple(keys[:n])] for n in range(len(keys), 0, -1) if tuple(keys[:n]) in found), None)


def _key_parts(key: str) -> list[str]:
    return [part.strip(" \"'") for part in key.split(".")]
