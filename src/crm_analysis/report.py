"""Runs the notebooks on a dataset, renders each to one HTML file and publishes a whole report or nothing."""

from __future__ import annotations

import datetime as dt
import difflib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crm_analysis import lists
from crm_analysis.dataset import Dataset, open_dataset
from crm_analysis.errors import InputError

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
LISTED = 10_000  # quarantined rows that are written out
GIVEN = ("dataset", "as_of")  # parameters that the report itself sets

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
    heading: dict[str, str]


@dataclass
class Page:
    """What a notebook published, or why it failed."""

    name: str
    title: str = ""
    failure: str = ""
    unanswerable: str = ""
    findings: list[str] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    lists: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
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
    progress: Progress = lambda name, state, seconds: None,
) -> Path:
    """Run the notebooks on a dataset and publish what they say as `<out>/<dataset's name>/<as-of date>/`.

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
    progress
        Told of every notebook that is done.

    Returns
    -------
    Path
        The index page.

    Raises
    ------
    InputError
        The dataset, a notebook's name or a parameter is not usable; nothing was run.
    ReportFailed
        A notebook failed; the run is kept as `<as-of date>.failed`, and the last good report is as it was.
    """
    started = time.monotonic()
    data = open_dataset(dataset, as_of)
    chosen = _chosen(notebooks(), only)
    parameters = _parameters(data, chosen, settings or {})
    folder = Path(out).resolve() / data.name
    target = _target(folder, str(data.as_of), chosen)
    stage = folder / f".{target.name}-{os.getpid()}"
    try:
        shutil.rmtree(stage, ignore_errors=True)
        (stage / "notebooks").mkdir(parents=True)
        (stage / "lists").mkdir()
    except OSError as error:
        raise InputError(f"the report cannot be written to {folder} ({error.strerror})") from None
    try:
        heading = {"title": data.title, "as_of": str(data.as_of), "note": data.settings.note}
        jobs = [
            Job(name, path, parameters[name], stage, data.fingerprint, data.settings.cell_timeout, heading)
            for name, path in chosen.items()
        ]
        pages = _run(jobs, progress)
        if failed := [page for page in pages if page.failure]:
            kept = folder / f"{target.name}.failed"
            shutil.rmtree(kept, ignore_errors=True)
            stage.rename(kept)
            reasons = "\n".join(f"notebook {page.name}: {page.failure}" for page in failed)
            raise ReportFailed(f"{reasons}\nNothing was published; the failed run is {kept}")
        quarantine = _write_quarantine(data, stage / "lists")
        manifest = _manifest(data, pages, quarantine, started, _previous(folder, str(data.as_of)))
        (stage / "manifest.json").write_text(
            json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
        )
        (stage / "index.html").write_text(_index(manifest, folder, target.name), encoding="utf-8")
        _swap(stage, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    if target.name == str(data.as_of):
        _point_latest(target)
    return target / "index.html"


def _chosen(all_notebooks: dict[str, Path], only: Iterable[str]) -> dict[str, Path]:
    """Return the notebooks to run; a name that is none of them is refused."""
    wanted = list(only)
    for name in wanted:
        _known(name, all_notebooks, "notebook", "notebooks")
    return {name: path for name, path in all_notebooks.items() if not wanted or name in wanted}


def _known(name: str, names: Iterable[str], what: str, plural: str) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, list(names), 1)
        hint = f"; did you mean {close[0]}?" if close else f"; the {plural} are {', '.join(names)}"
        raise InputError(f"there is no {what} '{name}'{hint}")


def _parameters(
    data: Dataset, chosen: dict[str, Path], settings: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return each notebook's parameters, all checked: papermill itself only warns of an unknown one."""
    from papermill import inspect_notebook

    toml = data.settings.parameters
    for source, given in ((data.path.name, toml), ("--set", settings)):
        for name in given:
            try:
                _known(name, notebooks(), "notebook", "notebooks")
            except InputError as error:
                raise InputError(f"{source}: {error}") from None
    if stray := settings.keys() - chosen.keys():
        raise InputError(f"--set: notebook {stray.pop()} is not among those to run")
    result = {}
    for name, path in chosen.items():
        declared = inspect_notebook(str(path))
        values = {"dataset": str(data.path), "as_of": str(data.as_of)}
        for source, given in ((f"{data.path.name}, parameters", toml), ("--set ", settings)):
            for parameter, value in given.get(name, {}).items():
                where = f"{source}.{name}.{parameter}" if source[-1] != " " else f"{source}{name}.{parameter}"
                if parameter in GIVEN:
                    raise InputError(f"{where}: the report itself sets {parameter}")
                settable = [p for p in declared if p not in GIVEN]
                try:
                    _known(parameter, settable, "parameter", "parameters")
                except InputError as error:
                    raise InputError(f"{where}: {error}") from None
                values[parameter] = _typed(value, declared[parameter]["inferred_type_name"], where)
        result[name] = values
    return result


def _typed(value: Any, type_name: str, where: str) -> Any:
    """Return a parameter's value as the notebook declares it: `0.2` is no text, `"a"` no number."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    kinds = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "tuple": tuple, "dict": dict}
    if type_name == "str" and not isinstance(value, str):
        value = str(value)
    try:
        declared = eval(type_name, {"__builtins__": {}}, kinds) if type_name and type_name != "None" else Any
        return TypeAdapter(declared, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError:
        raise InputError(f"{where}: {value!r} is not of the type {type_name}") from None


def _target(folder: Path, as_of: str, chosen: dict[str, Path]) -> Path:
    """Return where the report goes: a part of the pages never replaces a fuller report, but lies beside it."""
    target = folder / as_of
    there = {page.stem for page in target.glob("*.html")} - {"index"}
    return target if there <= set(chosen) else folder / f"{as_of}-part"


def _run(jobs: list[Job], progress: Progress) -> list[Page]:
    """Run the notebooks in processes, at most one per core; return their pages in reading order."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    pages = {}
    with ProcessPoolExecutor(min(cores, len(jobs)), mp_context=context) as pool:
        running = {pool.submit(run_notebook, job): job for job in jobs}
        for done in as_completed(running):
            job = running[done]
            try:
                page = done.result()
            except Exception as error:  # the worker process itself died
                page = Page(job.name, failure=f"{type(error).__name__}: {error}")
            pages[job.name] = page
            progress(job.name, "failed" if page.failure else "done", page.seconds)
    return [pages[job.name] for job in jobs]


def run_notebook(job: Job) -> Page:
    """Execute one notebook and write its page and its lists; whatever goes wrong is told in the page's `failure`."""
    from crm_analysis import render

    started = time.monotonic()
    page = Page(job.name)
    executed = job.folder / "notebooks" / f"{job.name}.ipynb"
    page.failure = render.execute(job.notebook, executed, job.parameters, job.cell_timeout)
    if executed.exists():
        published = render.read(executed)
        page.title, page.findings, page.figures = published.title, published.findings, published.figures
        page.unanswerable = published.unanswerable
        page.failure = page.failure or published.failure(job.fingerprint)
        page.parameters = {name: value for name, value in published.parameters.items() if name not in GIVEN}
        if not page.failure:
            page.lists = render.write_lists(published.lists, job.folder / "lists", job.name)
            html = render.html(published.notebook, page.lists, job.heading | {"page": page.title})
            (job.folder / f"{job.name}.html").write_text(html, encoding="utf-8")
    page.seconds = round(time.monotonic() - started, 2)
    return page


def _write_quarantine(data: Dataset, folder: Path) -> list[str]:
    """Write the rows that could not be used, with the reason of each; return the files."""
    frame = data.quarantine.order_by("table", "file", "line").limit(LISTED).to_pandas()
    if frame.empty:
        return []
    columns = [{"name": name, "unit": ""} for name in frame.columns]
    rows = frame.astype(object).to_numpy().tolist()
    lists.write_xlsx(folder / "quarantine.xlsx", "Rows that are not usable", columns, rows)
    lists.write_csv(folder / "quarantine.csv", columns, rows)
    return ["lists/quarantine.xlsx", "lists/quarantine.csv"]


def _manifest(
    data: Dataset, pages: list[Page], quarantine: list[str], started: float, previous: dict[str, Any] | None
) -> dict[str, Any]:
    """Return all that a machine needs to know of the report."""
    from crm_analysis.page import versions

    transactions = data.table("transactions")
    amount = float(transactions["amount"].sum().execute())
    quality = data.quality.set_index("table")
    figures = {
        "customers.count": (int(transactions["customer_id"].nunique().execute()), "customers", "customers"),
        "transactions.amount": (round(amount, 6), data.currency, "amount of all transactions"),
        "transactions.rows": (int(transactions.count().execute()), "rows", "transaction rows"),
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
        named |= page.figures
    return {
        "title": data.title,
        "note": data.settings.note,
        "dataset": data.name,
        "as_of": str(data.as_of),
        "period": [str(day) for day in data.period],
        "currency": data.currency,
        "value": data.value_name,
        "fingerprint": data.fingerprint,
        "previous": previous["as_of"] if previous else None,
        "warnings": data.warnings() + [f"{page.title}: {page.unanswerable}" for page in pages if page.unanswerable],
        "figures": named,
        "pages": [
            {key: value for key, value in asdict(page).items() if key != "failure"} | {"figures": list(page.figures)}
            for page in pages
        ],
        "tables": quality.to_dict("index"),
        "quarantine": quarantine,
        "versions": versions(),
        "commit": _commit(),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 2),
    }


def _commit() -> str | None:
    """Return the code's git commit, marked if files differ from it."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _published(folder: Path) -> list[str]:
    """Return the as-of dates of the published reports, oldest first."""
    return sorted(path.parent.name for path in folder.glob("[0-9]*-[0-9][0-9]-[0-9][0-9]/manifest.json"))


def _previous(folder: Path, as_of: str) -> dict[str, Any] | None:
    """Return the manifest of the last report of an earlier date."""
    earlier = [date for date in _published(folder) if date < as_of]
    return json.loads((folder / earlier[-1] / "manifest.json").read_text("utf-8")) if earlier else None


def _index(manifest: dict[str, Any], folder: Path, name: str) -> str:
    """Return the index page: the key figures beside the previous report's, the findings and the links."""
    from crm_analysis import render

    previous = _previous(folder, manifest["as_of"])
    return render.index(manifest, previous, [date for date in _published(folder) if date != name])


def _swap(stage: Path, target: Path) -> None:
    """Put the finished report in its place; an older one of the same date is only removed once that is done."""
    aside = stage.with_name(stage.name + ".old")
    try:
        if target.exists():
            target.rename(aside)
        try:
            stage.rename(target)
        except OSError:
            if aside.exists():
                aside.rename(target)
            raise
    except OSError as error:
        raise InputError(f"the report cannot be published as {target} ({error.strerror})") from None
    shutil.rmtree(aside, ignore_errors=True)


def _point_latest(target: Path) -> None:
    """Let `latest` point to the report, in one step."""
    link = target.with_name(f".latest-{os.getpid()}")
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    link.replace(target.with_name("latest"))
