"""Bad and extreme data: one sentence that says what to do, or a report that says what it cannot."""

import csv
import datetime as dt
import html
import json
import random

import nbformat
import openpyxl
import pytest
from typer.testing import CliRunner

from crm_analysis.cli import app

IDS = [
    "<script>alert(1)</script>",
    '"quoted"',
    "o'neil",
    '=HYPERLINK("http://example.com","x")',
    "x" * 5000,
    "中文客户",
    "عميل",
    "😀",
    "$x_1$",
    "a,b;c\td",
    "../../etc",
    "NULL",
    "<!-- files of best_customers -->",
    "{{ 7*7 }}",
    "-1+1",
]


def write(folder, rows, name="shop"):
    with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([["customer_id", "date", "amount"], *rows])
    toml = folder / f"{name}.toml"
    toml.write_text(f'title = "A <b>shop</b>"\n[tables.transactions]\npath = "{name}.csv"\n')
    return toml


def report(toml, *arguments):
    return CliRunner().invoke(app, ["report", str(toml), "--out", str(toml.parent / "reports"), *arguments])


def hostile_rows():
    """135 customers who buy and stop at rates of their own; the dearest of them have the worst names."""
    rng = random.Random(1)
    for number, customer in enumerate([*IDS, *(f"k{i}" for i in range(120))]):
        day = dt.date(2023, 1, 1) + dt.timedelta(days=rng.randrange(200))
        rate, spend = rng.gammavariate(1, 1) / 40, rng.lognormvariate(3, 0.8) * (20 if number < len(IDS) else 1)
        while day < dt.date(2024, 6, 1):
            yield customer, day, round(spend * rng.gammavariate(4, 0.25), 2)
            if rng.random() < 0.08:
                break
            day += dt.timedelta(days=1 + int(rng.expovariate(rate)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    toml = write(tmp_path_factory.mktemp("hostile"), hostile_rows(), name="it's 100% <hostile> ☠")
    done = report(toml)
    assert done.exit_code == 0, done.stderr
    return next((toml.parent / "reports").iterdir()) / "latest"


class TestHostileNames:
    def test_stay_text_on_every_page(self, hostile):
        pages = {page.stem: page.read_text(encoding="utf-8") for page in hostile.glob("*.html")}
        assert pages.keys() >= {"index", "pareto", "pyramid", "lifecycle", "lifetime_value"}
        for text in pages.values():
            assert "<script" not in text
            assert "<b>shop" not in text
            assert "x" * 100 not in text
        # these are among the most valuable customers, so the pages do show them
        shown = "".join(pages.values())
        written = [name for name in IDS if f">{html.escape(name)}<" in shown]
        assert len(written) >= 5
        assert any("<" in name for name in written)

    def test_stay_text_in_every_list(self, hostile):
        sheets = sorted((hostile / "lists").glob("*.xlsx"))
        assert len(sheets) >= 5
        for sheet in sheets:
            cells = [cell for row in openpyxl.load_workbook(sheet).active.iter_rows() for cell in row]
            assert {cell.data_type for cell in cells} <= {"s", "n", "d"}
            assert not any(cell.hyperlink for cell in cells)

    def test_are_all_counted(self, hostile):
        manifest = json.loads((hostile / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["figures"]["customers.count"]["value"] == 135
        assert manifest["warnings"] == []
        assert all(page["findings"] or page["not_described"] for page in manifest["pages"])

    def test_executed_notebooks_are_valid(self, hostile):
        for notebook in (hostile / "notebooks").glob("*.ipynb"):
            nbformat.validate(nbformat.read(notebook, as_version=4))


@pytest.mark.parametrize(
    ("rows", "answers", "warnings"),
    [
        pytest.param(
            [("a", "2024-01-05", 12.5)],
            {"customers.count": 1, "transactions.amount": 12.5, "pareto.top20_share": 1, "pareto.gini": 0},
            [
                *["No customer has bought on two days"] * 3,
                "No customer has been known for 365 days",
                "Only 0 customers had bought again",
            ],
            id="one customer",
        ),
        pytest.param(
            [(f"c{i % 9}", dt.date(2024, 1, 1) + dt.timedelta(days=3 * i), 0) for i in range(90)],
            {"customers.count": 9, "transactions.amount": 0, "lifecycle.loyal.customers": 9},
            [
                *["values sum to 0.00"] * 2,
                "No customer has been known for 365 days",
                "Only 9 customers had bought again",
            ],
            id="all amounts zero",
        ),
        pytest.param(
            [(f"c{i % 9}", dt.date(2024, 1, 1) + dt.timedelta(days=3 * i), -5) for i in range(90)],
            {"customers.count": 9, "transactions.amount": -450},
            [
                "values sum to -450.00",
                "Nobody has purchased anything yet",
                "values sum to -450.00",
                "Nobody has purchased anything yet",
                "Nobody has purchased anything yet",
                "No customer has been known for 365 days",
                "Nobody had purchased anything by 2024-09-24",
            ],
            id="only returns",
        ),
    ],
)
def test_a_report_says_what_it_cannot_tell(tmp_path, rows, answers, warnings):
    done = report(write(tmp_path, rows))
    assert done.exit_code == 0, done.stderr
    latest = tmp_path / "reports" / "shop" / "latest"
    manifest = json.loads((latest / "manifest.json").read_text())
    assert {key: manifest["figures"][key]["value"] for key in answers} == answers
    assert len(manifest["warnings"]) == len(warnings)
    for found, expected in zip(manifest["warnings"], warnings, strict=True):
        assert expected in found
        assert html.escape(found, quote=False) in (latest / "index.html").read_text().replace("&#39;", "'")
    for page in latest.glob("*.html"):
        assert "Traceback" not in page.read_text()
        assert not {"nan", "NaN", "inf"} & set(page.read_text().split())


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", [], ", line 3: tables.transactions: sales.csv, line 1: there are no column names"),
        ("customer_id,date,amount\n", [], ", line 3: tables.transactions: there are no rows in sales.csv"),
        ("customer_id,date,amount\na,2024-01-05,1\n", ["--as-of", "2023-12-31"], "the first is of 2024-01-05"),
        ("customer_id,date,amount\na,5.1.24,1\n", [], "none of 1 rows can be used; the first: sales.csv, line 2: date"),
        ("customer_id,day,amount\na,2024-01-05,1\n", [], "there is no column 'date'; the columns are customer_id, day"),
    ],
)
def test_data_that_cannot_be_used_are_refused_in_one_sentence(write_dataset, text, arguments, message):
    toml = write_dataset(text)
    refused = report(toml, *arguments)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"crm-analysis: {toml}")
    assert message in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not (toml.parent / "reports").exists()


def test_a_missing_dataset(tmp_path):
    refused = report(tmp_path / "gone.toml")
    assert refused.exit_code == 2
    assert "gone.toml: there is no such file" in refused.stderr
