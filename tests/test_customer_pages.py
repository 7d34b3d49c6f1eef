"""Pages of customers, made one after the other in one kernel, are the pages that each would have alone."""

import json
import re
import shutil

import nbformat
import pytest
from typer.testing import CliRunner

from crm_analysis import customer_pages, kernels, open_dataset, render
from crm_analysis.cli import app
from crm_analysis.errors import InputError
from crm_analysis.report import ReportFailed

ODD = "a/../b <i>&\"' Ä"
SALES = f"""customer_id,date,amount
a,2024-01-01,5
a,2024-02-01,7
a,2024-03-05,9
A,2024-01-05,8
back,2024-01-07,-4
"{ODD.replace('"', '""')}",2024-03-01,10
"""
PEOPLE = """customer_id,name,acquisition_cost,birthday,do_not_call
a,<script>alert(1)</script> & Sons,154.38,1994-05-02,yes
lead,,,,
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, same_process):
    """A small dataset, and the folder of pages of its customers, which the command made in one run."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "sales.csv").write_text(SALES, "utf-8")
    (folder / "people.csv").write_text(PEOPLE, "utf-8")
    toml = folder / "shop.toml"
    toml.write_text(
        'title = "Shop"\ncurrency = "EUR"\n[tables]\ntransactions.path = "sales.csv"\ncustomers.path = "people.csv"\n'
    )
    ids = ["a", "A", "back", "lead", ODD]
    run = CliRunner().invoke(app, ["customer", str(toml), *ids, "--out", str(folder / "reports")])
    assert run.exit_code == 0, run.output
    return toml, folder / "reports" / "shop" / "customers" / "2024-03-05"


@pytest.fixture
def here(made, tmp_path):
    """The dataset and a copy of the folder of all reports."""
    toml, folder = made
    out = tmp_path / "reports"
    shutil.copytree(folder, out / "shop" / "customers" / "2024-03-05")
    return toml, out, out / "shop" / "customers" / "2024-03-05"


def pages(folder):
    return json.loads((folder / "pages.json").read_text("utf-8"))


def texts(html):
    """Return a page without what differs between two runs: the pictures are compared apart, by their number."""
    return re.sub(r"\s+", " ", re.sub(r'src="data:[^"]*"|id="[^"]*"', "", html))


def test_index_leads_to_all_pages_the_best_first(made):
    _, folder = made
    found = pages(folder)
    assert [*found] == ["a", ODD, "A", "lead", "back"]
    files = [page["file"] for page in found.values()]
    assert len({file.lower() for file in files}) == 5  # on every file system
    assert {file.name for file in folder.iterdir()} == {*files, "index.html", "pages.json", ".lock"}
    index = (folder / "index.html").read_text("utf-8")
    assert re.findall(r'<a href="([^"]+)"', index) == files


def test_what_data_say_is_text_and_no_html(made):
    _, folder = made
    for file in folder.glob("*.html"):
        page = file.read_text("utf-8")
        assert "<script" not in page
        assert "b <i>" not in page
    named = [folder / "index.html", folder / pages(folder)["a"]["file"]]
    assert all("&lt;script&gt;alert(1)&lt;/script&gt; &amp; Sons" in file.read_text("utf-8") for file in named)


def test_pages_read_well_whatever_is_known(made):
    _, folder = made
    for who, kept in pages(folder).items():
        page = (folder / kept["file"]).read_text("utf-8")
        assert not re.search(
            r"\b(nan|None|NaT|NaN)\b", re.sub(r"<style>.*?</style>|data:[^\"]*", "", page, flags=re.S)
        ), who
        assert page.count("which shop.toml does not describe") == 5  # products, quotes, contacts, cases and payments
        assert "<tbody></tbody>" not in page
    page = (folder / pages(folder)["a"]["file"]).read_text("utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "EUR 154.38" in page
    assert "1994-05-02<" in page
    assert "has not bought anything yet and is no customer." in (folder / pages(folder)["lead"]["file"]).read_text()
    assert "no purchase yet, only returns" in (folder / pages(folder)["back"]["file"]).read_text("utf-8")


def test_a_page_of_many_is_the_page_alone(made, tmp_path):
    toml, folder = made
    data = open_dataset(toml)
    job = customer_pages._job(data, folder, "back")
    kernels.end()
    assert render.execute(customer_pages.NOTEBOOK, tmp_path / "alone.ipynb", job.parameters, 100) == ""
    found = render.read(tmp_path / "alone.ipynb")
    assert found.failure(data.fingerprint) == ""
    alone = render.html(found.notebook, [], job.heading)
    assert texts(alone) == texts(job.file.read_text("utf-8"))


def test_a_second_run_keeps_the_pages_and_a_failing_one_leaves_its_own(here, tmp_path, monkeypatch):
    toml, out, folder = here
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    removed = pages(folder)
    gone = removed.pop("A")
    (folder / gone["file"]).unlink()
    (folder / "pages.json").write_text(json.dumps(removed), "utf-8")
    notebook = nbformat.read(customer_pages.NOTEBOOK, as_version=4)
    notebook.cells[3].source = "assert customer_id != 'a', 'not this one'\n" + notebook.cells[3].source
    nbformat.write(notebook, tmp_path / "customer.ipynb")
    monkeypatch.setattr(customer_pages, "NOTEBOOK", tmp_path / "customer.ipynb")
    run = CliRunner().invoke(app, ["customer", str(toml), "a", "A", "--out", str(out)])
    assert run.exit_code == 1
    assert "customer a: AssertionError: not this one" in run.output
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    kept = [name for name in before if name not in ("index.html", "pages.json", gone["file"])]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert pages(folder) == json.loads(before["pages.json"])
    assert after["index.html"] == before["index.html"]
    assert texts(after[gone["file"]].decode()) == texts(before[gone["file"]].decode())


def test_unknown_ones_are_refused_before_anything_is_made(made, tmp_path):
    toml, _ = made
    for asked, said in (
        (["a", "b"], "there is no customer 'b'"),
        ([], "name a customer, or an account manager"),
    ):
        run = CliRunner().invoke(app, ["customer", str(toml), *asked, "--out", str(tmp_path / "reports")])
        assert run.exit_code == 2
        assert said in run.output
    assert not (tmp_path / "reports").exists()


def test_a_worker_that_dies_is_a_page_that_failed(here, monkeypatch):
    toml, out, folder = here
    before = (folder / "index.html").read_bytes()
    monkeypatch.setattr(
        customer_pages, "_made", lambda jobs, progress: [customer_pages.Made(job.customer_id, "died") for job in jobs]
    )
    with pytest.raises(ReportFailed, match="customer a: died"):
        customer_pages.publish(toml, ["a"], out=out)
    assert (folder / "index.html").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_said(made, tmp_path):
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        customer_pages.publish(made[0], ["a"], out=tmp_path / "reports")


def test_a_customer_may_be_called_index():
    assert customer_pages._file("index") != "index.html"
    assert len({customer_pages._file(who).lower() for who in ("a", "A", "a ", "ä", ".a", "a/", "客户", "客戶")}) == 8


@pytest.mark.parametrize(
    ("assignments", "manager", "said"),
    [
        ("", "S1", "--manager S1: This needs the table 'assignments'"),
        ("b,S1,2024-01-01\n", "S2", "there is no account manager 'S2'; did you mean S1?"),
        ("b,S1,2024-01-01\n", "S1", "account manager S1 has no key customers"),
    ],
)
def test_a_manager_without_key_customers_is_refused(tmp_path, assignments, manager, said):
    (tmp_path / "sales.csv").write_text("customer_id,date,amount\na,2024-01-01,50\nb,2024-01-01,5\n")
    toml = tmp_path / "shop.toml"
    toml.write_text('title = "Shop"\n[tables]\ntransactions.path = "sales.csv"\n')
    if assignments:
        (tmp_path / "assigned.csv").write_text(f"customer_id,account_manager_id,start\n{assignments}")
        toml.write_text(toml.read_text() + 'assignments.path = "assigned.csv"\n')
    run = CliRunner().invoke(app, ["customer", str(toml), "--manager", manager, "--out", str(tmp_path / "reports")])
    assert run.exit_code == 2
    assert said in run.output
    assert not (tmp_path / "reports").exists()


def test_the_index_leads_to_no_page_that_is_gone(here):
    toml, _, folder = here
    (folder / pages(folder)["a"]["file"]).unlink()
    customer_pages._write_index(open_dataset(toml), folder, [])
    assert "a" not in pages(folder)
    assert len(re.findall("<a href", (folder / "index.html").read_text("utf-8"))) == 4
    (folder / "pages.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        customer_pages._write_index(open_dataset(toml), folder, [])


CELLS = """dataset: str = ""
as_of: str = ""
customer_id: str = ""
===
import os, time
import pandas as pd
from types import SimpleNamespace
from crm_analysis import page
assert "left" not in dir(), "names of the customer before are still there"
left = 1
if customer_id == "dies": os._exit(3)
if customer_id == "slow": time.sleep(100)
===
told = dict.fromkeys(("title", "as_of", "value_name", "currency"), "")
page.close(SimpleNamespace(period="12", fingerprint="f", quality=pd.DataFrame(), **told))"""


def test_the_next_page_is_made_after_a_kernel_that_died_or_was_too_slow(tmp_path, monkeypatch, same_process):
    parameters, *cells = map(nbformat.v4.new_code_cell, CELLS.split("\n===\n"))
    parameters.metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, *cells], metadata=kernel), tmp_path / "customer.ipynb")
    monkeypatch.setattr(customer_pages, "NOTEBOOK", tmp_path / "customer.ipynb")
    heading = dict.fromkeys(("title", "as_of", "note", "page"), "")
    said = {}
    for who, limit in {"one": 60, "two": 60, "dies": 60, "three": 60, "slow": 5, "four": 60}.items():
        given = {"dataset": "", "as_of": "", "customer_id": who}
        job = customer_pages.Job(who, given, tmp_path / f"{who}.html", "f", limit, heading)
        said[who] = customer_pages.make(job).failure
    assert "its kernel died" in said.pop("dies")
    assert "longer than its limit of 5 seconds" in said.pop("slow")
    assert said == dict.fromkeys(("one", "two", "three", "four"), "")
    assert {file.stem for file in tmp_path.glob("*.html")} == {*said}
