"""What a notebook publishes: findings, figures, charts, tables and lists of customers.

Each verb displays something for the reader and, with it, the same facts as data. A report reads them from the
executed notebook, so there is no second channel, and in JupyterLab a notebook shows what its page will show.
"""

from __future__ import annotations

import ast
import base64
import builtins
import contextlib
import datetime as dt
import decimal
import html
import math
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import display

from crm_analysis import lists
from crm_analysis.errors import Unanswerable
from crm_analysis.numerals import count, decimals, is_currency, number, percent, plain, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crm_analysis.dataset import Dataset

MIME = "application/vnd.crm-analysis+json"
SHOWN = 10  # rows of a list that stand on the page; all are in its files
LISTED = 10_000  # rows of a list that leave the engine
PATHS = ("dataset", "report", "previous")  # parameters of which a page tells no more than the last part: it travels
NAMED = 60  # characters of a name that a sentence or a chart shows
TOLD = 90  # characters of a text that a table shows
WIDE = 24  # characters from which a text gets a column of some width


def finding(sentence: str, *, figure: str = "", stake: float | None = None) -> None:
    """Publish what was found, in one sentence with its numbers.

    Parameters
    ----------
    sentence
        The finding.
    figure
        The key of the published figure that it is about.
    stake
        The money that can be won, kept or lost by acting on it: the report's first page tells those findings that have
        most at stake.
    """
    told = {"sentence": sentence, "figure": figure, "stake": _plain(stake)}
    _publish(f'<p class="finding">{html.escape(sentence)}</p>', {"finding": told})


def story(sentence: str, *, number: str, change: str, todo: str, links: dict[str, str]) -> None:
    """Tell a finding of another page.

    Parameters
    ----------
    sentence
        The finding.
    number
        The figure that it is about, as it is written, and what it means.
    change
        How that has changed since the previous report, or nothing.
    todo
        What to do about it, or nothing.
    links
        Where more is to be read: names, and addresses beside the page.
    """
    told = f"{html.escape(number)}{f' <i>{html.escape(change)}</i>' if change else ''}"
    more = " · ".join(f'<a href="{html.escape(link)}">{html.escape(name)}</a>' for name, link in links.items())
    _publish(
        f'<section class="story"><p class="finding">{html.escape(sentence)}</p>'
        + (f'<p class="number">{told}</p>' if number else "")
        + (f'<p class="action">{html.escape(todo)}</p>' if todo else "")
        + f'<p class="files">{more}</p></section>',
        {},
    )


def figure(
    key: str, value: float | int | str | None, *, unit: str = "", label: str = "", headline: bool = False
) -> None:
    """Publish a key figure.

    Parameters
    ----------
    key
        Its name in the report's manifest, the notebook's name first: `pareto.top20_share`.
    value
        A number, an ISO date or None; not a number (NaN) becomes None.
    unit
        `share`, a currency's code, or what is counted (`customers`, `weeks`); see `numerals.written`.
    label
        What the figure means, in a few words; by default made from the key.
    headline
        The figure also stands at the top of the report's index.
    """
    value = _plain(value)
    label = label or key.split(".", 1)[-1].replace(".", " ").replace("_", " ")
    shown = f'<div class="tile"><b>{html.escape(written(value, unit))}</b> <span>{html.escape(label)}</span></div>'
    _publish(shown, {"figure": {"key": key, "value": value, "unit": unit, "label": label, "headline": headline}})


def chart(figure: Figure, alt: str) -> None:
    """Publish a chart with its alternative text: what it shows to those who do not see it."""
    if not alt.strip():
        raise ValueError("a chart needs an alternative text")
    from crm_analysis.charts.theme import drawn

    svg = base64.b64encode(drawn(figure).encode()).decode()
    width = round(figure.get_figwidth() * 96)
    _publish(
        f'<figure><img src="data:image/svg+xml;base64,{svg}" alt="{html.escape(alt)}" width="{width}"></figure>',
        {},
    )


def table(
    frame: pd.DataFrame, *, units: dict[str, str] | None = None, caption: str = "", few: pd.Series | None = None
) -> None:
    """Publish a small table as evidence.

    Parameters
    ----------
    frame
        Its rows.
    units
        How columns are written (see `numerals.written`).
    caption
        What it shows.
    few
        Whether a row rests on too few customers to be judged (see `rates.few`); these are marked.
    """
    marked = [] if few is None else few.to_list()
    if any(marked):
        caption = f"{caption}; * too few to judge".removeprefix("; ")
    _publish(_html_table(frame, units or {}, caption, caption or "table", marked), {})


def list(
    name: str,
    customers: ir.Table | pd.DataFrame,
    *,
    action: str,
    title: str,
    units: dict[str, str] | None = None,
    names: ir.Table | None = None,
    of: str = "customers",
    by: str = "",
) -> None:
    """Publish a list of customers (or products, …) on whom somebody is to act, in the order given.

    Parameters
    ----------
    name
        The name of its files beside the page: letters, digits and underscores.
    customers
        One row per customer, the most important first. Of more than 10,000 rows the first 10,000 are listed, and
        the page says so.
    action
        What to do with them: "Call …", "Visit …".
    title
        Who they are, in a few words.
    units
        How columns are written (see `numerals.written`).
    names
        The customers' `customer_id` and `name`, to put the name beside the id.
    of
        What the rows are, in the plural.
    by
        A column: each of its values gets a file of its own, too.
    """
    if not name.isidentifier():
        raise ValueError(f"a list's name is made of letters, digits and underscores, not '{name}'")
    units = units or {}
    total = int(customers.count().execute()) if isinstance(customers, ir.Table) else len(customers)
    frame = customers.limit(LISTED).to_pandas() if isinstance(customers, ir.Table) else customers.head(LISTED)
    if names is not None:
        frame.insert(1, "name", _names_of(frame, names))
    rows = [[_plain(cell) for cell in row] for row in frame.itertuples(index=False)]
    columns = [
        {"name": column, "unit": units.get(column, "date" if _is_date(frame[column]) else "")}
        for column in frame.columns
    ]
    how_many = f"1 {of.replace('people', 'person').removesuffix('s')}" if total == 1 else f"{count(total)} {of}"
    if total > SHOWN:
        how_many += f"; the first {SHOWN} are shown"
    if total > LISTED:
        how_many += f", the first {count(LISTED)} are in the files"
    action_shown = f'<p class="action">{html.escape(action)}</p>' if total else ""
    shown = (
        f'<section class="list" id="list-{name}"><h3>{html.escape(title)}</h3>'
        f'{action_shown}<p class="count">{how_many}.</p>'
        f"{_html_table(frame.head(SHOWN), units, label=title, sortable=True) if len(frame) else ''}"
        f"<!-- files of {name} --></section>"
    )
    listed = {
        "name": name,
        "title": title,
        "action": action,
        "of": of,
        "by": by,
        "total": total,
        "columns": columns,
        "rows": rows,
    }
    _publish(shown, {"list": listed})


def called(customers: pd.DataFrame, names: ir.Table | None) -> pd.DataFrame:
    """Return the frame with `name`, what a sentence or a chart calls each customer: name, else id, cut short."""
    known = customers["customer_id"] if names is None else _names_of(customers, names).fillna(customers["customer_id"])
    return customers.assign(name=known.astype(str).map(_short))


def _names_of(customers: pd.DataFrame, names: ir.Table) -> pd.Series:
    known = names.filter(names["customer_id"].isin(customers["customer_id"].to_list())).to_pandas()
    return customers["customer_id"].map(known.set_index("customer_id")["name"])


@contextlib.contextmanager
def section() -> Iterator[None]:
    """Enclose a part of a page that the data may not be able to answer: then it says why, and the page goes on."""
    try:
        yield
    except Unanswerable as reason:
        _publish(f'<p class="unanswerable">{html.escape(str(reason))}</p>', {"unanswered": str(reason)})


def close(data: Dataset) -> None:
    """End a notebook: say how its numbers came about, and mark it as finished for the report."""
    parameters = {name: _plain(value) for name, value in _annotated(get_ipython().user_ns).items()}
    parameters |= {name: Path(parameters[name]).name.lstrip(".") for name in PATHS if parameters.get(name)}
    first, last = data.period
    facts = {
        "Data": f"{data.title}: transactions from {first} to {last}, fingerprint {data.fingerprint}",
        "Rows not usable": ", ".join(
            f"{row.table} {count(row.quarantined)} of {count(row.read)}" for row in data.quality.itertuples()
        ),
        "As-of date": f"{data.as_of}; nothing after it was read",
        "Value of a customer": f"{data.value_name}, in {data.currency or 'the currency of the data'}",
        "Parameters": ", ".join(f"{name} = {value!r}" for name, value in parameters.items()),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
    rows = "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in facts.items())
    shown = f'<details class="computed"><summary>How this was computed</summary><dl>{rows}</dl></details>'
    _publish(shown, {"closed": {"fingerprint": data.fingerprint}})


def _annotated(names: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook's parameters: the names that its cells declare with a type, and their values now."""
    declared: dict[str, Any] = {}
    for source in names["In"]:
        with contextlib.suppress(SyntaxError):
            declarations = [node for node in ast.parse(source).body if isinstance(node, ast.AnnAssign)]
            declared |= {node.target.id: None for node in declarations if isinstance(node.target, ast.Name)}
    return {name: names[name] for name in declared if name in names}


def versions() -> dict[str, str]:
    """Return the versions of what computes the numbers."""
    packages = ("crm-analysis", "duckdb", "ibis-framework", "lifetimes", "numpy", "pandas", "scipy", "scikit-learn")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it: a plain number, text, truth or None."""
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dt.date):
        return value.isoformat()[:10]
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, tuple | builtins.list):
        return [_plain(part) for part in value]
    return str(value)


def _is_date(column: pd.Series) -> bool:
    return pd.api.types.infer_dtype(column, skipna=True) in ("date", "datetime", "datetime64")


def _html_table(
    frame: pd.DataFrame,
    units: dict[str, str],
    caption: str = "",
    label: str = "table",
    few: Sequence[bool] = (),
    sortable: bool = False,
) -> str:
    """Write a table whose headings carry the units, numbers aligned; those with a unit have equal decimals in a column.

    Rows of few customers are grey, with a star in their first cell. In a sortable table cells carry their numbers.
    """
    numeric = {name for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name])}
    headings = [html.escape(lists.heading(name, units.get(name, ""))) for name in frame.columns]
    heads = "".join(
        f'<th scope="col"{" class=n" if name in numeric else ""}>{text}</th>'
        for name, text in zip(frame.columns, headings, strict=True)
    )
    columns = [_cells(frame[name], units.get(name, ""), name in numeric, sortable) for name in frame.columns]
    if columns and frame.columns[0] not in numeric:
        columns[0] = [cell.replace("<td", '<th scope="row"', 1).replace("</td>", "</th>") for cell in columns[0]]
    lines = zip(zip(*columns, strict=True), [*few] or [False] * len(frame), strict=True)
    rows = "".join(
        f'<tr class="few">{cells[0].replace("</t", " *</t", 1)}{"".join(cells[1:])}</tr>'
        if small
        else f"<tr>{''.join(cells)}</tr>"
        for cells, small in lines
    )
    opening = '<table class="sortable">' if sortable else "<table>"
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}">'
        f"{opening}{title}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cells(column: pd.Series, unit: str, numeric: bool, sortable: bool) -> builtins.list[str]:
    """Write the cells of one column."""
    if not numeric:
        texts = [written(value if isinstance(value, dt.date) else _plain(value)) for value in column]
        kind = " class=d" if _is_date(column) else " class=w" if max(map(len, texts), default=0) > WIDE else ""
        return [f"<td{kind}>{html.escape(_short(text, TOLD))}</td>" for text in texts]
    known = column.dropna()
    whole = (known % 1 == 0).all() and not is_currency(unit)
    if unit == "share":
        texts = [percent(value, 1) for value in column]
    elif whole or known.abs().max() >= 1000:
        texts = [count(value) for value in column]
    elif unit:
        texts = [number(value, decimals(unit) if is_currency(unit) else 2) for value in column]
    else:
        texts = [plain(value, 4) for value in column]
    values = [f' data-v="{value}"' * (sortable and not pd.isna(value)) for value in column]
    return [f"<td class=n{value}>{text}</td>" for value, text in zip(values, texts, strict=True)]


def _short(text: str, most: int = NAMED) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _publish(shown: str, data: dict[str, Any]) -> None:
    bundle: dict[str, Any] = {"text/html": shown}
    display(bundle | ({MIME: data} if data else {}), raw=True)
