"""Lists of customers as files: XLSX with typed columns, and CSV; no cell of them is ever a formula."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import re
from pathlib import Path
from typing import Any

import xlsxwriter

from crm_analysis.numerals import decimals, is_currency

# What a spreadsheet would take for a formula at the beginning of a cell.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
Column = dict[str, str]  # `name` and `unit`


def write_xlsx(path: Path, title: str, columns: list[Column], rows: list[list[Any]]) -> None:
    """Write a sheet with a frozen header, filters and a format for each column's unit; text stays text."""
    with xlsxwriter.Workbook(path, {"strings_to_formulas": False, "strings_to_urls": False}) as book:
        sheet = book.add_worksheet("List")
        book.set_properties({"title": title})
        head = book.add_format({"bold": True, "bottom": 1})
        formats = [book.add_format({"num_format": _number_format(column["unit"])}) for column in columns]
        for at, column in enumerate(columns):
            sheet.write_string(0, at, heading(**column), head)
            longest = max((len(str(row[at])) for row in rows[:200]), default=0)
            sheet.set_column(at, at, min(max(len(heading(**column)), longest) + 3, 60))
        for line, row in enumerate(rows, 1):
            for at, cell in enumerate(row):
                if cell is None:
                    continue
                if columns[at]["unit"] == "date":
                    sheet.write_datetime(line, at, dt.datetime.fromisoformat(cell), formats[at])
                elif isinstance(cell, str):
                    sheet.write_string(line, at, cell)
                else:
                    sheet.write(line, at, cell, formats[at])
        sheet.freeze_panes(1, 0)
        if columns:
            sheet.autofilter(0, 0, len(rows), len(columns) - 1)


def write_csv(path: Path, columns: list[Column], rows: list[list[Any]]) -> None:
    """Write UTF-8 with a byte order mark, as Excel expects; text that looks like a formula gets an apostrophe."""
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([_harmless(column["name"]) for column in columns])
        writer.writerows([[_harmless(cell) for cell in row] for row in rows])


def write_parts(folder: Path, name: str, listed: dict[str, Any]) -> dict[str, str]:
    """Write a sheet for each value of the column that a list is divided by; return the files, by value."""
    at = [column["name"] for column in listed["columns"]].index(listed["by"])
    parts: dict[str, list[list[Any]]] = {}
    for row in listed["rows"]:
        parts.setdefault("–" if row[at] is None else str(row[at]), []).append(row)
    files = {value: f"{name}_{file_name(value)}.xlsx" for value in sorted(parts)}
    for value, file in files.items():
        write_xlsx(folder / file, f"{listed['title']}: {value}", listed["columns"], parts[value])
    return files


def file_name(text: str) -> str:
    """Return a name that every file system takes and that no other text has."""
    plain = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:40]
    return text if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".strip("-")


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def heading(name: str, unit: str) -> str:
    """Write a column's name with its unit, unless the cells or the name itself show it."""
    words = name.replace("_", " ")
    return words if unit in ("", "date", "share") or words.endswith(unit) else f"{words} ({unit})"


def _number_format(unit: str) -> str:
    if unit == "date":
        return "yyyy-mm-dd"
    if unit == "share":
        return "0.0%"
    if is_currency(unit):
        return "#,##0" + "." * bool(decimals(unit)) + "0" * decimals(unit)
    return "General"
