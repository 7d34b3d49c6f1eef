"""A report is published whole or not at all, and says the right numbers."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import openpyxl
import pytest
from typer.testing import CliRunner

from crm_analysis import report
from crm_analysis.cli import app
from crm_analysis.errors import InputError
from crm_analysis.page import LISTED

PAGES = list(report.notebooks())
NEEDING = ("prospects", "calls", "acquisition", "service", "continuity")  # more than transactions


@pytest.fixture(scope="module")
def manifest(published):
    return json.loads((published / "manifest.json").read_text())


class Tags(HTMLParser):
    """Collects a page's tags and its visible text."""

    def __init__(self, page: Path):
        super().__init__()
        self.tags, self.text, self.hidden = [], "", 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden += tag in ("style", "script")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("style", "script")

    def handle_data(self, data):
        self.text += "" if self.hidden else data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def names(folder: Path) -> list[str]:
    """What a reader sees in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def tree(folder: Path) -> dict[str, str]:
    """A fingerprint of every file in a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class TestWholeReport:
    @pytest.mark.parametrize(
        ("key", "value", "tolerance"),
        [
            ("customers.count", 23570, 0),
            ("transactions.rows", 69659, 0),
            ("transactions.amount", 2500315.63, 0),
            ("transactions.duplicates", 255, 0),
            ("transactions.quarantined", 0, 0),
            ("pareto.top20_share", 0.6778, 0.0002),
            ("pareto.gini", 0.6346, 0.0002),
            ("pareto.customers_for_80", 0.3265, 0.0005),
            ("pyramid.important.customers", 236, 0),
            ("pyramid.important.share", 0.1588, 0.0005),
            ("lifecycle.dormant_after", 119, 0),
            ("lifecycle.lost_after", 283, 0),
        ],
    )
    def test_figures(self, manifest, key, value, tolerance):
        assert manifest["figures"][key]["value"] == pytest.approx(value, abs=tolerance)

    def test_each_figure_has_a_unit_and_a_label(self, manifest):
        assert all(figure["unit"] and figure["label"] for figure in manifest["figures"].values())

    def test_parts_add_up(self, manifest):
        value = {key: figure["value"] for key, figure in manifest["figures"].items()}
        tiers = ("important", "major", "ordinary", "small")
        stages = ("first_time", "repeat", "loyal", "dormant", "lost")
        assert sum(value[f"pyramid.{tier}.customers"] for tier in tiers) == 23570
        assert sum(value[f"pyramid.{tier}.share"] for tier in tiers) == pytest.approx(1)
        assert sum(value[f"pyramid.{way}"] for way in ("rose", "fell", "stayed", "joined")) == 23570
        assert sum(value[f"lifecycle.{stage}.customers"] for stage in stages) == 23570

    def test_manifest_says_how_it_was_made(self, manifest):
        assert manifest["as_of"] == "1998-06-30"
        assert manifest["period"] == ["1997-01-01", "1998-06-30"]
        assert manifest["value"] == "revenue"
        assert manifest["tables"]["transactions"] == {
            "read": 69659,
            "clean": 69659,
            "quarantined": 0,
            "duplicates": 255,
            "as_of": 69659,
        }
        assert re.fullmatch(r"[0-9a-f]{16}", manifest["fingerprint"])
        assert {"python", "duckdb", "pandas", "lifetimes"} <= manifest["versions"].keys()
        assert [page["name"] for page in manifest["pages"]] == PAGES
        assert all(page["seconds"] > 0 and page["parameters"] for page in manifest["pages"])
        assert [page["name"] for page in manifest["pages"] if not page["findings"]] == [*NEEDING]
        assert [page["name"] for page in manifest["pages"] if page["not_described"]] == [*NEEDING]
        assert manifest["warnings"] == []

    @pytest.mark.parametrize("name", ["index", *PAGES])
    def test_page_stands_alone(self, published, name):
        page = Tags(published / f"{name}.html")
        assert len(page.all("h1")) == 1
        assert page.all("script") in ([], [{}])  # the one that sorts lists stands on the page itself
        assert page.all("link") == page.all("iframe") == []
        for image in page.all("img"):
            assert image["src"].startswith("data:image/svg+xml;base64,")
            assert len(image["alt"]) > 30
        for tag, attributes in page.tags:
            for key in ("src", "href", "srcset", "action"):
                assert not re.match(r"(?i)(https?:)?//", attributes.get(key) or ""), tag
        assert "url(" not in (published / f"{name}.html").read_text()
        assert not re.search(r"\bimport |Traceback|nan\b|\bNone\b|object at 0x", page.text)
        assert (published / f"{name}.html").stat().st_size < 1_500_000

    def test_charts_are_there(self, published):
        charts = {name: len(Tags(published / f"{name}.html").all("img")) for name in PAGES}
        least = {"pareto": 2, "profit": 2, "ranking": 1, "pyramid": 4, "treatment": 1, "rfm": 1, "lifecycle": 4}
        least |= {"retention": 3, "analogy": 1, "lifetime_value": 8, "audit": 7}
        rest = {"overview", "scorecard", "call_list", "loyalty", *NEEDING}  # some have charts with more data
        assert charts.keys() == {*least, *rest}
        assert all(charts[name] >= count for name, count in least.items())

    def test_links_lead_somewhere(self, published):
        for page in published.glob("*.html"):
            for link in Tags(page).all("a"):
                assert (published / link["href"].partition("#")[0]).exists(), link

    def test_what_needs_other_tables_is_said_on_the_page_and_the_index(self, published, manifest):
        lacking = {page["name"]: page["unanswered"] for page in manifest["pages"]}
        index = " ".join(Tags(published / "index.html").text.split())
        for name, needed in {
            "profit": ["the category", "This needs the column 'product_id'", "'salesperson_id'", "no costs"],
            "treatment": ["later payment (needs the payments)", "'contacts'", "'service_costs'", "'assignments'"],
            "scorecard": ["which customers earn", "list prices", "3 criteria", "the table 'payments'", "bad customer"],
            "audit": ["This needs the column 'order_id' of the table 'transactions'"],
            "ranking": ["This needs the column 'product_id' of the table 'transactions' and the table 'products'"],
            "lifecycle": ["This needs the table 'contacts'"],
            "call_list": ["The data do not tell of: who was contacted when"],
            "loyalty": ["'contacts'"],
            "retention": ["the table 'contacts'", "'delivered' of the table 'transactions'", "the table 'cases'"],
        }.items():
            reasons = lacking.pop(name)
            for part in needed:
                (reason,) = [reason for reason in reasons if part in reason]
                assert reason.endswith(".")
                assert reason in " ".join(Tags(published / f"{name}.html").text.split())
                assert reason in index
        assert [name for name, reasons in lacking.items() if reasons] == []
        for page in manifest["pages"]:
            if page["not_described"]:
                reason = page["unanswerable"]
                assert reason.startswith("This needs the table")
                assert reason in " ".join(Tags(published / f"{page['name']}.html").text.split())
                assert f"{page['title']} {reason}" in index

    def test_index_repeats_every_finding(self, published, manifest):
        text = " ".join(Tags(published / "index.html").text.split())
        for page in manifest["pages"]:
            if page["name"] != "overview":  # what that tells, the index tells at its top
                assert all(finding["sentence"] in text for finding in page["findings"])

    def test_lists_are_complete_and_typed(self, published, manifest):
        lists = {found["name"]: found for page in manifest["pages"] for found in page["lists"]}
        totals = {"best_customers": 236, "fallen_key_customers": 1343, "to_win_back": 2959, "most_valuable": 236}
        assert {name: found["total"] for name, found in lists.items()}.items() >= totals.items()
        for found in lists.values():
            assert found["action"]
            sheet = openpyxl.load_workbook(published / found["files"][0]).active
            rows = min(found["total"], LISTED)
            assert sheet.max_row == rows + 1
            assert sheet.freeze_panes == "A2"
            assert (published / found["files"][1]).read_text("utf-8-sig").count("\n") == rows + 1
        best = openpyxl.load_workbook(published / lists["best_customers"]["files"][0]).active
        assert [cell.value for cell in best[2]][:2] == ["07592", pytest.approx(13990.93)]
        assert best["F2"].is_date

    def test_executed_notebooks_are_kept(self, published):
        for name in PAGES:
            notebook = nbformat.read(published / "notebooks" / f"{name}.ipynb", as_version=4)
            assert any(cell.get("outputs") for cell in notebook.cells)

    def test_latest_points_to_it(self, published):
        assert published.parts[-2:] == ("cdnow", "1998-06-30")
        assert os.readlink(published.parent / "latest") == "1998-06-30"
        assert names(published.parent) == ["1998-06-30", "latest"]


class TestSampleReport:
    """The report on the company that has every table."""

    @pytest.fixture(scope="class")
    def manifest(self, published_sample):
        return json.loads((published_sample / "manifest.json").read_text())

    def test_every_question_is_answered(self, manifest):
        assert manifest["warnings"] == []
        assert [page["name"] for page in manifest["pages"]] == PAGES
        assert [page["name"] for page in manifest["pages"] if page["unanswered"]] == []
        assert manifest["value"] == "profit"

    def test_every_page_says_that_the_data_are_synthetic(self, published_sample):
        for name in ("index", *PAGES):
            text = Tags(published_sample / f"{name}.html").text
            assert "does not exist: the company, its customers and every number are invented" in text, name

    def test_stages_add_up_to_the_people_on_record(self, manifest):
        value = {key: figure["value"] for key, figure in manifest["figures"].items()}
        stages = ("prospect", "target", "first_time", "repeat", "loyal", "dormant", "lost")
        known = sum(value[f"lifecycle.{stage}.customers"] for stage in stages) + value["lifecycle.non_customers"]
        assert known == manifest["tables"]["customers"]["as_of"]

    def test_pages_tell_the_same_of_the_same(self, manifest):
        value = {key: figure["value"] for key, figure in manifest["figures"].items()}
        customers = sum(value[f"pyramid.{tier}.customers"] for tier in ("important", "major", "ordinary", "small"))
        assert value["audit.customers.closing"] + value["lifecycle.lost.customers"] == customers
        assert value["audit.lost_after"] == value["lifecycle.lost_after"]
        assert value["audit.months.reconciled"] == 36
        change = pytest.approx(value["profit.change"])
        assert value["audit.profit.change"] == change
        assert (
            sum(value[f"profit.change.by_{part}"] for part in ("customers", "purchases", "amount", "margin")) == change
        )

    def test_every_list_has_an_action_and_its_impact_in_money(self, published_sample, manifest):
        lists = [found | {"page": page["name"]} for page in manifest["pages"] for found in page["lists"]]
        assert {found["page"] for found in lists} == {*PAGES} - {"overview"}  # which points to those of the others
        for found in lists:
            assert found["action"].endswith((".", "?")), found["name"]
            sheet = openpyxl.load_workbook(published_sample / found["files"][0]).active
            heads = [cell.value for cell in sheet[1]]
            assert any(head.endswith("(EUR)") for head in heads), (found["name"], heads)
            assert sheet.auto_filter.ref.startswith("A1:")
            assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n", "d", "b"}  # no formula
            for line in (published_sample / found["files"][1]).read_text("utf-8-sig").splitlines()[1:]:
                assert not line.startswith(("=", "+", "-", "@"))

    @pytest.mark.parametrize("name", ["index", *PAGES])
    def test_page_reads_well(self, published_sample, name):
        page = Tags(published_sample / f"{name}.html")
        assert all(len(image["alt"]) > 30 for image in page.all("img"))
        assert not re.search(r"\bimport |Traceback|nan\b|\bNone\b|object at 0x", page.text)
        assert (published_sample / f"{name}.html").stat().st_size < 1_500_000


CLOSE = "page.close(data)"
OPEN = """
from crm_analysis import open_dataset, page
data = open_dataset(dataset, as_of=as_of)
orders = int(data.table("transactions").count().execute())
page.figure("good.orders", orders, unit="rows", label="orders", headline=True)
page.finding("All is well.")
"""


ORDERS = "customer_id,date,amount\na,2024-01-01,10\nb,2024-02-01,20\na,2024-03-01,5\n"


def write_notebooks(folder: Path, bodies: dict[str, str]) -> None:
    """Write a notebook for each body, numbered in their order."""
    folder.mkdir()
    parameters = (
        'dataset: str = "x"  # the dataset\nas_of: str = ""  # the date\nlimit: int = 3  # a number\n'
        'share: float = 0.2  # a share\nword: str = "a"  # a word\nprevious: str = ""  # the previous report'
    )
    closing = '\nreport: str = ""  # the folder of the report'
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for number, (name, body) in enumerate(bodies.items(), 1):
        code = nbformat.v4.new_code_cell(parameters + closing * name.startswith("sum"))
        cells = [nbformat.v4.new_markdown_cell(f"# {name}"), code]
        cells[1].metadata["tags"] = ["parameters"]
        cells += [nbformat.v4.new_code_cell(part) for part in (textwrap.dedent(body), CLOSE)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / f"{number}0_{name}.ipynb")


@pytest.fixture(scope="module")
def earlier_report(tmp_path_factory, same_process):
    """A published report of the small dataset as of 2024-02-15, with one page."""
    folder = tmp_path_factory.mktemp("earlier")
    write_notebooks(folder / "notebooks", {"good": OPEN})
    (folder / "sales.csv").write_text(ORDERS)
    (folder / "shop.toml").write_text('title = "Shop"\n[tables.transactions]\npath = "sales.csv"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "NOTEBOOKS", folder / "notebooks")
        report.publish(folder / "shop.toml", as_of="2024-02-15", out=folder / "reports")
    return folder / "reports"


@pytest.fixture
def house(tmp_path, monkeypatch, write_dataset, earlier_report):
    """A small dataset: `house(bad="raise …")` writes the notebooks `10_good` and `20_bad` and returns the TOML."""
    monkeypatch.setattr(report, "NOTEBOOKS", tmp_path / "notebooks")

    def house(**bodies: str) -> Path:
        write_notebooks(tmp_path / "notebooks", {"good": OPEN, **bodies})
        return write_dataset(ORDERS)

    def last_report(date: str = "2024-02-15") -> Path:
        """Put an earlier report there, as if it were of this date."""
        shutil.copytree(earlier_report, house.out, symlinks=True)
        (house.out / "shop" / "2024-02-15").rename(house.out / "shop" / date)
        (house.out / "shop" / "latest").unlink()
        (house.out / "shop" / "latest").symlink_to(date)
        return house.out / "shop"

    house.out, house.last_report = tmp_path / "reports", last_report
    return house


def run(toml: Path, out: Path, *more: str):
    return CliRunner().invoke(app, ["report", str(toml), "--out", str(out), *more])


class TestFailures:
    def test_failing_notebooks_publish_nothing_and_leave_the_last_report_alone(self, house):
        reasons = {
            "raises": ('raise ValueError("no luck\\nat all")', "ValueError: no luck at all (at In [3])"),
            "dies": ("import os; os._exit(0)", "its kernel died"),
            "hangs": ("import time; time.sleep(60)", "a cell ran longer than its limit of 30 seconds"),
            "leaves": ("import sys; sys.exit(0)", "SystemExit: 0"),
            "garbled": ("syntax error", "SyntaxError"),
            "lost": ("from crm_analysis import open_dataset\nopen_dataset('gone.toml')", "InputError: "),
            "unmarked": ("from types import SimpleNamespace\npage = SimpleNamespace(close=str)\ndata = 1", "last cell"),
        }
        toml = house(**{name: body for name, (body, _) in reasons.items()})
        toml.write_text("cell_timeout = 30\n" + toml.read_text())
        folder = house.last_report("2024-03-01")
        good = tree(folder / "2024-03-01")
        failed = run(toml, house.out)
        assert failed.exit_code == 1
        assert failed.stdout == ""
        for name, (_, reason) in reasons.items():
            told = re.search(f"notebook {name}: (.*)", failed.stderr)
            assert told, name
            assert reason in told[1]
        assert "notebook good" not in failed.stderr
        assert "Traceback" not in failed.stderr
        assert tree(folder / "2024-03-01") == good
        assert os.readlink(folder / "latest") == "2024-03-01"
        assert names(folder) == ["2024-03-01", "2024-03-01.failed", "latest"]
        assert {path.stem for path in (folder / "2024-03-01.failed" / "notebooks").iterdir()} == {"good", *reasons}

    def test_a_first_report_that_fails_leaves_no_report(self, house):
        assert run(house(bad="1 / 0"), house.out).exit_code == 1
        assert names(next(house.out.iterdir())) == ["2024-03-01.failed"]

    def test_data_that_change_during_the_run_are_noticed(self, house):
        body = OPEN + "\nwith open(data.path.parent / 'sales.csv', 'a') as f: f.write('c,2024-03-02,1\\n')\n"
        toml = house(bad=body + "data = open_dataset(dataset, as_of=as_of)")
        failed = run(toml, house.out)
        assert failed.exit_code == 1
        assert "the data changed while the report was made" in failed.stderr

    def test_an_unanswerable_question_is_said_on_its_page_and_the_report_goes_on(self, house):
        toml = house(open='from crm_analysis.errors import Unanswerable\nraise Unanswerable("No <costs> are known.")')
        assert run(toml, house.out).exit_code == 0
        folder = next(house.out.iterdir()) / "2024-03-01"
        page = Tags(folder / "open.html")
        assert "No <costs> are known." in page.text
        assert "Traceback" not in page.text
        assert "papermill" not in page.text.lower()
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["warnings"] == ["open? No <costs> are known."]

    def test_streams_warnings_and_bare_values_stay_off_the_page(self, house):
        noise = "import sys, warnings\nwarnings.warn('careful')\nprint('loud')\nprint('stumble', file=sys.stderr)\n4242"
        toml = house(noisy=OPEN.replace("good.", "noisy.") + noise)
        assert run(toml, house.out).exit_code == 0
        text = Tags(next(house.out.iterdir()) / "2024-03-01" / "noisy.html").text
        assert "All is well." in text
        assert not re.search("careful|loud|stumble|4242", text)

    def test_an_unwritable_folder_is_named(self, house, tmp_path):
        (tmp_path / "file").write_text("")
        refused = run(house(), tmp_path / "file")
        assert refused.exit_code == 2
        assert "cannot be written" in refused.stderr


class TestParameters:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--only", "god"], "--only: there is no notebook 'god'; did you mean good?"),
            (["--set", "good.limt=3"], "--set good.limt: there is no parameter 'limt'; did you mean limit?"),
            (["--set", "bad.limit=3"], "--set: there is no notebook 'bad'"),
            (["--set", "good.limit=0.5"], "--set good.limit: 0.5 is not of the type int"),
            (["--set", "good.limit=true"], "--set good.limit: True is not of the type int"),
            (["--set", "good.share=nan"], "--set good.share: nan is not of the type float"),
            (["--set", "good.share=much"], "--set good.share: 'much' is not of the type float"),
            (["--set", "good.as_of=2024-01-01"], "--set good.as_of: the report itself sets as_of"),
            (["--set", "limit=3"], "--set limit=3: write NOTEBOOK.PARAM=VALUE"),
            (["--as-of", "2023-12-31"], "there are no transactions by 2023-12-31; the first is of 2024-01-01"),
            (["--as-of", "soon"], "as_of 'soon' is not a date"),
        ],
    )
    def test_a_mistake_is_refused_before_anything_runs(self, house, arguments, message):
        refused = run(house(), house.out, *arguments)
        assert refused.exit_code == 2
        assert message in refused.stderr
        assert not house.out.exists()

    def test_a_mistake_in_the_toml_too(self, house):
        toml = house()
        toml.write_text(toml.read_text() + '\n[parameters.good]\nlimit = "3"\n')
        refused = run(toml, house.out)
        assert refused.exit_code == 2
        assert f"{toml}: parameters.good.limit: '3' is not of the type int" in refused.stderr

    def test_every_means_all_notebooks_that_have_it(self, house):
        tell = '\npage.finding(f"{limit} {share}")'
        toml = house(**{name: OPEN.replace("good.", f"{name}.") + tell for name in ("one", "two")})
        toml.write_text(
            toml.read_text() + "\n[parameters.two]\nlimit = 7\n[parameters.every]\nlimit = 5\nshare = 0.25\n"
        )
        done = run(toml, house.out, "--set", "every.share=0.5")
        assert done.exit_code == 0, done.stderr
        manifest = json.loads((next(house.out.iterdir()) / "2024-03-01" / "manifest.json").read_text())
        found = {page["name"]: page["findings"][-1]["sentence"] for page in manifest["pages"]}
        assert (found["one"], found["two"]) == ("5 0.5", "7 0.5")
        refused = run(toml, house.out, "--set", "every.limt=5")
        assert refused.exit_code == 2
        assert "--set every.limt: there is no parameter 'limt'; did you mean limit?" in refused.stderr

    def test_values_reach_the_notebook(self, house):
        toml = house(tell=OPEN.replace("good.", "tell.") + '\npage.finding(f"{limit!r} {share!r} {word!r}")')
        toml.write_text(toml.read_text() + "\n[parameters.tell]\nlimit = 7\nshare = 1\n")
        hostile = 'it\'s "{x}" \\ $HOME'
        assert run(toml, house.out, "--set", f"tell.word={hostile}", "--set", "tell.share=0.5").exit_code == 0
        manifest = json.loads((next(house.out.iterdir()) / "2024-03-01" / "manifest.json").read_text())
        assert manifest["pages"][1]["findings"][-1]["sentence"] == f"7 0.5 {hostile!r}"
        assert manifest["pages"][1]["parameters"] == {"limit": 7, "share": 0.5, "word": hostile}


class TestWholes:
    """What pages are told of the report they are in and of the one before it."""

    SUM = """
    import json
    from pathlib import Path
    from crm_analysis import open_dataset, page
    data = open_dataset(dataset, as_of=as_of)
    told = json.loads((Path(report) / "manifest.json").read_text())
    page.finding(f"{[found['name'] for found in told['pages']]}, before: {Path(previous).name}")
    """

    def test_a_page_with_the_parameter_report_runs_last_and_is_told_of_the_others(self, house):
        toml = house(sum_up=self.SUM, later=OPEN.replace("good.", "later."))
        folder = house.last_report()
        done = run(toml, house.out)
        assert done.exit_code == 0, done.stderr
        assert done.stderr.splitlines()[-1].startswith("sum_up: done")
        target = folder / "2024-03-01"
        manifest = json.loads((target / "manifest.json").read_text())
        assert [page["name"] for page in manifest["pages"]] == ["good", "sum_up", "later"]
        assert manifest["pages"][1]["findings"][0]["sentence"] == "['good', 'later'], before: 2024-02-15"
        assert manifest["pages"][1]["parameters"] == {"limit": 3, "share": 0.2, "word": "a"}
        executed = (target / "notebooks" / "sum_up.ipynb").read_text()
        assert str(target) in executed
        assert f".{target.name}-" not in executed
        alone = run(toml, house.out, "--only", "sum_up", "--as-of", "2024-02-20")
        assert alone.exit_code == 0, alone.stderr

    def test_it_does_not_run_if_another_fails(self, house):
        failed = run(house(sum_up=self.SUM, bad="1 / 0"), house.out)
        assert failed.exit_code == 1
        assert "notebook bad: ZeroDivisionError" in failed.stderr
        assert "sum_up" not in failed.stderr

    @pytest.mark.parametrize("name", ["report", "previous"])
    def test_the_report_itself_sets_them(self, house, name):
        refused = run(house(sum_up=self.SUM), house.out, "--set", f"sum_up.{name}=x")
        assert refused.exit_code == 2
        assert f"the report itself sets {name}" in refused.stderr

    def test_a_list_has_a_file_for_each_value(self, house):
        body = """
        import pandas as pd
        calls = pd.DataFrame({"agent": ["A/1", "b", "A/1", None], "customer_id": ["x", "y", "z", "w"]})
        page.list("calls", calls, action="Call.", title="Calls", by="agent")
        """
        toml = house(divided=OPEN.replace("good.", "divided.") + textwrap.dedent(body))
        done = run(toml, house.out)
        assert done.exit_code == 0, done.stderr
        folder = next(house.out.iterdir()) / "2024-03-01"
        (found,) = json.loads((folder / "manifest.json").read_text())["pages"][1]["lists"]
        assert [*found["parts"]] == ["A/1", "b", "–"]
        rows = {
            value: [row[1] for row in openpyxl.load_workbook(folder / file).active.iter_rows(2, values_only=True)]
            for value, file in found["parts"].items()
        }
        assert rows == {"A/1": ["x", "z"], "b": ["y"], "–": ["w"]}
        page, index = (Tags(folder / name) for name in ("divided.html", "index.html"))
        for file in found["parts"].values():
            assert file in [link["href"] for link in page.all("a")]
            assert file in [link["href"] for link in index.all("a")]


class TestSuccession:
    def test_changes_since_the_previous_report(self, house):
        toml = house()
        folder = house.last_report()
        assert run(toml, house.out).exit_code == 0
        manifest = json.loads((folder / "2024-03-01" / "manifest.json").read_text())
        assert manifest["previous"] == "2024-02-15"
        text = " ".join(Tags(folder / "2024-03-01" / "index.html").text.split())
        assert "3 orders +50.0%" in text
        assert "2 customers unchanged" in text
        assert {"href": "../2024-02-15/index.html"} in Tags(folder / "2024-03-01" / "index.html").all("a")

    def test_the_same_date_again_replaces_the_report(self, house):
        toml = house()
        folder = house.last_report("2024-03-01")
        (folder / "2024-03-01" / "stray.txt").write_text("old")
        assert run(toml, house.out).exit_code == 0
        assert not (folder / "2024-03-01" / "stray.txt").exists()
        assert names(folder) == ["2024-03-01", "latest"]

    def test_a_part_never_replaces_a_fuller_report(self, house):
        toml = house(more=OPEN.replace("good.", "more."))
        folder = house.last_report("2024-03-01")
        whole = tree(folder / "2024-03-01")
        part = run(toml, house.out, "--only", "more")
        assert part.exit_code == 0
        assert Path(part.stdout.strip()).parent.name == "2024-03-01-part"
        assert tree(folder / "2024-03-01") == whole
        assert os.readlink(folder / "latest") == "2024-03-01"

    def test_a_part_alone_is_a_report(self, house):
        toml = house(more=OPEN.replace("good.", "more."))
        assert run(toml, house.out, "--only", "more").exit_code == 0
        folder = next(house.out.iterdir())
        assert sorted(path.name for path in (folder / "latest").glob("*.html")) == ["index.html", "more.html"]

    def test_if_publishing_fails_the_old_report_comes_back(self, house, monkeypatch):
        toml = house()
        folder = house.last_report("2024-03-01")
        whole = tree(folder / "2024-03-01")
        rename = Path.rename

        def broken(self, target):
            if self.name.startswith(".2024") and not self.name.endswith(".old"):
                raise OSError(28, "No space left on device")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", broken)
        refused = run(toml, house.out)
        assert refused.exit_code == 2
        assert "cannot be published" in refused.stderr
        assert tree(folder / "2024-03-01") == whole
        assert names(folder) == ["2024-03-01", "latest"]

    def test_quarantined_rows_are_told_and_written_out(self, house):
        toml = house()
        csv = toml.parent / "sales.csv"
        csv.write_text(csv.read_text() + "=1+1,2024-03-01,much\n")
        assert run(toml, house.out).exit_code == 0
        folder = next(house.out.iterdir()) / "2024-03-01"
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["warnings"] == [
            "1 of 4 rows of transactions could not be used and are in no figure (amount 1)."
        ]
        assert "1 of 4 rows of transactions could not be used" in Tags(folder / "index.html").text
        assert "amount 'much' is not a number" in (folder / "lists" / "quarantine.csv").read_text()
        sheet = openpyxl.load_workbook(folder / "lists" / "quarantine.xlsx").active
        assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"s", "n"}

    def test_an_interrupted_run_is_mended(self, house):
        """A run was killed between moving the old report aside and putting the new one in its place."""
        toml = house()
        folder = house.last_report()
        whole = tree(folder / "2024-02-15")
        (folder / "2024-02-15").rename(folder / ".2024-02-15.old")
        (folder / ".2024-01-01-left").mkdir()
        os.utime(folder / ".2024-01-01-left", (0, 0))
        assert run(toml, house.out).exit_code == 0
        assert tree(folder / "2024-02-15") == whole
        assert names(folder) == ["2024-02-15", "2024-03-01", "latest"]

    def test_a_latest_that_is_no_link_is_refused_at_once(self, house):
        toml = house()
        folder = house.last_report()
        (folder / "latest").unlink()
        (folder / "latest").mkdir()
        refused = run(toml, house.out)
        assert refused.exit_code == 2
        assert "latest is no link" in refused.stderr
        assert names(folder) == ["2024-02-15", "latest"]

    def test_figures_made_with_other_parameters_are_computed_anew(self, house):
        toml = house()
        folder = house.last_report()
        assert run(toml, house.out, "--set", "good.limit=4").exit_code == 0
        text = " ".join(Tags(folder / "2024-03-01" / "index.html").text.split())
        assert "3 orders +50.0%" in text  # as the limit does not matter to them
        assert "2 customers unchanged" in text
        manifest = json.loads((folder / "2024-03-01" / "manifest.json").read_text())
        assert manifest["pages"][0]["changes"] == ["limit was 3, is 4"]
        assert manifest["figures"]["good.orders"]["restated"] == 2

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ('page.figure("x.y", 1)\npage.figure("x.y", 2)', "it publishes the figure x.y twice"),
            ('page.figure("good.orders", 1)', "another one publishes the figure good.orders"),
        ],
    )
    def test_a_figure_that_is_published_twice_is_refused(self, house, body, reason):
        toml = house(twice=OPEN.replace("good.", "twice.") + body)
        failed = run(toml, house.out)
        assert failed.exit_code == 1
        assert reason in failed.stderr
        assert not (house.out / "shop" / "latest").exists()

    def test_data_most_of_which_cannot_be_used_are_refused(self, house):
        toml = house()
        csv = toml.parent / "sales.csv"
        csv.write_text(csv.read_text() + 'a,2024-03-01,"1,5"\n' * 4)
        refused = run(toml, house.out)
        assert refused.exit_code == 2
        assert (
            "tables.transactions: 4 of 7 rows cannot be used; the first: sales.csv, line 5: amount '1,5'"
            in refused.stderr
        )

    def test_lists_carry_the_customers_names(self, house):
        toml = house(
            named=OPEN.replace("good.", "named.")
            + """
page.list("all", data.customers().select("customer_id"), action="Call.", title="All", names=data.names())
"""
        )
        (toml.parent / "people.csv").write_text("customer_id,name\na,Ann <&>\n")
        toml.write_text(toml.read_text() + '\n[tables.customers]\npath = "people.csv"\n')
        assert run(toml, house.out, "--only", "named").exit_code == 0
        rows = (house.out / "shop" / "latest" / "lists" / "named_all.csv").read_text("utf-8-sig").splitlines()
        assert rows[0] == "customer_id,name"
        assert sorted(rows[1:]) == ["a,Ann <&>", "b,"]

    def test_terminated_it_leaves_nothing_behind(self, house):
        """A scheduler ends a run that takes too long."""
        toml = house(slow="import time; time.sleep(60)")
        code = "import pathlib, sys; from crm_analysis import cli, report;"
        code += "report.NOTEBOOKS = pathlib.Path(sys.argv.pop(1)); cli.app()"
        command = [sys.executable, "-c", code, str(report.NOTEBOOKS), "report", str(toml), "--out", str(house.out)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            assert "good: done" in running.stderr.readline()
            running.terminate()
            assert running.wait(20) == 143
        assert names(house.out / "shop") == []

    def test_refuses_input_error_type(self, house):
        with pytest.raises(InputError, match="there is no notebook 'x'"):
            report.publish(house(), only=["x"], out=house.out)
