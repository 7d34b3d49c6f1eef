"""The command line: `crm-analysis report`, `crm-analysis customer` and `crm-analysis example`."""

from __future__ import annotations

import json
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from crm_analysis.errors import InputError
from crm_analysis.examples import EXAMPLES

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False, soft_wrap=True)

Example = StrEnum("Example", list(EXAMPLES))  # type: ignore[misc]  # mypy wants the names written out


@app.callback()
def main() -> None:
    """Understand a customer base from its transaction log."""


Toml = Annotated[Path, typer.Argument(help="The dataset's TOML.", metavar="DATASET.toml")]
AsOf = Annotated[
    str,
    typer.Option(help="Date of the analysis; default: the TOML's, or the last in the data.", metavar="YYYY-MM-DD"),
]
Out = Annotated[Path, typer.Option(help="Folder of all reports.", metavar="DIR")]


@app.command()
def report(
    dataset: Toml,
    as_of: AsOf = "",
    only: Annotated[str, typer.Option(help="Notebooks to run, by name, with commas between.", metavar="NAME,…")] = "",
    out: Out = Path("reports"),
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another value for a notebook's parameter.", metavar="NOTEBOOK.PARAM=VALUE"),
    ] = None,
    pseudonymise: Annotated[
        bool,
        typer.Option("--pseudonymise", help="Show pseudonyms of customers; lists with names lie apart."),
    ] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print all pages to one PDF, too; needs Chromium.")] = False,
    zip_: Annotated[bool, typer.Option("--zip", help="Pack the report into one file for sending, too.")] = False,
) -> None:
    """Render a dataset's report and print the path of its index page.

    Exit status: 0 published, 1 a notebook failed and nothing was published, 2 the input is not usable.
    """
    from crm_analysis.paper import pack
    from crm_analysis.report import notebooks, publish

    names = [name.strip() for name in only.split(",") if name.strip()]
    with _told("notebooks", len(names) or len(notebooks())) as progress:
        index = publish(
            dataset,
            as_of=as_of,
            only=names,
            out=out,
            settings=_settings(set_ or []),
            pseudonymise=pseudonymise,
            pdf=pdf,
            progress=progress,
        )
        packed = pack(index.parent) if zip_ else None
    manifest = json.loads(index.with_name("manifest.json").read_text("utf-8"))
    for warning in [*manifest["warnings"], *filter(None, [manifest.get("not_printed")])]:
        console.print(f"Warning: {warning}", markup=False)
    if pseudonymise:
        lists = index.parents[1] / "confidential" / index.parent.name
        console.print(f"Lists with names, for you only: {lists}", markup=False)
    if packed:
        console.print(f"Packed for sending: {packed}", markup=False)
    print(index)


@app.command()
def customer(
    dataset: Toml,
    ids: Annotated[list[str] | None, typer.Argument(help="Customers, by their ids.", metavar="ID…")] = None,
    manager: Annotated[
        str,
        typer.Option(
            help="All key customers of this account manager; of one who has left, those who had been looked after"
            " until then.",
            metavar="ID",
        ),
    ] = "",
    as_of: AsOf = "",
    out: Out = Path("reports"),
) -> None:
    """Render a page for each of some customers, and print the path of the page that lists them.

    Exit status: 0 all pages made, 1 some failed and are named, 2 the input is not usable and nothing was made.
    """
    from crm_analysis.customer_pages import publish

    with _told("customers") as progress:
        index = publish(dataset, ids or [], manager=manager, as_of=as_of, out=out, progress=progress)
    print(index)


@app.command()
def example(
    name: Annotated[Example, typer.Argument(help="The example.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.", metavar="DIR")] = Path("data"),
) -> None:
    """Write the data of an example, described by the TOML of its name in data/."""
    try:
        print(EXAMPLES[name.value](out))
    except InputError as error:
        _fail(str(error), 2)


@contextmanager
def _told(what: str, total: int | None = None) -> Iterator[Callable[[str, str, float], None]]:
    """Show how far the work is; end with one sentence and an exit status where it fails."""
    from crm_analysis.report import ReportFailed

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs is ended, what was begun is removed
    try:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}" + "/{task.total}" * bool(total)),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as bar:
            task = bar.add_task(what, total=total)

            def done(name: str, state: str, seconds: float) -> None:
                bar.advance(task)
                console.print(f"{name}: {state} in {seconds:.1f} s", markup=False)

            yield done
    except InputError as error:
        _fail(str(error), 2)
    except ReportFailed as error:
        _fail(str(error), 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _settings(given: list[str]) -> dict[str, dict[str, Any]]:
    """Return `NOTEBOOK.PARAM=VALUE` as nested parameters; a value is read as TOML, else taken as text."""
    settings: dict[str, dict[str, Any]] = {}
    for setting in given:
        key, equals, text = setting.partition("=")
        notebook, dot, parameter = key.partition(".")
        if not (equals and dot and notebook and parameter):
            raise InputError(f"--set {setting}: write NOTEBOOK.PARAM=VALUE")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        settings.setdefault(notebook, {})[parameter] = value
    return settings


def _fail(message: str, status: int) -> None:
    console.print(f"crm-analysis: {message}", style="red" if console.is_terminal else "", markup=False)
    raise typer.Exit(status)
