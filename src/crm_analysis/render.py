"""Executes one notebook and turns what it published into a page; writes the index of a report."""

from __future__ import annotations

import functools
import itertools
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import nbformat

from crm_analysis import glossary, history, lists, numerals, overview
from crm_analysis.bidi import isolated
from crm_analysis.errors import NotDescribed, Unanswerable
from crm_analysis.numerals import changed, written
from crm_analysis.page import MIME

if TYPE_CHECKING:
    from nbconvert import HTMLExporter

TEMPLATES = Path(__file__).parent / "templates"
LONG = 4  # parts of a page from which it begins with a table of contents
TO_DO = 3  # lists that stand below a page's first finding
NO_ANSWER = (Unanswerable.__name__, NotDescribed.__name__)
ERROR_CELL = "papermill-error-cell-tag"  # papermill's own remarks in a notebook that raised


@dataclass
class Published:
    """What an executed notebook holds for a report."""

    notebook: nbformat.NotebookNode
    title: str
    findings: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    lists: list[dict[str, Any]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    fingerprint: str = ""
    twice: list[str] = field(default_factory=list)

    @property
    def unanswerable(self) -> str:
        """Why the data hold no answer to the notebook's question, if that is how it ended."""
        return self.errors[-1][1] if self.errors and self.errors[-1][0] in NO_ANSWER else ""

    @property
    def not_described(self) -> bool:
        """Whether it needs a table or column that the dataset does not describe."""
        return bool(self.errors) and self.errors[-1][0] == NotDescribed.__name__

    def failure(self, fingerprint: str) -> str:
        """Return why the notebook must not be published: papermill's word alone is no proof that it ran to its end."""
        if unexpected := [error for error in self.errors if error[0] not in NO_ANSWER]:
            return ": ".join(unexpected[0])
        if self.twice:
            return f"it publishes {self.twice[0]} twice"
        if self.unanswerable:
            return ""
        if not self.fingerprint:
            return "it did not reach its last cell, page.close(data)"
        if self.fingerprint != fingerprint:
            return "the data changed while the report was made; run it again"
        return ""


def execute(notebook: Path, executed: Path, parameters: dict[str, Any], cell_timeout: int) -> str:
    """Execute a notebook in this process' kernel; return what went wrong, in one line, or nothing."""
    from papermill import PapermillExecutionError, execute_notebook

    from crm_analysis.kernels import ENGINE

    logging.disable()  # in this process of its own: what went wrong is returned, once
    try:
        execute_notebook(
            str(notebook),
            str(executed),
            parameters,
            engine_name=ENGINE,
            kernel_name="python3",
            cwd=str(notebook.parent),
            progress_bar=False,
            execution_timeout=cell_timeout,
        )
    except PapermillExecutionError as error:
        if error.ename in NO_ANSWER:
            return ""
        return f"{error.ename}: {_line(error.evalue)} (at In [{error.exec_count}])"
    except Exception as error:
        return _what_failed(error, cell_timeout)
    return ""


def _what_failed(error: Exception, cell_timeout: int) -> str:
    """Say in one line why a notebook could not be run to its end."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    if isinstance(error, CellTimeoutError):
        return f"a cell ran longer than its limit of {cell_timeout} seconds (cell_timeout in the dataset's TOML)"
    if isinstance(error, DeadKernelError):
        return "its kernel died (out of memory, or the process was ended)"
    return f"{type(error).__name__}: {_line(str(error))}"


def read(executed: Path) -> Published:
    """Collect what an executed notebook published."""
    return collected(nbformat.read(executed, as_version=4), executed.stem)


def collected(notebook: nbformat.NotebookNode, name: str) -> Published:
    """Collect what an executed notebook published; `name` is its title where it has none."""
    notebook.cells = [cell for cell in notebook.cells if ERROR_CELL not in cell.metadata.get("tags", [])]
    published = Published(notebook, title(notebook, name))
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                published.errors.append((output.ename, output.evalue))
                del notebook.cells[number + 1 :]  # headings of what was never run
            _collect(output.get("data", {}).get(MIME, {}), published)
    return published


def title(notebook: nbformat.NotebookNode, name: str) -> str:
    """Return the question that a notebook answers; `name` where it has no heading."""
    headings = [cell.source for cell in notebook.cells if cell.cell_type == "markdown" and cell.source.startswith("# ")]
    return headings[0].splitlines()[0][2:].strip() if headings else name


def _collect(data: dict[str, Any], published: Published) -> None:
    """Take over what one output of a notebook carries as data."""
    if "finding" in data:
        published.findings.append(dict(data["finding"]))
    if "figure" in data:
        figure = dict(data["figure"])
        key = figure.pop("key")
        if key in published.figures:
            published.twice.append(f"the figure {key}")
        published.figures[key] = figure
    if "list" in data:
        if data["list"]["name"] in [listed["name"] for listed in published.lists]:
            published.twice.append(f"the list {data['list']['name']}")
        published.lists.append(data["list"])
        if published.findings:  # the list belongs to the finding above it
            published.findings[-1].setdefault("list", data["list"]["name"])
    if "unanswered" in data:
        published.unanswered.append(data["unanswered"])
    if "closed" in data:
        published.fingerprint = data["closed"]["fingerprint"]


def write_lists(published: list[dict[str, Any]], folder: Path, page: str) -> list[dict[str, Any]]:
    """Write each list as XLSX and CSV; return what the report says of them."""
    written_lists = []
    for listed in published:
        files = [f"{page}_{listed['name']}.{suffix}" for suffix in ("xlsx", "csv")]
        lists.write_xlsx(folder / files[0], listed["title"], listed["columns"], listed["rows"])
        lists.write_csv(folder / files[1], listed["columns"], listed["rows"])
        described = {key: listed[key] for key in ("name", "title", "action", "total")}
        parts = lists.write_parts(folder, f"{page}_{listed['name']}", listed) if listed["by"] else {}
        written_lists.append(
            described
            | {"files": [f"lists/{file}" for file in files]}
            | {"parts": {value: f"lists/{file}" for value, file in parts.items()}}
        )
    return written_lists


def kept_apart(published: list[dict[str, Any]], folder: str, page: str) -> list[dict[str, Any]]:
    """Return what a report with pseudonyms says of its lists: their files, with names, are in a folder of their own."""
    return [
        {key: listed[key] for key in ("name", "title", "action", "total")}
        | {"files": [], "parts": {}, "confidential": f"{folder}/{page}_{listed['name']}.xlsx"}
        for listed in published
    ]


def html(notebook: nbformat.NotebookNode, page_lists: list[dict[str, Any]], heading: dict[str, Any]) -> str:
    """Return the page of an executed notebook: one file without code or anything outside itself."""
    numerals.use(heading.get("locale", "en"))
    about = heading | {"style": _text("style.css"), "contents": _contents(notebook)}
    body, _ = _exporter().from_notebook_node(notebook, {"report": about})
    parts = itertools.count(1)
    body = re.sub("<h2>", lambda _: f'<h2 id="part-{next(parts)}">', body)
    for listed in page_lists:
        body = body.replace(f"<!-- files of {listed['name']} -->", _template("files.html.j2").render(list=listed))
    todo = _template("todo.html.j2").render(lists=[listed for listed in page_lists if listed["total"]], most=TO_DO)
    finding = re.compile('<p class="finding">(.*?</p>)', re.DOTALL)
    body = finding.sub(lambda found: f'<p class="finding lead-finding">{found[1]}{todo}', body, count=1)
    body, terms = glossary.explained(body)
    body = body.replace("<!-- terms -->", _template("terms.html.j2").render(terms=terms, anchor=glossary.anchor))
    if 'class="sortable"' in body:
        body = body.replace("</body>", f"<script>{_text('sort.js')}</script></body>")
    return _unbroken(body)


def _contents(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Return the headings of a long page's parts and their anchors."""
    found = [
        line[3:].strip()
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    return [(heading, f"part-{number}") for number, heading in enumerate(found, 1)] if len(found) >= LONG else []


@functools.cache
def _exporter() -> HTMLExporter:
    from nbconvert import HTMLExporter

    return HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )


def index(manifest: dict[str, Any], earlier: list[str]) -> str:
    """Return a report's first page: key figures and their changes, what matters most, all findings, lists, the data."""
    page_of = {key: page["name"] for page in manifest["pages"] for key in page["figures"]}
    before = history.comparable(manifest)
    figures = [
        figure | {"page": page_of.get(key, ""), "change": changed(figure, before.get(key)), "line": _line_of(figure)}
        for key, figure in manifest["figures"].items()
    ]
    try:
        stories = overview.findings(manifest).to_dict("records")
    except Unanswerable:
        stories = []
    html = _template("index.html.j2").render(
        manifest=manifest,
        figures=figures,
        stories=stories,
        titles={"": "Customers and transactions"} | {page["name"]: page["title"] for page in manifest["pages"]},
        parameters_of={page["name"]: page["parameters"] for page in manifest["pages"]},
        terms=glossary.TERMS,
        earlier=sorted(earlier, reverse=True),
        style=_text("style.css"),
    )
    return _unbroken(html)


def _line_of(figure: dict[str, Any]) -> dict[str, Any] | None:
    """Return the line of a figure over past reports: its points in a box of 120 by 28, the last one, and its words."""
    past = figure.get("past", [])
    if len(past) < 2 or not isinstance(figure["value"], int | float):
        return None
    values = [value for _, value in past] + [figure["value"]]
    low, span = min(values), max(values) - min(values) or 1
    points = [(round(2 + 116 * at / len(past), 1), round(26 - 24 * (v - low) / span, 1)) for at, v in enumerate(values)]
    told = "; ".join(f"{date} {written(value, figure['unit'])}" for date, value in past)
    return {"points": " ".join(f"{x},{y}" for x, y in points), "x": points[-1][0], "y": points[-1][1], "told": told}


def customers(title: str, as_of: str, note: str, pages: list[dict[str, Any]]) -> str:
    """Return the first page of the customers' pages: whom there is one of, most valuable first."""
    html = _template("customers.html.j2").render(
        title=title, as_of=as_of, note=note, pages=pages, style=_text("style.css")
    )
    return _unbroken(html)


@functools.cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    environment.filters["written"] = written
    return environment.get_template(name)


def _unbroken(html: str) -> str:
    """Keep the code of a currency and its amount on one line, and names from right to left off their neighbours."""
    return isolated(re.sub(r"\b([A-Z]{3}) (?=\d)", "\\1\N{NO-BREAK SPACE}", html))


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _line(text: str) -> str:
    return " ".join(str(text).split())[:300]
