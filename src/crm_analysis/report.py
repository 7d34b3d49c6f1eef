"""Runs the notebooks on a dataset, renders each to one HTML file and publishes a whole report or nothing."""

from __future__ import annotations

import ast
import datetime as dt
import difflib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from crm_analysis import archive, definitions, history, lists, paper, privacy, render
from crm_analysis.dataset import Dataset, open_dataset
from crm_analysis.errors import InputError
from crm_analysis.page import LISTED, versions

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
MOST_REJECTED = 0.5  # share of a table's rows that may be unusable
GIVEN = ("dataset", "as_of", "previous", "report")  # parameters that the report itself sets
EVERY = "every"  # stands for all notebooks that have a parameter

Progress = Callable[[str, str, float], None]  # a notebook's name, what became of it, seconds


class ReportFailed(Exception):
    """A report was not published; the message names each notebook that failed and why."""


@dataclass(frozen=True)
class Job:
    """One notebook to run: everything that a worker process needs to know."""

    name: str
    notebook: Path
    parameters: dict[str, Any]
    folder: Path
    fingerprint: str
    cell_timeout: int
    heading: dict[str, Any]
    definition: str = ""
    restates: bool = False  # an earlier report's figures, and nothing else of its page


@dataclass
class Page:
    """What a notebook published, or why it failed."""

    name: str
    title: str = ""
    failure: str = ""
    unanswerable: str = ""
    not_described: bool = False
    findings: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    lists: list[dict[str, Any]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    definition: str = ""
    seconds: float = 0.0


def notebooks() -> dict[str, Path]:
    """Return the report's notebooks by name, in reading order: those whose file name begins with a number."""
    found = sorted(NOTEBOOKS.glob("[0-9]*_*.ipynb"))
    if not found:
        raise InputError(
            f"there are no numbered notebooks in {NOTEBOOKS}; run crm-analysis from a clone of its project"
        )
    return {re.sub(r"^\d+_", "", path.stem): path for path in found}


def publish(
    dataset: Path,
    *,
    as_of: str = "",
    only: Iterable[str] = (),
    out: Path = Path("reports"),
    settings: dict[str, dict[str, Any]] | None = None,
    pseudonymise: bool = False,
    pdf: bool = False,
    progress: Progress = lambda name, state, seconds: None,
) -> Path:
    """Run the notebooks on a dataset and publish what they say as `<out>/<dataset's name>/<as-of date>/`.

    A notebook with the parameter `previous` is given the folder of the previous report; one with the parameter
    `report` runs after the others and is given the folder of what they have published. One whose definition has changed
    since the previous report also runs as of its date, so that like is compared with like (see `history`).

    Parameters
    ----------
    dataset
        The dataset's TOML.
    as_of
        The date of the analysis; empty: the TOML's, or the last date in the data.
    only
        The notebooks to run; all where empty.
    out
        The folder of all reports.
    settings
        For each notebook, parameters that replace the TOML's and the notebook's own.
    pseudonymise
        Put pseudonyms in place of the customers' ids and names (see `privacy`). The lists with names are written to
        `<out>/<dataset's name>/confidential/<as-of date>/`, which only the user who runs this can read.
    pdf
        Print all pages to `report.pdf`, too; where that fails, the manifest says why under `not_printed`.
    progress
        Told of every notebook that is done.

    Returns
    -------
    Path
        The index page.

    Raises
    ------
    InputError
        The dataset, a notebook's name or a parameter is not usable; nothing was run. Or the folder is not writable.
    ReportFailed
        A notebook failed, or the data changed meanwhile; the run is kept as `<as-of date>.failed`, and the last good
        report is as it was.
    """
    with privacy.applied(pseudonymise):
        return _publish(dataset, as_of, only, out, settings or {}, pdf, progress)


def _publish(
    dataset: Path,
    as_of: str,
    only: Iterable[str],
    out: Path,
    settings: dict[str, dict[str, Any]],
    pdf: bool,
    progress: Progress,
) -> Path:
    started = time.monotonic()
    data = open_dataset(dataset, as_of)
    check_quality(data)
    parameters = _parameters(data, settings)
    chosen = _chosen(notebooks(), only)
    if stray := settings.keys() - chosen.keys() - {EVERY}:
        raise InputError(f"--set: notebook {stray.pop()} is not among those to run")
    folder = Path(out).resolve() / data.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with archive.alone(folder):
            archive.recover(folder)
        archive.of_one_kind(folder, data.pseudonyms)
        past = history.read(folder, str(data.as_of), data.pseudonyms)
        stage = Path(tempfile.mkdtemp(prefix=f".{data.as_of}-", dir=folder))
        stage.chmod(0o755)
        (stage / "notebooks").mkdir()
        (stage / "lists").mkdir()
        apart = archive.confidential(folder, str(data.as_of)) if data.pseudonyms else None
    except OSError as error:
        raise InputError(f"the report cannot be written to {folder} ({error.strerror})") from None
    target = _target(folder, str(data.as_of), chosen)
    try:
        heading = heading_of(data)
        if apart:
            heading |= {"private": privacy.NOTE, "confidential": f"../{apart.parent.name}/{target.name}"}
        own = {name: _own(parameters[name]) for name in chosen}
        digests = definitions.digests(chosen, own, [name for name in chosen if "report" in parameters[name]])
        past.changes = history.changes(past, own, digests, data.value_name, data.currency)
        given = {"previous": str(folder / past.dates[-1]) if past.dates else "", "report": str(stage)}
        for values in parameters.values():
            values |= {name: value for name, value in given.items() if name in values}
        limit = data.settings.cell_timeout
        jobs = [
            Job(name, path, parameters[name], stage, data.fingerprint, limit, heading | beside, digests[name])
            for (name, path), beside in zip(chosen.items(), _neighbours(chosen), strict=True)
        ]
        quarantine = _write_quarantine(data, stage / "lists")
        once = [job for job in jobs if "report" not in job.parameters]
        pages = _run(once + history.restating(past, once, folder, stage), progress)
        pages = history.restated(past, pages, len(once))
        shutil.rmtree(stage / "restated", ignore_errors=True)
        closing = [job for job in jobs if "report" in job.parameters]
        if closing and not any(page.failure for page in pages):
            _tell(stage, _manifest(data, pages, quarantine, started, past))
            pages += _run(closing, progress)
            for job in closing:
                _point_to(target, stage, job.name)
            pages.sort(key=lambda page: [*chosen].index(page.name))
        reasons = [f"notebook {page.name}: {page.failure}" for page in pages if page.failure]
        if not reasons and open_dataset(dataset, as_of).fingerprint != data.fingerprint:
            reasons = ["the data changed while the report was made; run it again"]
        if reasons:
            kept = folder / f"{target.name}.failed"
            shutil.rmtree(kept, ignore_errors=True)
            stage.rename(kept)
            raise ReportFailed("\n".join([*reasons, f"Nothing was published; the failed run is {kept}"]))
        manifest = _manifest(data, pages, quarantine, started, past)
        _tell(stage, manifest)
        others = [date for date in archive.alike(folder, data.pseudonyms) if date != target.name]
        (stage / "index.html").write_text(render.index(manifest, others), encoding="utf-8")
        if pdf:
            manifest |= paper.printed(
                stage, [page.name for page in pages], f"{data.title}: customers as of {data.as_of}", progress
            )
            _tell(stage, manifest)
            (stage / "index.html").write_text(render.index(manifest, others), encoding="utf-8")
        if apart:
            _write_apart(dataset, as_of, stage, apart)
        with archive.alone(folder):
            archive.swap(stage, target, apart)
            if chosen.keys() == notebooks().keys() or not (folder / "latest").exists():
                archive.point_latest(target)
    except OSError as error:
        raise InputError(f"the report cannot be published as {target} ({error.strerror})") from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if apart:
            shutil.rmtree(apart, ignore_errors=True)
    return target / "index.html"


def heading_of(data: Dataset) -> dict[str, Any]:
    """Return what stands on every page, and how its numbers are written."""
    note, locale = data.settings.note, data.settings.locale
    return {"title": data.title, "as_of": str(data.as_of), "note": note, "locale": locale}


def check_quality(data: Dataset) -> None:
    """Refuse data most of which cannot be used: then it is their description that is wrong."""
    for row in data.quality.itertuples():
        if row.quarantined > MOST_REJECTED * row.read:
            rejected = data.quarantine.filter(data.quarantine["table"] == row.table).order_by("file", "line")
            first = rejected.limit(1).to_pandas().iloc[0]
            raise InputError(
                f"{data.path}: tables.{row.table}: {row.quarantined:,} of {row.read:,} rows cannot be used; the first:"
                f" {first['file']}, line {first['line']}: {first['reason']}"
            )


def _chosen(all_notebooks: dict[str, Path], only: Iterable[str]) -> dict[str, Path]:
    """Return the notebooks to run; a name that is none of them is refused."""
    wanted = list(only)
    for name in wanted:
        _known("--only", name, all_notebooks, "notebook")
    return {name: path for name, path in all_notebooks.items() if not wanted or name in wanted}


def _neighbours(chosen: dict[str, Path]) -> list[dict[str, Any]]:
    """Return of each page the names and titles of the one before and the one after it."""
    titles = [
        None,
        *((name, render.title(nbformat.read(path, as_version=4), name)) for name, path in chosen.items()),
        None,
    ]
    return [{"before": before, "after": after} for before, after in zip(titles[:-2], titles[2:], strict=True)]


def _known(where: str, name: str, names: Collection[str], what: str) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}?" if close else f"the {what}s are {', '.join(names)}"
        raise InputError(f"{where}: there is no {what} '{name}'; {hint}")


def _parameters(data: Dataset, settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return each notebook's parameters, all checked: papermill itself only warns of an unknown one."""
    from papermill import inspect_notebook

    declared = {name: inspect_notebook(str(path)) for name, path in notebooks().items()}
    values = {
        name: {parameter: _literal(found["default"], f"{name}.{parameter}") for parameter, found in parameters.items()}
        | {"dataset": str(data.path), "as_of": str(data.as_of)}
        for name, parameters in declared.items()
    }
    for source, given in ((f"{data.path}: parameters.", data.settings.parameters), ("--set ", settings)):
        for name, replaced in sorted(given.items(), key=lambda item: item[0] != EVERY):
            if name != EVERY:
                _known(source.rstrip(" ."), name, declared, "notebook")
            within = declared if name == EVERY else {name: declared[name]}
            there = dict.fromkeys(other for names in within.values() for other in names if other not in GIVEN)
            for parameter, value in replaced.items():
                where = f"{source}{name}.{parameter}"
                if parameter in GIVEN:
                    raise InputError(f"{where}: the report itself sets {parameter}")
                _known(where, parameter, there, "parameter")
                for page in [page for page in within if parameter in declared[page]]:
                    values[page][parameter] = _typed(value, declared[page][parameter]["inferred_type_name"], where)
    return values


def _literal(source: str, name: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        raise InputError(f"the notebooks' parameter {name} must be a literal, not {source}") from None


def _typed(value: Any, type_name: str, where: str) -> Any:
    """Return a parameter's value as the notebook declares it: `0.2` is no text, `"a"` no number."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    kinds = {"str": str, "int": int, "float": float, "bool": bool, "list": list}
    try:
        declared = eval(type_name, {"__builtins__": {}}, kinds) if type_name and type_name != "None" else Any
        return TypeAdapter(declared, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError:
        raise InputError(f"{where}: {value!r} is not of the type {type_name}") from None


def _target(folder: Path, as_of: str, chosen: dict[str, Path]) -> Path:
    """Return where the report goes: a part of the pages never replaces a fuller report, but lies beside it."""
    there = {page.stem for page in (folder / as_of).glob("*.html")} - {"index"}
    whole = chosen.keys() == notebooks().keys()
    return folder / as_of if whole or there <= chosen.keys() else folder / f"{as_of}-part"


def _run(jobs: list[Job], progress: Progress) -> list[Page]:
    """Run the notebooks in processes, at most one per core; return their pages in reading order."""
    if not jobs:
        return []
    pages: list[Page] = [Page(job.name) for job in jobs]
    with workers(len(jobs)) as pool:
        running = {pool.submit(run_notebook, job): place for place, job in enumerate(jobs)}
        for done in as_completed(running):
            job = jobs[running[done]]
            try:
                page = done.result()
            except Exception as error:  # the worker process itself died
                page = Page(job.name, failure=f"{type(error).__name__}: {error}")
            pages[running[done]] = page
            if not job.restates:
                progress(job.name, "failed" if page.failure else "done", page.seconds)
    return pages


@contextmanager
def workers(jobs: int) -> Iterator[Executor]:
    """Open a pool of processes, each with a kernel, at most one per core; an exception ends them, whatever they do."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with (
        tempfile.TemporaryDirectory(prefix="kernels-", ignore_cleanup_errors=True) as folder,
        ProcessPoolExecutor(
            min(cores, jobs), multiprocessing.get_context("spawn"), initializer=_begin, initargs=(folder,)
        ) as pool,
    ):
        try:
            yield pool
        except BaseException:  # interrupted: neither wait for what runs nor begin what waits
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _begin(folder: str) -> None:
    from crm_analysis import kernels

    kernels.keep_in(folder)


def run_notebook(job: Job) -> Page:
    """Execute one notebook and write its page and its lists; whatever goes wrong is told in the page's `failure`."""
    started = time.monotonic()
    page = Page(job.name, parameters=_own(job.parameters), definition=job.definition)
    executed = job.folder / "notebooks" / f"{job.name}.ipynb"
    page.failure = render.execute(job.notebook, executed, job.parameters, job.cell_timeout)
    if executed.exists():
        found = render.read(executed)
        page.title, page.findings, page.figures = found.title, found.findings, found.figures
        page.unanswerable, page.unanswered = found.unanswerable, found.unanswered
        page.not_described = found.not_described
        page.failure = page.failure or found.failure(job.fingerprint)
        if not page.failure and not job.restates:
            if "confidential" in job.heading:
                page.lists = render.kept_apart(found.lists, job.heading["confidential"], job.name)
            else:
                page.lists = render.write_lists(found.lists, job.folder / "lists", job.name)
            html = render.html(found.notebook, page.lists, job.heading | {"page": page.title})
            (job.folder / f"{job.name}.html").write_text(html, encoding="utf-8")
        if "confidential" in job.heading:
            privacy.keep(executed)
    page.seconds = round(time.monotonic() - started, 2)
    return page


def _own(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in GIVEN}


def _write_apart(dataset: Path, as_of: str, stage: Path, folder: Path) -> None:
    """Write the lists of a report with pseudonyms with the real ids and names, for the eyes of this user only."""
    key = privacy.key_of(dataset.resolve())
    with privacy.applied(False):
        data = open_dataset(dataset, as_of)
    _write_quarantine(data, folder)
    for executed in sorted((stage / "notebooks").glob("*.ipynb")):
        published = privacy.restored(render.read(executed).lists, data.connection.con, key)
        render.write_lists(published, folder, executed.stem)
    for file in folder.iterdir():
        file.chmod(0o600)


def _write_quarantine(data: Dataset, folder: Path) -> list[str]:
    """Write the rows that could not be used, with the reason of each; return the files."""
    frame = data.quarantine.order_by("table", "file", "line").limit(LISTED).to_pandas()
    if frame.empty:
        return []
    frame = frame.dropna(axis="columns", how="all")  # with pseudonyms there are no records
    columns = [{"name": name, "unit": ""} for name in frame.columns]
    rows = frame.astype(object).to_numpy().tolist()
    lists.write_xlsx(folder / "quarantine.xlsx", "Rows that are not usable", columns, rows)
    lists.write_csv(folder / "quarantine.csv", columns, rows)
    return ["lists/quarantine.xlsx", "lists/quarantine.csv"]


def _manifest(
    data: Dataset, pages: list[Page], quarantine: list[str], started: float, past: history.History
) -> dict[str, Any]:
    """Return all that a machine needs to know of the report."""
    quality = data.quality.set_index("table")
    no_answer = [page for page in pages if page.unanswerable and not page.not_described]
    figures = _counted(data, str(data.as_of)) | {
        "transactions.quarantined": (
            int(quality["quarantined"]["transactions"]),
            "rows",
            "transaction rows not usable",
        ),
        "transactions.duplicates": (int(quality["duplicates"]["transactions"]), "rows", "exact repetitions, kept"),
    }
    headlines = ("customers.count", "transactions.amount")
    named = {
        key: {"value": value, "unit": unit, "label": label, "headline": key in headlines}
        for key, (value, unit, label) in figures.items()
    }
    for page in pages:
        if twice := named.keys() & page.figures.keys():
            raise ReportFailed(f"notebook {page.name}: another one publishes the figure {twice.pop()}, too")
        named |= page.figures
    manifest = {
        "title": data.title,
        "note": data.settings.note,
        "private": privacy.NOTE if data.pseudonyms else "",
        "pseudonyms": data.pseudonyms,
        "pdf": "",
        "dataset": data.name,
        "as_of": str(data.as_of),
        "period": [str(day) for day in data.period],
        "currency": data.currency,
        "value": data.value_name,
        "fingerprint": data.fingerprint,
        "previous": past.dates[-1] if past.dates else None,
        "warnings": data.warnings() + [f"{page.title.rstrip('?')}? {page.unanswerable}" for page in no_answer],
        "figures": named,
        "pages": [
            {key: value for key, value in asdict(page).items() if key != "failure"} | {"figures": list(page.figures)}
            for page in pages
        ],
        "tables": {
            name: row | {"as_of": int(data.table(name).count().execute())}
            for name, row in quality.to_dict("index").items()
        },
        "quarantine": quarantine,
        "versions": versions(),
        "commit": _commit(),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 2),
    }
    before = _counted(data, past.dates[-1]) if past.dates else {}
    return history.compared(manifest, past, {key: value for key, (value, *_) in before.items()})


def _counted(data: Dataset, as_of: str) -> dict[str, tuple[int | float, str, str]]:
    """Return what the transactions up to a date add up to: values, units and labels."""
    bought = data.table("transactions", dt.date.fromisoformat(as_of))
    counted = bought.aggregate(
        customers=bought["customer_id"].nunique(), amount=bought["amount"].sum().fill_null(0.0), rows=bought.count()
    )
    (found,) = counted.to_pandas().itertuples()
    return {
        "customers.count": (int(found.customers), "customers", "customers"),
        "transactions.amount": (round(float(found.amount), 6), data.currency, "amount of all transactions"),
        "transactions.rows": (int(found.rows), "rows", "transaction rows"),
    }


def _tell(stage: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    (stage / "manifest.json").write_text(text, encoding="utf-8")


def _point_to(target: Path, stage: Path, name: str) -> None:
    """Let an executed notebook name the folder that the report is published in, so that it can be run again there."""
    executed = stage / "notebooks" / f"{name}.ipynb"
    if executed.exists():
        executed.write_text(executed.read_text("utf-8").replace(stage.name, target.name), encoding="utf-8")


def _commit() -> str | None:
    """Return the code's git commit, marked if files differ from it."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
