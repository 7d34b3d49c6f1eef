"""A change that a report shows is one of the customers, never one of what a figure means."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from crm_analysis import definitions, history, report
from crm_analysis.numerals import changed

PARAMETERS = 'dataset: str = "x"  # the dataset\nas_of: str = ""  # the date\n'
LIMIT = "limit: int = 2  # purchases that make a loyal customer"
BODY = """
from crm_analysis import open_dataset, page

data = open_dataset(dataset, as_of=as_of)
bought = data.purchases().group_by("customer_id").aggregate(n=lambda t: t.count()).to_pandas()["n"]
page.figure("loyal.customers", int((bought >= limit).sum()), unit="customers", label="loyal", headline=True)
page.figure("loyal.most", int(bought.max()), unit="purchases", label="purchases of one customer")
"""
SALES = "customer_id,date,amount\na,2024-01-01,10\nb,2024-01-02,20\na,2024-01-20,5\n"
SALES += "b,2024-02-10,20\na,2024-02-11,5\nc,2024-02-12,7\nc,2024-03-05,7\nb,2024-03-20,9\nd,2024-03-21,1\n"
DATES = ("2024-01-31", "2024-02-29", "2024-03-31")


def write_notebook(path: Path, body: str, parameters: str = LIMIT) -> Path:
    cells = [nbformat.v4.new_markdown_cell(f"# {path.stem[3:]}?"), nbformat.v4.new_code_cell(PARAMETERS + parameters)]
    cells[1].metadata["tags"] = ["parameters"]
    cells += [nbformat.v4.new_code_cell(part) for part in (body, "page.close(data)")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture
def shop(tmp_path, monkeypatch, write_dataset, same_process):
    """A dataset of four customers, whose report has one page: `shop(date, limit=…)` returns its manifest."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(report, "NOTEBOOKS", tmp_path / "notebooks")
    write_notebook(tmp_path / "notebooks" / "10_loyal.ipynb", BODY)
    toml = write_dataset(SALES)

    def publish(date: str, folder: str = "reports", **settings):
        given = {"loyal": settings} if settings else {}
        index = report.publish(toml, as_of=date, out=tmp_path / folder, settings=given)
        return json.loads(index.with_name("manifest.json").read_text())

    publish.toml, publish.notebooks, publish.reports = toml, tmp_path / "notebooks", tmp_path / "reports" / "shop"
    return publish


@pytest.fixture
def quick(shop, monkeypatch):
    """The same without kernels: what a page publishes is computed here, and `quick.ran` tells what was run."""
    shop.ran, shop.failing, shop.code = [], {}, 1

    def run(jobs, progress):
        pages = []
        for job in jobs:
            date = job.parameters["as_of"]
            shop.ran.append((job.name, date, job.parameters.get("previous", "")))
            page = report.Page(job.name, f"{job.name}?", parameters=report._own(job.parameters))
            page.definition = job.definition
            page.failure = shop.failing.get((job.name, date), "")
            unit = {"unit": "customers", "label": job.name}
            value = int(date[5:7]) * 10 * shop.code + job.parameters.get("limit", 0)
            page.figures = {
                f"{job.name}.customers": {"value": value, "headline": True} | unit,
                f"{job.name}.month": {"value": int(date[5:7]), "headline": True} | unit,
            }
            pages.append(page)
        return pages

    monkeypatch.setattr(report, "_run", run)
    monkeypatch.setattr(report.render, "index", lambda manifest, earlier: "")
    return shop


def change_code(shop):
    """Let notebooks compute otherwise from now on."""
    shop.code = 2
    write_notebook(shop.notebooks / "10_loyal.ipynb", BODY + "loyal = 2\n")


def value(manifest, key="loyal.customers", what="value"):
    return manifest["figures"][key].get(what)


class TestRestated:
    def test_as_a_report_of_that_date_with_todays_parameters_publishes(self, shop):
        """With kernels, and independently: a report of the earlier date is made with the later parameters elsewhere."""
        first = shop(DATES[1])
        second = shop(DATES[2], limit=3)
        independent = shop(DATES[1], "elsewhere", limit=3)
        assert second["warnings"] == []
        assert value(first) == value(second, what="before") == 2
        assert value(second, what="restated") == value(independent) == 1
        assert value(second) == 2
        assert value(second, "loyal.most", "restated") == value(second, "loyal.most", "before") == 3
        assert second["redefined"] == [
            {
                "page": "loyal",
                "changes": ["limit was 2, is 3"],
                "figures": {"loyal.customers": {"before": 2, "restated": 1}},
            }
        ]
        assert second["corrected"] == {}
        assert changed(second["figures"]["loyal.customers"], history.comparable(second)["loyal.customers"]) == "+100.0%"
        assert "+100.0%" in (shop.reports / DATES[2] / "index.html").read_text()
        published = {path.name for path in (shop.reports / DATES[2]).rglob("*")}
        assert "restated" not in published
        assert {"loyal.html", "loyal.ipynb", "manifest.json"} <= published

    def test_without_a_change_nothing_runs_twice(self, quick):
        for date in DATES:
            found = quick(date)
        assert [ran[:2] for ran in quick.ran] == [("loyal", date) for date in DATES]
        assert found["redefined"] == found["pages"][0]["changes"] == []
        assert value(found, what="before") == 22
        assert value(found, what="restated") is None
        assert value(found, what="past") == [[DATES[0], 12], [DATES[1], 22]]

    def test_other_code(self, quick):
        quick(DATES[0])
        change_code(quick)
        found = quick(DATES[1])
        assert [ran[:2] for ran in quick.ran] == [("loyal", DATES[0]), ("loyal", DATES[1]), ("loyal", DATES[0])]
        assert found["redefined"] == [
            {
                "page": "loyal",
                "changes": ["how it is computed has changed"],
                "figures": {"loyal.customers": {"before": 12, "restated": 22}},
            }
        ]
        assert history.comparable(found)["loyal.customers"] == {"value": 22, "unit": "customers"}

    def test_a_page_that_cannot_be_restated_is_not_compared(self, quick):
        quick(DATES[0])
        quick.failing = {("loyal", DATES[0]): "ValueError: no (at In [3])"}
        found = quick(DATES[1], limit=5)
        assert found["warnings"] == [
            f"loyal? This is not compared with the report of {DATES[0]}: its definition has changed, and it cannot be"
            " computed anew for that date (its notebook fails for that date)."
        ]
        assert history.comparable(found).keys() == {key for key in found["figures"] if not key.startswith("loyal.")}
        assert value(found, what="before") == 12
        assert value(found, what="restated") is None
        assert value(found, what="past") == []
        assert found["redefined"] == []

    def test_only_pages_that_were_there(self, quick):
        quick(DATES[0])
        write_notebook(quick.notebooks / "20_new.ipynb", BODY)
        found = quick(DATES[1], limit=5)
        assert [ran[:2] for ran in quick.ran[1:]] == [("loyal", DATES[1]), ("new", DATES[1]), ("loyal", DATES[0])]
        assert "before" not in found["figures"]["new.customers"]

    def test_the_report_before_is_that_of_its_time(self, quick):
        write_notebook(quick.notebooks / "20_calls.ipynb", BODY, LIMIT + '\nprevious: str = ""  # the previous report')
        for date in ("2024-01-25", *DATES[:2]):
            quick(date)
        quick.ran.clear()
        report.publish(quick.toml, as_of=DATES[2], out=quick.reports.parent, settings={"calls": {"limit": 9}})
        calls = [ran[1:] for ran in quick.ran if ran[0] == "calls"]
        assert calls == [(DATES[2], str(quick.reports / DATES[1])), (DATES[1], str(quick.reports / DATES[0]))]

    def test_a_page_that_sums_up_is_not_run_again_nor_compared(self, quick):
        write_notebook(quick.notebooks / "05_sum.ipynb", BODY, 'report: str = ""  # the report')
        quick(DATES[0])
        assert "sum.month" in history.comparable(quick(DATES[1]))
        quick.ran.clear()
        found = quick(DATES[2], limit=5)
        assert [ran[:2] for ran in quick.ran] == [("loyal", DATES[2]), ("loyal", DATES[1]), ("sum", DATES[2])]
        assert "sum.month" not in history.comparable(found)
        assert "loyal.month" in history.comparable(found)
        assert value(found, "sum.month", "past") == []

    def test_the_value_of_a_customer_and_the_currency(self, quick):
        quick(DATES[0])
        quick.toml.write_text('currency = "EUR"\n' + quick.toml.read_text())
        sales = quick.toml.with_name("sales.csv")
        sales.write_text("\n".join(f"{line},{'cost' if not i else 1}" for i, line in enumerate(SALES.split())))
        found = quick(DATES[1])
        assert found["pages"][0]["changes"] == [
            "the value of a customer was revenue, is profit",
            "the currency was not named, is EUR",
        ]
        assert value(found, "transactions.amount", "before") is None
        assert value(found, "customers.count", "before") == 2

    def test_later_corrections_are_told_apart(self, quick):
        quick(DATES[0])
        quick.toml.with_name("sales.csv").write_text(SALES + "e,2024-01-31,100\n")
        found = quick(DATES[1])
        assert found["corrected"] == {
            "customers.count": {"before": 2, "restated": 3},
            "transactions.amount": {"before": 35.0, "restated": 135.0},
            "transactions.rows": {"before": 3, "restated": 4},
        }
        assert found["redefined"] == []
        assert history.comparable(found)["customers.count"]["value"] == 2


class TestPast:
    def test_reports_that_mean_the_same(self, quick):
        """Each week as usual, and on one day more strictly: that one is restated, not mixed in."""
        quick("2024-01-25")
        quick(DATES[0], limit=5)
        found = quick(DATES[1])
        assert value(found, what="past") == [["2024-01-25", 12], [DATES[0], 12]]
        assert quick(DATES[2], limit=5)["figures"]["loyal.customers"]["past"] == [[DATES[0], 15], [DATES[1], 25]]

    def test_goes_on_for_what_a_change_left_as_it_was(self, quick):
        quick(DATES[0])
        quick(DATES[1])
        change_code(quick)
        found = quick(DATES[2])
        assert value(found, "loyal.month", "past") == [[DATES[0], 1], [DATES[1], 2]]
        assert value(found, what="past") == [[DATES[1], 42]]
        assert "past" not in found["figures"]["transactions.rows"]

    def test_a_report_made_once_more_is_not_compared_with_itself(self, quick):
        quick(DATES[0])
        quick(DATES[1])
        found = quick(DATES[1], limit=5)
        assert found["previous"] == DATES[0]
        assert value(found, what="past") == [[DATES[0], 15]]
        assert quick(DATES[0])["previous"] is None

    def test_at_most_24(self, quick):
        quick(DATES[0])
        for day in range(1, 30):
            shutil.copytree(quick.reports / DATES[0], quick.reports / f"2023-12-{day:02}")
        past = value(quick(DATES[1]), what="past")
        assert [past[0][0], past[-1][0], len(past)] == ["2023-12-07", DATES[0], 24]


class TestOtherManifests:
    @pytest.mark.parametrize("damage", ["{", "[]", '{"figures": {"a": 1}, "pages": []}'])
    def test_what_cannot_be_read_is_passed_over_and_said(self, quick, damage):
        quick(DATES[0])
        quick(DATES[1])
        (quick.reports / DATES[1] / "manifest.json").write_text(damage)
        found = quick(DATES[2])
        assert found["previous"] == DATES[0]
        assert value(found, what="before") == 12
        assert found["warnings"] == [
            f"The manifest.json of {DATES[1]} is damaged or of another version, so nothing is compared with it."
        ]

    def test_one_from_before_there_were_definitions(self, quick):
        old = quick(DATES[0])
        for page in old["pages"]:
            del page["definition"], page["changes"]
        for figure in old["figures"].values():
            figure.pop("past", None)
        del old["redefined"], old["corrected"]
        (quick.reports / DATES[0] / "manifest.json").write_text(json.dumps(old))
        quick.code = 2
        found = quick(DATES[1])
        assert found["redefined"][0]["changes"] == ["how it is computed has changed"]
        assert value(found, what="restated") == 22
        assert history.comparable(old) == {}

    def test_a_report_with_more_in_it(self, quick):
        told = quick(DATES[0]) | {"of_a_later_version": {"a": 1}}
        (quick.reports / DATES[0] / "manifest.json").write_text(json.dumps(told))
        assert value(quick(DATES[1]), what="before") == 12


class TestDefinitions:
    @pytest.fixture
    def house(self, tmp_path, monkeypatch):
        """A package of some modules, and a notebook that uses two of them."""
        package = tmp_path / "crm_analysis"
        (package / "charts").mkdir(parents=True)
        (package / "rates").mkdir()
        for module, code in {
            "__init__": '__version__ = "1"\n',
            "pareto": "def top():\n    from crm_analysis.rates.few import few\n    return few\n",
            "service": "waited = 1\n",
            "page": "shown = 1\n",
            "charts/__init__": "colour = 1\n",
            "charts/theme": "colour = 1\n",
            "rates/__init__": "",
            "rates/few": "few = 5\n",
        }.items():
            (package / f"{module}.py").write_text(code)
        monkeypatch.setattr(definitions, "PACKAGE", package)
        definitions._read.cache_clear()  # it has found the modules of another package
        body = "from crm_analysis import charts, page, pareto\nfrom crm_analysis.charts import theme\nshare = 1"
        write_notebook(tmp_path / "10_pareto.ipynb", body)
        return tmp_path

    def digest(self, house):
        return definitions.digests({"pareto": house / "10_pareto.ipynb"}, {"pareto": {}}, [])["pareto"]

    @pytest.mark.parametrize(
        ("file", "before", "after", "same"),
        [
            ("crm_analysis/rates/few.py", "few = 5", "few = 6", False),
            ("crm_analysis/pareto.py", "return few", "return 2 * few", False),
            ("crm_analysis/rates/few.py", "few = 5", "few  =  5  # fewer are not judged", True),
            ("crm_analysis/pareto.py", "top():\n", 'top():\n    """Return the best."""\n', True),
            ("crm_analysis/service.py", "waited = 1", "waited = 2", True),
            ("crm_analysis/page.py", "shown = 1", "shown = 2", True),
            ("crm_analysis/charts/__init__.py", "colour = 1", "colour = 2", True),
            ("crm_analysis/charts/theme.py", "colour = 1", "colour = 2", True),
            ("crm_analysis/__init__.py", '"1"', '"2"', True),
            ("10_pareto.ipynb", "share = 1", "share = 2", False),
            ("10_pareto.ipynb", "limit: int = 2", "limit: int = 3", True),
            ("10_pareto.ipynb", "# pareto?", "# Pareto?", True),
        ],
    )
    def test_changes_with_the_code_that_computes(self, house, file, before, after, same):
        digest = self.digest(house)
        text = (house / file).read_text()
        after = json.dumps(after)[1:-1] if file.endswith("ipynb") else after
        assert before in text
        (house / file).write_text(text.replace(before, after))
        assert (self.digest(house) == digest) is same

    def test_of_what_sums_up_changes_with_the_others(self, house):
        notebooks = dict.fromkeys(("sum", "other"), house / "10_pareto.ipynb")
        of = [definitions.digests(notebooks, {"other": {"limit": limit}, "sum": {}}, ["sum"]) for limit in (2, 2, 3)]
        assert of[0] == of[1]
        assert of[0]["other"] == of[2]["other"]
        assert of[0]["sum"] != of[2]["sum"]

    def test_the_notebooks_of_the_project(self):
        notebooks = report.notebooks()
        digests = definitions.digests(notebooks, {name: {} for name in notebooks}, ["overview"])
        assert len({*digests.values()}) == len(notebooks)
        code = "\n".join(definitions._code(notebooks["lifecycle"]))
        assert "def transitions(" in code  # lifecycle/moves.py, by way of the package
        assert "def judge(" in code  # intake.py, by way of the dataset
        assert "def stage_areas(" not in code
