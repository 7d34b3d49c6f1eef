"""Every notebook keeps the rules that let it be run unattended and read without code."""

import ast
import re

import nbformat
import pytest

from crm_analysis import report

NOTEBOOKS = report.notebooks()


TUTORIAL = report.NOTEBOOKS / "tutorial.ipynb"


@pytest.fixture(params=NOTEBOOKS, scope="module")
def notebook(request):
    """A page of the report."""
    return nbformat.read(NOTEBOOKS[request.param], as_version=4)


@pytest.fixture(params=[*NOTEBOOKS.values(), TUTORIAL], scope="module", ids=lambda path: path.stem)
def any_notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_reading_order():
    first = ["pareto", "pyramid", "lifecycle", "lifetime_value"]
    assert [name for name in NOTEBOOKS if name in first] == first


def test_begins_with_its_only_title_and_ends_with_its_mark(notebook):
    titles = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    assert [line for line in titles if line.startswith("# ")] == [notebook.cells[0].source.splitlines()[0]]
    assert notebook.cells[-1].source == "page.close(data)"


def test_stores_no_outputs(any_notebook):
    code = [cell for cell in any_notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []


def test_parameters_are_annotated_literals_with_a_comment(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [notebook.cells.index(cell) for cell in tagged] == [1]
    lines = tagged[0].source.splitlines()
    assert lines[0].startswith("dataset: str = ")
    assert lines[1].startswith("as_of: str = ")
    for line in lines:
        assert re.fullmatch(r"\w+: [\w\[\]]+ = .+  # .+", line)
        ast.literal_eval(ast.parse(line).body[0].value)


def test_defines_nothing_and_calls_no_shell(any_notebook):
    for cell in any_notebook.cells:
        if cell.cell_type == "code":
            assert not re.search(r"^\s*[!%]", cell.source, re.M)
            kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
            assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef}


def test_the_tutorial_is_short_and_no_page_of_the_report():
    assert TUTORIAL not in NOTEBOOKS.values()
    cells = nbformat.read(TUTORIAL, as_version=4).cells
    assert [cell.id for cell in cells] == [f"tutorial-{number:02}" for number in range(1, len(cells) + 1)]
    assert [cell.source.startswith("# ") for cell in cells].count(True) == 1
    assert all(len(cell.source.splitlines()) <= 25 for cell in cells if cell.cell_type == "code")
