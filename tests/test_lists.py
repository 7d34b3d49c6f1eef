"""Lists as files: typed for Excel, and nothing in them is ever a formula."""

import csv

import openpyxl
import pytest

from crm_analysis import lists

COLUMNS = [
    {"name": "customer_id", "unit": ""},
    {"name": "value", "unit": "EUR"},
    {"name": "p_alive", "unit": "share"},
    {"name": "last_purchase", "unit": "date"},
]
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")', "http://x", "00004", "中文", "a\nb"]
ROWS = [[text, -12.5, 0.25, "2024-02-29"] for text in FORMULAS] + [["empty", None, None, None]]


def test_xlsx(tmp_path):
    lists.write_xlsx(tmp_path / "x.xlsx", "Whom to call", COLUMNS, ROWS)
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    sheet = book.active
    assert [cell.value for cell in sheet[1]] == ["customer id", "value (EUR)", "p alive", "last purchase"]
    assert [row[0].value for row in sheet.iter_rows(min_row=2)] == [*FORMULAS, "empty"]
    assert {row[0].data_type for row in sheet.iter_rows()} == {"s"}
    assert not any(cell.hyperlink for row in sheet.iter_rows() for cell in row)
    assert [cell.number_format for cell in sheet[2]] == ["General", "#,##0.00", "0.0%", "yyyy-mm-dd"]
    assert sheet["D2"].is_date
    assert sheet["D2"].value.date().isoformat() == "2024-02-29"
    assert sheet["B2"].value == -12.5
    assert [cell.value for cell in sheet[len(ROWS) + 1]] == ["empty", None, None, None]
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == f"A1:D{len(ROWS) + 1}"


def test_csv(tmp_path):
    lists.write_csv(tmp_path / "x.csv", COLUMNS, ROWS)
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as text:
        header, *rows = csv.reader(text)
    assert header == ["customer_id", "value", "p_alive", "last_purchase"]
    assert [row[0] for row in rows[:7]] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", "'" + FORMULAS[5], "http://x"]
    assert rows[0][1:] == ["-12.5", "0.25", "2024-02-29"]
    assert rows[-1] == ["empty", "", "", ""]


@pytest.mark.parametrize("rows", [[], [["x" * 40_000, 1, 1, None]]])
def test_no_rows_and_very_long_text(tmp_path, rows):
    lists.write_xlsx(tmp_path / "x.xlsx", "t", COLUMNS, rows)
    sheet = openpyxl.load_workbook(tmp_path / "x.xlsx").active
    assert sheet.max_row == len(rows) + 1
