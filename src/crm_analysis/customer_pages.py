"""Renders the pages of single customers: `notebooks/customer.ipynb` for each of them, many in one kernel.

What a customer is compared with is the same for all, and a kernel finds it out once (see `kernels`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crm_analysis import archive, customer, lists, render, report
from crm_analysis.dataset import Dataset, open_dataset
from crm_analysis.errors import InputError, Unanswerable

NOTEBOOK = report.NOTEBOOKS / "customer.ipynb"
SHOWN = {"value": "customer.value", "tier": "customer.tier", "stage": "customer.stage", "next_action": "customer.next"}


@dataclass(frozen=True)
class Job:
    """One customer's page to make: everything that a worker process needs to know."""

    customer_id: str
    parameters: dict[str, Any]
    file: Path
    fingerprint: str
    cell_timeout: int
    heading: dict[str, str]


@dataclass
class Made:
    """What became of a page: why it failed, or the figures on it."""

    customer_id: str
    failure: str = ""
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0


def publish(
    dataset: Path,
    ids: Iterable[str] = (),
    *,
    manager: str = "",
    as_of: str = "",
    out: Path = Path("reports"),
    progress: report.Progress = lambda name, state, seconds: None,
) -> Path:
    """Make pages of customers in `<out>/<dataset's name>/customers/<as-of date>/`, beside those made before.

    Parameters
    ----------
    dataset
        The dataset's TOML.
    ids
        Whose.
    manager
        An account manager: all of his or her key customers, too (see `customer.key_customers_of`).
    as_of
        The date of the analysis; empty: the TOML's, or the last date in the data.
    out
        The folder of all reports.
    progress
        Told of every page that is done.

    Returns
    -------
    Path
        The index page, which leads to all pages there.

    Raises
    ------
    InputError
        The dataset, a customer or the manager is not known, or there is nobody to make a page of; nothing was made.
    report.ReportFailed
        Pages failed; the others are made, and an earlier page of a customer whose page failed is as it was.
    """
    data = open_dataset(dataset, as_of)
    report.check_quality(data)
    wanted = [*dict.fromkeys([*ids, *(_key_customers(data, manager) if manager else [])])]
    if not wanted:
        raise InputError("name a customer, or an account manager who has key customers")
    customer.known(data, wanted)
    folder = Path(out).resolve() / data.name / "customers" / str(data.as_of)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = _made([_job(data, folder, who) for who in wanted], progress)
        with archive.alone(folder):
            _write_index(data, folder, made)
    except OSError as error:
        raise InputError(f"the pages cannot be written to {folder} ({error.strerror})") from None
    if failed := [page for page in made if page.failure]:
        reasons = [f"customer {page.customer_id}: {page.failure}" for page in failed]
        raise report.ReportFailed("\n".join([*reasons, f"{len(made) - len(failed)} other pages are in {folder}"]))
    return folder / "index.html"


def _key_customers(data: Dataset, manager: str) -> list[str]:
    try:
        found = customer.key_customers_of(data, manager)
    except Unanswerable as reason:
        raise InputError(f"{data.path}: --manager {manager}: {reason}") from None
    if not found:
        raise InputError(f"{data.path}: account manager {manager} has no key customers")
    return found


def _file(customer_id: str) -> str:
    """Return the name of a customer's page; it is never that of the index, whatever the customer is called."""
    return f"customer-{lists.file_name(customer_id)}.html"


def _job(data: Dataset, folder: Path, customer_id: str) -> Job:
    heading = report.heading_of(data) | {"page": customer_id}
    return Job(
        customer_id,
        {"dataset": str(data.path), "as_of": str(data.as_of), "customer_id": customer_id},
        folder / _file(customer_id),
        data.fingerprint,
        data.settings.cell_timeout,
        heading | {"all": "All customers with a page"},
    )


def _made(jobs: list[Job], progress: report.Progress) -> list[Made]:
    """Make the pages in processes, at most one per core, each with one kernel; return them in the order given."""
    pages = {}
    with report.workers(len(jobs)) as pool:
        running = {pool.submit(make, job): job for job in jobs}
        for done in as_completed(running):
            job = running[done]
            try:
                page = done.result()
            except Exception as error:  # the worker process itself died
                page = Made(job.customer_id, f"{type(error).__name__}: {error}")
            pages[job.customer_id] = page
            progress(job.customer_id, "failed" if page.failure else "done", page.seconds)
    return [pages[job.customer_id] for job in jobs]


def make(job: Job) -> Made:
    """Make one page; whatever goes wrong is told in its `failure`."""
    started = time.monotonic()
    unfinished = job.file.with_suffix(f".{os.getpid()}.new")  # another run may make the same page
    executed = unfinished.with_suffix(".ipynb")
    failure = render.execute(NOTEBOOK, executed, job.parameters, job.cell_timeout)
    found = render.read(executed) if executed.exists() else None
    executed.unlink(missing_ok=True)
    if found and not failure:
        failure = found.failure(job.fingerprint) or found.unanswerable
    if failure or not found:
        return Made(job.customer_id, failure or "its notebook wrote nothing", seconds=time.monotonic() - started)
    unfinished.write_text(render.html(found.notebook, [], job.heading), encoding="utf-8")
    os.replace(unfinished, job.file)
    return Made(job.customer_id, figures=found.figures, seconds=time.monotonic() - started)


def _write_index(data: Dataset, folder: Path, made: list[Made]) -> None:
    """Add the new pages to those that were made before, and list them all."""
    kept = folder / "pages.json"
    try:
        earlier = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    except ValueError:
        raise InputError(f"{kept}: what it says of the pages is damaged; delete it and run again") from None
    pages = {who: page for who, page in earlier.items() if (folder / page["file"]).exists()}
    names = {}
    if (known := data.names()) is not None:
        chosen = known.filter(known["customer_id"].isin([page.customer_id for page in made])).to_pandas()
        names = dict(chosen.dropna().itertuples(index=False))
    for page in made:
        if not page.failure:
            pages[page.customer_id] = {
                "customer_id": page.customer_id,
                "name": names.get(page.customer_id, page.customer_id),
                "file": _file(page.customer_id),
                "unit": data.currency,
            } | {column: page.figures.get(key, {}).get("value") for column, key in SHOWN.items()}
    ordered = sorted(pages.values(), key=lambda page: (-(page["value"] or 0), page["customer_id"]))
    text = json.dumps({page["customer_id"]: page for page in ordered}, indent=1, ensure_ascii=False)
    index = render.customers(data.title, str(data.as_of), data.settings.note, ordered)
    for name, content in (("pages.json", text), ("index.html", index)):
        (folder / f"{name}.new").write_text(content, encoding="utf-8")
        os.replace(folder / f"{name}.new", folder / name)
