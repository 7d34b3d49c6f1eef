"""Bad and extreme data: one sentence that says what to do, or a report that says what it cannot."""

import base64
import csv
import datetime as dt
import html
import json
import re

import nbformat
import openpyxl
import pytest
import world
from bs4 import BeautifulSoup
from typer.testing import CliRunner

from crm_analysis.cli import app
from crm_analysis.page import TOLD

ENGLISH = re.compile(r"\d{2,},\d{3}\b|\d,\d{3},\d{3}|\d\.\d{1,2}(?!\d)|\d\.\d{4,}")
YEN = re.compile(r"JPY\s[\d.]+,\d|[\d.]+,\d+\sJPY")
UNSEEN = str.maketrans(dict.fromkeys("\N{FIRST STRONG ISOLATE}\N{POP DIRECTIONAL ISOLATE}"))


def write(folder, rows):
    with (folder / "shop.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([["customer_id", "date", "amount"], *rows])
    toml = folder / "shop.toml"
    toml.write_text('title = "A shop"\n[tables.transactions]\npath = "shop.csv"\n')
    return toml


def report(toml, *arguments):
    return CliRunner().invoke(app, ["report", str(toml), "--out", str(toml.parent / "reports"), *arguments])


@pytest.fixture(scope="module")
def pages(published_world):
    """The pages of the report on the hostile dataset, as parsed."""
    files = sorted(published_world.glob("*.html"))
    return {file.stem: BeautifulSoup(file.read_text("utf-8"), "html.parser") for file in files}


@pytest.fixture(scope="module")
def drawings(pages):
    """The charts of each page, as parsed."""
    sources = {name: [image["src"] for image in page.select("img")] for name, page in pages.items()}
    return {
        name: [BeautifulSoup(base64.b64decode(source.partition(",")[2]), "html.parser") for source in found]
        for name, found in sources.items()
    }


@pytest.fixture(scope="module")
def manifest(published_world):
    return json.loads((published_world / "manifest.json").read_text("utf-8"))


def texts(parsed):
    """What a reader sees of a page or a chart, element by element."""
    for text in parsed.find_all(string=True):
        if type(text).__name__ == "NavigableString" and text.parent.name not in ("style", "script"):
            yield text.translate(UNSEEN).strip()


class TestNamesOfTheWorld:
    def test_stay_text_on_every_page(self, pages):
        for name, page in pages.items():
            assert len(page.select("script")) == bool(page.select("table.sortable")), name
            assert not page.select("b > i, img[onerror], u"), name
            assert "x" * 100 not in page.text, name
        shown = "\n".join(text for page in pages.values() for text in texts(page))
        wanted = [*world.IDS, *world.NAMES, *world.PEOPLE, *world.KINDS]
        cut = [word if len(word) <= TOLD else f"{word[: TOLD - 1]}…" for word in wanted]
        assert [word for word in cut if word not in shown] == []

    def test_stand_in_charts(self, drawings):
        shown = {text for charts in drawings.values() for chart in charts for text in texts(chart)}
        for words, least in ((world.KINDS, 6), (world.PEOPLE, 8), (world.WAYS, 5), (world.NAMES, 4)):
            assert sum(any(word in text for text in shown) for word in words) >= least, words
        assert not [chart for charts in drawings.values() for chart in charts if chart.select("b, script, u, image")]

    def test_stand_in_lists(self, published_world):
        sheets = sorted((published_world / "lists").glob("*.xlsx"))
        assert len(sheets) > 30
        found = set()
        for sheet in sheets:
            cells = [cell for row in openpyxl.load_workbook(sheet).active.iter_rows() for cell in row]
            assert {cell.data_type for cell in cells} <= {"s", "n", "d", "b"}
            assert not any(cell.hyperlink for cell in cells)
            found |= {cell.value for cell in cells}
        assert found >= {*world.IDS, *world.NAMES}
        with (published_world / "lists" / "rfm_everyone.csv").open(encoding="utf-8-sig", newline="") as file:
            ids = {row["customer_id"] for row in csv.DictReader(file)}
        assert ids >= {f"'{name}" if name[0] in "=-@" else name for name in world.IDS}

    def test_are_all_counted(self, manifest):
        assert manifest["title"] == world.TITLE
        assert manifest["note"] == world.NOTE
        assert manifest["figures"]["customers.count"]["value"] == 235
        assert manifest["warnings"] == []
        assert all(page["findings"] and not page["unanswered"] for page in manifest["pages"])

    def test_title_and_note_stand_on_every_page(self, pages):
        for name, page in pages.items():
            shown = " ".join(page.select_one("header").text.translate(UNSEEN).split())
            assert world.NOTE in shown, name
            assert world.TITLE in page.title.text.translate(UNSEEN), name

    def test_from_right_to_left_move_no_number(self, pages):
        """Each stands for itself, so that what follows it is shown behind it."""
        right_to_left = re.compile("[\u0590-\u08ff]")
        found = [text for page in pages.values() for text in page.find_all(string=right_to_left)]
        assert len(found) > 100
        apart = "\N{FIRST STRONG ISOLATE}[^\N{POP DIRECTIONAL ISOLATE}]*\N{POP DIRECTIONAL ISOLATE}"
        assert not [text for text in found if right_to_left.search(re.sub(apart, "", text))]

    def test_executed_notebooks_are_valid(self, published_world):
        for notebook in (published_world / "notebooks").glob("*.ipynb"):
            nbformat.validate(nbformat.read(notebook, as_version=4))


def test_numbers_are_written_as_the_locale_has_them_and_yen_without_decimals(pages, drawings, manifest):
    wrong, german = [], 0
    for name, page in pages.items():
        for literal in page.select("details.computed, .ledger .files"):  # parameters and versions
            literal.extract()
        shown = [*texts(page), *(image["alt"] for image in page.select("img"))]
        shown += [text for chart in drawings[name] for text in texts(chart)]
        wrong += [f"{name}: {text}" for text in shown if YEN.search(text) or ENGLISH.search(text)]
        german += sum(bool(re.search(r"JPY\s\d{1,3}\.\d{3}\b", text)) for text in shown)
    assert wrong == []
    assert german > 100
    total = f"{manifest['figures']['transactions.amount']['value']:,.0f}".replace(",", ".")
    assert f"JPY\N{NO-BREAK SPACE}{total}" in pages["index"].text


@pytest.mark.usefixtures("same_process")
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
                "values sum to −450.00",
                "Nobody has purchased anything yet",
                "values sum to −450.00",
                "Nobody has purchased anything yet",
                "Nobody has purchased anything yet",
                "No customer has been known for 365 days",
                "Nobody had purchased anything by 2024-09-24",
            ],
            id="only returns",
        ),
    ],
)
def test_a_report_says_what_it_cannot_tell(tmp_path, request, rows, answers, warnings):
    # The second one shows nothing else on the other pages than the first and the last do.
    only = ["--only", "pareto,ranking,pyramid,lifecycle,analogy,lifetime_value"]
    done = report(write(tmp_path, rows), *only * ("zero" in request.node.name))
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
