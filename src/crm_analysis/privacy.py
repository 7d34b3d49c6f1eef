"""Customers under pseudonyms: what notebooks see instead of ids and names, and how lists get these back.

`crm-analysis report --pseudonymise` sets an environment variable for its processes and kernels. `open_dataset` then
opens a second cache, made from the clean one, in which no id, name or other unique attribute of a customer is; so a
notebook cannot publish what it cannot read. Only the lists that go to the confidential folder are turned back.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import nbformat

from crm_analysis.errors import InputError
from crm_analysis.intake import SCHEMAS

VARIABLE = "CRM_ANALYSIS_PSEUDONYMISE"
NOTE = "Customers stand under pseudonyms here; the lists with their names are kept apart."
IDENTIFIERS = ("customer_id", "order_id", "contact_id", "quote_id", "case_id")
SHARED = 5  # customers who must have a value of a further attribute in common for it to be no trace of one of them
# Words that analyses look for in an attribute; they tell nothing of who it is.
WORDS: tuple[str, ...] = ("", "-", "?", "n/a", "na", "none", "null", "unknown", "nan", "telephone")
WORDS += ("yes", "y", "true", "t", "1", "x", "no", "n", "false", "f", "0")
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # without vowels and digits: never a word, a number or a formula
PSEUDONYM = re.compile(rf"(Customer )?\b([{LETTERS}]{{4}}-[{LETTERS}]{{4}}-[{LETTERS}]{{4}})\b")


@contextmanager
def applied(on: bool) -> Iterator[None]:
    """Let `open_dataset` show pseudonyms, or not, in this process and those that it starts."""
    before = os.environ.get(VARIABLE, "")
    os.environ[VARIABLE] = "yes" if on else ""
    try:
        yield
    finally:
        os.environ[VARIABLE] = before


def key_of(dataset: Path) -> str:
    """Return the key of a dataset's pseudonyms, from the file beside its TOML; empty where no pseudonyms are wanted."""
    if not os.environ.get(VARIABLE):
        return ""
    file = dataset.with_suffix(".key")
    try:
        if not file.exists():
            with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}-") as new:  # mode 0600
                new.write(secrets.token_hex(32))
                new.flush()
                os.link(new.name, file)
        if file.stat().st_mode & 0o077:
            raise InputError(f"{file}: others can read this key; run chmod 600 on it, or move it away to get a new one")
        key = file.read_text("utf-8").strip()
    except FileExistsError:  # made by another run meanwhile
        return key_of(dataset)
    except OSError as error:
        raise InputError(f"{file}: the key of the pseudonyms cannot be read or written ({error.strerror})") from None
    if not re.fullmatch("[0-9a-f]{64}", key):
        raise InputError(f"{file}: this is no key of pseudonyms; move it away to get a new one")
    return key


def keep(executed: Path) -> None:
    """Let an executed notebook read pseudonyms, too, when somebody runs it again in the report's folder."""
    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source += f'\n\nimport os\n\nos.environ["{VARIABLE}"] = "yes"  # whoever runs this gets pseudonyms\n'
    nbformat.write(notebook, executed)


def mark(key: str) -> str:
    """Return what tells pseudonyms of one key from those of another; empty without a key."""
    return hashlib.sha256(f"mark {key}".encode()).hexdigest()[:8] if key else ""


def build(file: Path, clean: Path, key: str) -> None:
    """Write a copy of a dataset's clean tables with pseudonyms; of rejected rows only where they are and why."""
    with closing(duckdb.connect()) as engine:
        for path, name in ((clean, "clean (READ_ONLY)"), (file, "hidden")):
            quoted = str(path).replace("'", "''")
            engine.execute(f"ATTACH '{quoted}' AS {name}")
        engine.execute("USE clean")
        texts = _define(engine, key)
        counted = f"SELECT count(*), count(DISTINCT pseudonym(id)) FROM ({texts})"
        known, different = engine.execute(counted).fetchall()[0]
        if known != different:
            raise InputError("two ids have the same pseudonym; move the file with the key away to get other pseudonyms")
        tables = engine.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'clean'").fetchall()
        for (table,) in sorted(tables, key=lambda row: row[0] == "_quality"):  # the table that is written last
            replaced = ", ".join(f"{sql} AS {column}" for column, sql in _hidden(engine, table).items())
            replace = f"REPLACE ({replaced})" if replaced else ""
            engine.execute(f"CREATE TABLE hidden.{table} AS SELECT * {replace} FROM {table}")


def restored(lists: list[dict[str, Any]], engine: duckdb.DuckDBPyConnection, key: str) -> list[dict[str, Any]]:
    """Return published lists with the ids and names that their pseudonyms stand for.

    `engine` holds the clean tables that the pseudonyms were made from.
    """
    cells = [cell for listed in lists for row in listed["rows"] for cell in row if isinstance(cell, str)]
    codes = [*{found[2] for cell in cells for found in PSEUDONYM.finditer(cell)}]
    meant = f"SELECT pseudonym(id) AS code, id FROM ({_define(engine, key)}) WHERE code IN (SELECT unnest(?))"
    ids: dict[str, str] = dict(engine.execute(meant, [codes]).fetchall())
    names: dict[str, str] = {}
    if "name" in _columns(engine, "customers"):
        called = "SELECT customer_id, name FROM customers WHERE name IS NOT NULL AND customer_id IN (SELECT unnest(?))"
        names = dict(engine.execute(called, [[*ids.values()]]).fetchall())

    def known(found: re.Match[str]) -> str:
        title, identifier = found.group(1), ids.get(found.group(2), found.group(2))
        return names.get(identifier, title + identifier) if title else identifier

    def plain(cell: Any) -> Any:
        return PSEUDONYM.sub(known, cell) if isinstance(cell, str) else cell

    return [listed | {"rows": [[plain(cell) for cell in row] for row in listed["rows"]]} for listed in lists]


def _define(engine: duckdb.DuckDBPyConnection, key: str) -> str:
    """Define `pseudonym(text)` and `masked(text, pseudonym)`; return the query of all texts that get pseudonyms."""
    digits = "0123456789ABCDEFGHIJ"
    engine.execute(
        rf"""CREATE OR REPLACE TEMP MACRO pseudonym(text) AS regexp_replace(translate(lpad(to_base(
        ('0x' || sha256('{key}' || sha256('inner {key}' || text))[1:15])::BIGINT % {20**12}, 20), 12, '0'),
        '{digits}', '{LETTERS}'), '(....)(....)(....)', '\1-\2-\3')"""
    )
    kept = f"lower(trim(text)) IN {WORDS}"
    engine.execute(
        f"CREATE OR REPLACE TEMP MACRO masked(text, code) AS CASE WHEN text IS NULL OR {kept} THEN text ELSE code END"
    )
    tables = engine.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()")
    return " UNION ".join(
        f"SELECT DISTINCT {column} AS id FROM {table} WHERE {column} IS NOT NULL"
        for (table,) in tables.fetchall()
        for column, sql in _hidden(engine, table).items()
        if f"pseudonym({column})" in sql
    )


def _hidden(engine: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return what stands in a table's columns in place of what is personal, as SQL by column."""
    columns = _columns(engine, table)
    if table == "_quarantine":  # the reasons cite what stood in the row
        reason = r"regexp_replace(reason, '(^|; )([a-z_]+) ''.*', '\1\2 is not usable', 's')"
        return {"reason": reason, "record": "NULL::VARCHAR"}
    hidden = {column: f"pseudonym({column})" for column in IDENTIFIERS if column in columns}
    if table == "customers":
        people = "SELECT customer_id FROM customers"
        if "name" in columns:
            hidden["name"] = "CASE WHEN trim(name) != '' THEN 'Customer ' || pseudonym(customer_id) ELSE name END"
            people += " UNION SELECT name FROM customers"
        for column in (column for column in columns if column not in SCHEMAS[table]):
            quoted = '"' + column.replace('"', '""') + '"'
            known = f"{quoted} IN ({people}) AND lower(trim({quoted})) NOT IN {WORDS}"
            shared = f"SELECT {quoted} FROM customers GROUP BY ALL HAVING count({quoted}) >= {SHARED}"
            hidden[quoted] = (
                f"CASE WHEN {quoted} IN ({shared}) THEN {quoted} ELSE masked({quoted}, pseudonym({quoted})) END"
            )
            if engine.execute(f"SELECT count(*) FILTER ({known}) FROM customers").fetchall()[0][0]:
                hidden[quoted] = f"pseudonym({quoted})"  # it names other customers
    return hidden


def _columns(engine: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    known = "SELECT column_name FROM duckdb_columns() WHERE database_name = current_database() AND table_name = ?"
    return [name for (name,) in engine.execute(known, [table]).fetchall()]
