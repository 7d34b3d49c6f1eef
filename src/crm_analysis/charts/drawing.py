"""What charts are made of: written numbers, axes, labels and the heat map."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.optimize import isotonic_regression
from seaborn import heatmap

from crm_analysis import numerals
from crm_analysis.charts.theme import GREY, HEAT, PAPER, WARNING, new_figure


def matrix(frame: pd.DataFrame, rows: str, columns: str, values: str, order: Iterable[str]) -> pd.DataFrame:
    """Lay pairs out as a matrix, names in ``order`` first, only those that occur; a missing pair is NaN.

    Names that are not in ``order`` follow as they come, numbers by size.
    """
    rank = {name: place for place, name in enumerate(order)}
    table = frame.pivot(index=rows, columns=columns, values=values).astype(float)
    for axis, names in enumerate([frame[rows].unique(), frame[columns].unique()]):
        places = {name: rank.get(name, len(rank) if isinstance(name, str) else name) for name in names}
        table = table.reindex(sorted(names, key=places.__getitem__), axis=axis)
    return table


def heat_map(table: pd.DataFrame, top: float, write: Callable[..., str], rows: str, columns: str) -> Figure:
    """Shade each cell from 0 to ``top`` and write its number in it; NaN stays blank."""
    with new_figure(1.2 + 0.55 * len(table)) as (figure, ax):
        texts = table.map(lambda number: "" if np.isnan(number) else write(number))
        heatmap(
            table, vmin=0, vmax=top, cmap=HEAT, annot=texts, fmt="", linewidths=2, linecolor=PAPER, cbar=False, ax=ax
        )
        for text, number in zip(ax.texts, table.stack().dropna(), strict=True):  # seaborn's own choice is too pale
            text.set_color("white" if number > 0.81 * top else "black")
        ax.tick_params(axis="y", rotation=0)
        ax.tick_params(length=0, labeltop=True, labelbottom=False)
        ax.xaxis.set_label_position("top")
        ax.set_xlabel(columns, labelpad=8)
        ax.set_ylabel(rows, labelpad=8)
    return figure


def bars(ax: Axes, names: Sequence[str], lengths: Any, texts: Sequence[str], colors: Any) -> list[Annotation]:
    """Draw a bar for each name, from the top down, with a text at its end; an unknown length has no bar."""
    rows, lengths = range(len(names)), np.nan_to_num(np.asarray(lengths, float))
    drawn = ax.barh(rows, lengths, height=0.8, color=colors)
    hatch_losses(drawn)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set(xlim=(min([0, *lengths]), max([0, *lengths]) or 1), ylim=(max(len(names), 1) - 0.5, -0.5), xticks=[])
    ax.set_yticks(rows, names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax.bar_label(drawn, texts, padding=4, fontsize=11)


def hatch_losses(drawn: BarContainer) -> None:
    """Draw bars of less than nothing hatched in the warning colour."""
    for bar in drawn:
        if bar.get_width() < 0:
            bar.set(facecolor=PAPER, edgecolor=WARNING, hatch="///")


def headings(ax: Axes, places: list[float], names: list[str]) -> None:
    """Write bold headings above a drawing that needs no axes."""
    ax.set_xticks(places, names, fontsize=12, fontweight="bold")
    ax.tick_params(length=0, pad=8, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)


def number_axis(ax: Axes) -> None:
    """Let the vertical axis start at 0, with few round numbers and thousands separators."""
    ax.set_ylim(bottom=0)
    ax.grid(axis="y")
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: numerals.plain(x)))


def date_axis(ax: Axes, dates: pd.DatetimeIndex) -> None:
    """Write few and short dates along the horizontal axis, or the only one in full."""
    locator = AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if len(dates) == 1:
        ax.set_xticks(dates, [f"{dates[0]:%Y-%m-%d}"])


def side_labels(ax: Axes, texts: list[str], heights: Any, colors: list[str], side: int = 1) -> None:
    """Write labels left (0) or right (1) of the axes, each as near its height as fits without overlap."""
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout knows how tall the axes are
    heights = np.nan_to_num(np.asarray(heights, float))
    bottom, top = sorted(ax.get_ylim())
    inches = 0.21 * (1 + max(text.count("\n") for text in texts))
    gap = (top - bottom) * min(inches * ax.figure.dpi / ax.get_window_extent().height, 1 / len(texts))
    order, steps = np.argsort(heights, kind="stable"), gap * np.arange(len(texts))
    near = isotonic_regression(heights[order] - steps).x
    places = np.empty_like(heights)
    places[order] = np.clip(near, bottom + gap / 2, top - gap / 2 - steps[-1]) + steps
    style: dict[str, Any] = {"ha": "left" if side else "right", "va": "center", "linespacing": 1.05}
    line = {"arrowstyle": "-", "linewidth": 2, "relpos": (1.05 - 1.1 * side, 0.5), "patchA": None}
    for text, height, place, color in zip(texts, heights, places, colors, strict=True):
        start, style["arrowprops"] = (1.09 * side - 0.045, place), line | {"color": color}
        ax.annotate(text, (side, height), start, ax.get_yaxis_transform(), **style)
