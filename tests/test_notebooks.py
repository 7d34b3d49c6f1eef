"""Every notebook keeps the rules that let it be run unattended and read without code."""

import ast
import re

import nbformat
import pytest

from crm_analysis import report

NOTEBOOKS = report.notebooks()


@pytest.fixture(params=NOTEBOOKS, scope="module")
def notebook(request):
    return nbformat.read(NOTEBOOKS[request.param], as_version=4)


def test_reading_order():
    first = ["pareto", "pyramid", "lifecycle", "lifetime_value"]
    assert [name for name in NOTEBOOKS if name in first] == first


def test_begins_with_its_only_title_and_ends_with_its_mark(notebook):
    titles = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    assert [line for line in titles if line.startswith("# ")] == [notebook.cells[0].source.splitlines()[0]]
    assert notebook.cells[-1].source == "page.close(data)"


def test_stores_no_outputs(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
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


def test_defines_nothing_and_calls_no_shell(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not re.search(r"^\s*[!%]", cell.source, re.M)
            kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
            assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef}
