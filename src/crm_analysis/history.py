"""What changed since the previous report: the customers, or what a figure means.

A figure means the same in two reports if its page has the same parameters and code, and the value of a customer and
the currency are the same. Where that is not so, the page's notebook runs once more, for the date of the previous report
but as it is defined today: so a change that is shown is one of the customers, never one of the definition.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from crm_analysis import archive

if TYPE_CHECKING:
    from crm_analysis.report import Job
    from crm_analysis.report import Page as Made

MOST = 24  # past reports that are looked at

Manifest = dict[str, Any]


class Figure(BaseModel):
    """A figure of an earlier report."""

    value: Any
    unit: str
    past: list[tuple[str, int | float]] = []


class Page(BaseModel):
    """A page of an earlier report; before there were definitions it had none."""

    name: str
    parameters: dict[str, Any]
    figures: list[str]
    definition: str = ""


class Report(BaseModel):
    """What an earlier report's manifest tells of its figures."""

    value: str
    currency: str
    figures: dict[str, Figure]
    pages: list[Page]
    pseudonyms: str = ""

    def meaning(self, key: str) -> tuple[Any, ...]:
        """Return what a figure means the same by: nothing for one of no page, which counts the data."""
        for page in self.pages:
            if key in page.figures:
                return page.parameters, page.definition, self.value, self.currency
        return ()


@dataclass
class History:
    """What a report is compared with.

    Attributes
    ----------
    reports
        The last reports before it by their dates, oldest first.
    unreadable
        The dates of those that cannot be read.
    changes
        Of pages that are defined otherwise than in the previous report: what has changed.
    restated
        Their figures on its date as they are defined today, by key.
    refused
        Of those that cannot be restated: why.
    """

    reports: dict[str, Report] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    changes: dict[str, list[str]] = field(default_factory=dict)
    restated: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def dates(self) -> list[str]:
        return [*self.reports]


def read(folder: Path, as_of: str, pseudonyms: str = "") -> History:
    """Read a dataset's reports before a date; those that are damaged or of another format are passed over.

    So are those that name the customers in another way, by name or by pseudonyms of another key.
    """
    found = History()
    for date in [date for date in archive.published(folder) if date < as_of]:
        try:
            report = Report.model_validate_json((folder / date / "manifest.json").read_bytes())
            if report.pseudonyms == pseudonyms:
                found.reports[date] = report
        except (OSError, ValueError):
            found.unreadable.append(date)
    found.reports = dict([*found.reports.items()][-MOST:])
    return found


def changes(
    history: History, parameters: dict[str, dict[str, Any]], digests: dict[str, str], value: str, currency: str
) -> dict[str, list[str]]:
    """Say of each page whose definition has changed since the previous report, how; a new page has not changed."""
    found = {}
    for report in [*history.reports.values()][-1:]:
        of_all = _changed({"the value of a customer": report.value}, {"the value of a customer": value})
        of_all += _changed({"the currency": report.currency or "not named"}, {"the currency": currency or "not named"})
        for page in report.pages:
            if page.figures and page.name in digests:
                found[page.name] = _changed(page.parameters, parameters[page.name]) + of_all
                if page.definition != digests[page.name]:
                    found[page.name].append("how it is computed has changed")
    return {name: told for name, told in found.items() if told}


def restating(history: History, jobs: list[Job], folder: Path, stage: Path) -> list[Job]:
    """Return the jobs that compute the previous report's figures as they are defined today."""
    if not history.changes:
        return []
    (stage / "restated" / "notebooks").mkdir(parents=True)
    before_it, date = ["", *history.dates][-2:]
    given = {"as_of": date, "previous": str(folder / before_it) if before_it else ""}
    return [
        replace(
            job,
            parameters=job.parameters | {name: value for name, value in given.items() if name in job.parameters},
            folder=stage / "restated",
            restates=True,
        )
        for job in jobs
        if job.name in history.changes
    ]


def restated(history: History, pages: list[Made], count: int) -> list[Made]:
    """Take over what was restated, which stands behind the pages of the report itself; return these."""
    for page in pages[count:]:
        if page.failure or page.unanswerable:
            history.refused[page.name] = page.unanswerable or "its notebook fails for that date"
        else:
            history.restated |= {key: figure["value"] for key, figure in page.figures.items()}
    return pages[:count]


def compared(manifest: Manifest, history: History, counted: dict[str, Any]) -> Manifest:
    """Add to a report's manifest what its figures were before.

    A figure gets `before`, its value in the previous report (if in the same unit); `restated`, the same as it is
    defined today, if its definition has changed; and a headline `past`: dates and values of the reports in which it
    means the same, oldest first. These go on across a change of definition that left the previous value as it was.

    A page gets `changes`, those of its definition. The manifest gets `redefined`: the pages with figures whose previous
    value is another as they are defined today; and `corrected`: what is `counted` in today's data up to the previous
    date, and was not the same then. Such late corrections are in what is restated, too.
    """
    figures, pages = manifest["figures"], manifest["pages"]
    *_, previous = [None, *history.reports.values()]
    for key, figure in figures.items():
        if previous and key in previous.figures and previous.figures[key].unit == figure["unit"]:
            figure["before"] = previous.figures[key].value
        if key in history.restated:
            figure["restated"] = history.restated[key]
    for page in pages:
        page["changes"] = history.changes.get(page["name"], [])
    manifest["redefined"] = [
        {"page": page["name"], "changes": page["changes"], "figures": told}
        for page in pages
        if (told := _altered(figures, history.restated, page["figures"]))
    ]
    manifest["corrected"] = _altered(figures, counted, counted)
    _add_past(manifest, history.reports)
    manifest["warnings"] += _warnings(pages, history)
    return manifest


def comparable(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Return what each figure was on the previous report's date as it is defined today, where that is known."""
    redefined = {key for page in manifest["pages"] if page.get("changes") for key in page["figures"]}
    found = {}
    for key, figure in manifest["figures"].items():
        known = "restated" if key in redefined else "before"
        if known in figure:
            found[key] = {"value": figure[known], "unit": figure["unit"]}
    return found


def _altered(figures: Manifest, restated: dict[str, Any], keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return those figures whose restated value is not the published one, with both."""
    both = {
        key: (figures[key]["before"], restated[key]) for key in keys if key in restated and "before" in figures[key]
    }
    return {key: {"before": old, "restated": new} for key, (old, new) in both.items() if not _same(old, new)}


def _add_past(manifest: Manifest, reports: dict[str, Report]) -> None:
    """Give each headline its values in earlier reports, so far as it means the same there."""
    today, comparison = Report.model_validate(manifest), comparable(manifest)
    for key, figure in manifest["figures"].items():
        if not figure["headline"]:
            continue
        points = {
            date: report.figures[key].value
            for date, report in reports.items()
            if key in report.figures
            and (report.figures[key].unit, report.meaning(key)) == (figure["unit"], today.meaning(key))
        }
        if key in comparison:
            date, previous = [*reports.items()][-1]
            if "before" in figure and _same(figure["before"], comparison[key]["value"]):
                points = dict(previous.figures[key].past) | points
            points[date] = comparison[key]["value"]
        known = [[date, value] for date, value in sorted(points.items()) if isinstance(value, int | float)]
        figure["past"] = known[-MOST:]


def _warnings(pages: list[Manifest], history: History) -> list[str]:
    """Say what is not compared, and why."""
    titles = {page["name"]: page["title"].rstrip("?") for page in pages if page["figures"]}
    told = [
        f"{titles[name]}? This is not compared with the report of {history.dates[-1]}: its definition has changed,"
        f" and it cannot be computed anew for that date ({reason.rstrip('.')})."
        for name, reason in history.refused.items()
        if name in titles
    ]
    if history.unreadable:
        dates = ", ".join(history.unreadable)
        told.append(f"The manifest.json of {dates} is damaged or of another version, so nothing is compared with it.")
    return told


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say what was otherwise: "loyal_from was 4, is 6"."""
    return [
        f"{name} was {before.get(name, 'not there')}, is {now.get(name, 'not there')}"
        for name in dict.fromkeys([*now, *before])
        if name not in before or name not in now or before[name] != now[name]
    ]


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; sums may differ in their last digits, as their order is the engine's."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other
