"""The folder of a dataset's published reports: what is in it, and how a new report takes its place."""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from crm_analysis.errors import InputError, Unanswerable
from crm_analysis.page import MIME

CONFIDENTIAL = "confidential"  # the folder of the lists with names, where the reports have pseudonyms
ABANDONED = 86_400  # seconds after which what an interrupted run has left is removed


def published(folder: Path) -> list[str]:
    """Return the as-of dates of the published reports, oldest first."""
    return sorted(path.parent.name for path in folder.glob("[0-9]*-[0-9][0-9]-[0-9][0-9]/manifest.json"))


def alike(folder: Path, pseudonyms: str) -> list[str]:
    """Return the dates of those that name the customers in the same way: by pseudonyms of this key, or by name."""
    found = []
    for date in published(folder):
        with suppress(InputError, Unanswerable):  # one that cannot be read
            found += [date] * (told(folder / date).get("pseudonyms", "") == pseudonyms)
    return found


def of_one_kind(folder: Path, pseudonyms: str) -> None:
    """Refuse to put a report with names beside those with pseudonyms, or one of these beside names."""
    for manifest in sorted(folder.glob("*/manifest.json")):  # of failed runs and of parts of a report, too
        there = pseudonyms
        with suppress(InputError, Unanswerable):  # one that cannot be read
            there = told(manifest.parent).get("pseudonyms", "")
        if bool(there) != bool(pseudonyms):
            names = "pseudonyms" if there else "names"
            raise InputError(f"{manifest.parent} shows {names}: give reports with pseudonyms an --out of their own")


def told(report: Path | str) -> dict[str, Any]:
    """Return a report's manifest: its figures, and of each page the findings and lists."""
    manifest = Path(report) / "manifest.json"
    try:
        found = json.loads(manifest.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("a manifest is an object")
        return found
    except OSError:
        raise Unanswerable(f"There is no report in {report} yet: `crm-analysis report` makes one.") from None
    except ValueError:
        raise InputError(f"{manifest}: the report's manifest is damaged; move that report away") from None


def listed(report: Path | str, page: str, name: str) -> pd.DataFrame:
    """Return a list as a report published it; dates as dates.

    Raises `Unanswerable` if that report has no such list.
    """
    executed = Path(report) / "notebooks" / f"{page}.ipynb"
    outputs = (
        [output for cell in nbformat.read(executed, as_version=4).cells for output in cell.get("outputs", [])]
        if report and executed.exists()
        else []
    )
    for output in outputs:
        found = output.get("data", {}).get(MIME, {}).get("list", {})
        if found.get("name") == name:
            frame = pd.DataFrame(found["rows"], columns=[column["name"] for column in found["columns"]])
            dates = [column["name"] for column in found["columns"] if column["unit"] == "date"]
            return frame.assign(**{date: pd.to_datetime(frame[date]).dt.date for date in dates})
    raise Unanswerable(f"There is no earlier report with the list '{name}' of the page '{page}'.")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other runs from publishing into a folder meanwhile."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def recover(folder: Path) -> None:
    """Put back a report that an interrupted run had moved aside; remove what such runs have left."""
    latest = folder / "latest"
    if latest.exists() and not latest.is_symlink():
        raise InputError(f"{latest} is no link, so it cannot be pointed to a new report; move it away")
    for place in (folder, folder / CONFIDENTIAL):
        for aside in place.glob(".*.old"):
            target = place / aside.name[1:].removesuffix(".old")
            if not target.exists():
                aside.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
        for stage in place.glob(".[0-9]*-*"):
            if time.time() - stage.stat().st_mtime > ABANDONED:
                shutil.rmtree(stage, ignore_errors=True)


def confidential(folder: Path, as_of: str) -> Path:
    """Make a folder for a report's lists with names, which only this user can look into."""
    (folder / CONFIDENTIAL).mkdir(exist_ok=True)
    (folder / CONFIDENTIAL).chmod(0o700)  # whoever made it
    return Path(tempfile.mkdtemp(prefix=f".{as_of}-", dir=folder / CONFIDENTIAL))


def swap(stage: Path, target: Path, apart: Path | None = None) -> None:
    """Put the finished report in its place, and its confidential lists in theirs.

    What an older report of the same date has left goes: its lists with names, and it was packed with. The report itself
    is removed only once the new one is there.
    """
    pack_of(target).unlink(missing_ok=True)
    places = {target.parent / CONFIDENTIAL / target.name: apart, target: stage}
    moved: list[Path] = []
    try:
        for place, new in places.items():
            if place.exists():
                place.rename(_aside(place))
            moved.append(place)
            if new:
                new.rename(place)
    except OSError:
        for place in moved:
            shutil.rmtree(place, ignore_errors=True)
            if _aside(place).exists():
                _aside(place).rename(place)
        raise
    for place in places:
        shutil.rmtree(_aside(place), ignore_errors=True)


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.old")


def pack_of(target: Path) -> Path:
    """Return the file that a report is packed into for sending."""
    return target.with_name(f"{target.name}.zip")


def point_latest(target: Path) -> None:
    """Let `latest` point to the report, in one step."""
    link = target.with_name(".latest")
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    link.replace(target.with_name("latest"))
