"""Every chart of the reports: a small pandas frame in, a matplotlib figure out.

A chart shows numbers, it never computes a result: what is drawn or written stands in the frame. No chart has
a title, since the sentence above it states its finding. Figures belong to no window and settings apply only
while a chart is drawn, so a notebook shows each figure once and its own plots keep their look. Text from the
data is drawn as it is.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from scipy.optimize import isotonic_regression
from seaborn import heatmap

ACCENT, WASH, WARNING, INK, GREY, PALE = "#0b5394", "#e9eff6", "#c8501e", "#1f1f1f", "#757575", "#dedede"

# Tiers, best first, from deep blue to grey.
TIER_COLORS = {"important": ACCENT, "major": "#4a8ac4", "ordinary": "#9cc3e4", "small": "#c4c9ce"}

# Stages in the order of a customer's life: blue while customers buy, amber when they pause, grey outside.
STAGE_COLORS = {
    "non-customer": "#e4e4e4",
    "prospect": "#d3d8dc",
    "target": "#bcc4ca",
    "first-time": "#a9cdea",
    "repeat": "#4a8ac4",
    "loyal": ACCENT,
    "dormant": "#eda63a",
    "lost": "#b0b0b0",
}
HEAT = LinearSegmentedColormap.from_list("heat", ["#f1f5fa", "#9cc3e4", ACCENT])
FONTS = [
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
]
TICKS = {"color": GREY, "labelcolor": INK, "labelsize": 11}
THEME = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.facecolor": "white",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "font.family": [name for name in FONTS if name in fontManager.get_font_names()],
    "font.size": 12,
    "grid.color": PALE,
    "text.color": INK,
    "text.parse_math": False,
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in TICKS.items()},
}


def concentration_curve(concentration: pd.DataFrame, mark: float, share: float, value_name: str) -> Figure:
    """How much of the value the best customers bring, against everyone bringing the same.

    Parameters
    ----------
    concentration
        ``customer_share`` (0 to 1, best first, starting at 0) and ``value_share`` (cumulative, 1 = all; above
        1 or below 0 where customers lose money).
    mark
        The share of customers to point out, for example 0.20.
    share
        The share of the value that they bring.
    value_name
        What the value is, for example "revenue".
    """
    customers, value = (concentration[name].to_numpy(float) for name in ("customer_share", "value_share"))
    height, known = np.nan_to_num(share), value[np.isfinite(value)]
    low, high = min([0, *known]), max([1, *known])
    bring = "an unknown share" if np.isnan(share) else _percent(share)
    label = f"{_percent(mark)} of customers\nbring {bring} of {value_name}"
    halo = [withStroke(linewidth=4, foreground=WASH)]
    with _figure() as (figure, ax):
        ax.grid()
        ax.fill_between(customers, customers, value, color=WASH, linewidth=0)
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        ax.plot(customers, value, color=ACCENT, linewidth=2.5, clip_on=False)
        ax.plot([mark, mark, 0], [low, height, height], color=ACCENT, linewidth=1, linestyle=":")
        ax.plot([mark], [height], "o", color=ACCENT, markersize=8, clip_on=False)
        place = min(mark + 0.025, 0.6), max(height - 0.03, 0.15)
        ax.text(*place, label, va="top", color=ACCENT, weight="bold", path_effects=halo)
        if low < 0 or high > 1:
            ax.hlines([0, 1], 0, 1, color=GREY, linewidth=0.8)
        ax.set(xlim=(0, 1), xlabel="Share of customers, best first")
        ax.set(ylim=(low, high), ylabel=f"Share of {value_name}")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol="%"))
    return figure


def pyramids(tiers: pd.DataFrame, value_name: str) -> Figure:
    """Few customers bring much: the pyramid of customers beside the upside-down pyramid of their value.

    A tier that loses money is hatched in the warning colour; one whose share is unknown has no bar.

    Parameters
    ----------
    tiers
        One row a tier, best first: ``tier``, ``customers``, ``customer_share`` (0 to 1), ``value`` (money),
        ``value_share`` (1 = all; negative where the tier loses money, NaN where there is no total).
    value_name
        What the value is, for example "revenue".
    """
    rows, colors = range(len(tiers)), [TIER_COLORS.get(tier, PALE) for tier in tiers["tier"]]
    sides = [("customers", "customer_share", "customers"), ("value", "value_share", value_name)]
    with _figure(3.6, 1, 2) as (figure, axes):
        for ax, (amount, share, name) in zip(axes, sides, strict=True):
            shares, amounts = tiers[share].to_numpy(float), tiers[amount].to_numpy(float)
            widths = np.nan_to_num(shares)
            for bar in ax.barh(rows, widths, left=-widths / 2, height=0.86, color=colors):
                if bar.get_width() < 0:
                    bar.set(facecolor="white", edgecolor=WARNING, hatch="///")
            reach = max(abs(widths)) / 2 or 1
            ax.set(xlim=(-reach, reach), ylim=(len(tiers) - 0.5, -0.5))
            ax.set_yticks(rows, [f"{_percent(s)}\n{_count(a)}" for s, a in zip(shares, amounts, strict=True)])
            _headings(ax, [0], [name])
        axes[1].yaxis.tick_right()
        place = {"xycoords": axes[1].get_yaxis_transform(), "textcoords": "offset points"}
        for row, tier in zip(rows, tiers["tier"], strict=True):
            axes[1].annotate(tier, (0, row), (-44, 0), **place, ha="center", va="center")
    return figure


def tier_moves(moves: pd.DataFrame) -> Figure:
    """Who rose and who fell: customers by their tier before (rows) and now (columns).

    Parameters
    ----------
    moves
        ``tier_before`` (a tier or "not yet a customer"), ``tier_now``, ``customers``; a missing pair is 0.
    """
    table = _matrix(moves, "tier_before", "tier_now", "customers", TIER_COLORS).fillna(0)
    return _heat_map(table, table.to_numpy().max() or 1, _count, "Tier before", "Tier now")


def stage_areas(stages: pd.DataFrame) -> Figure:
    """What the customer base is made of and how that changes: customers in each stage over time.

    Parameters
    ----------
    stages
        ``date``, ``stage``, ``customers`` in it on that date; a missing pair is 0.
    """
    table = _matrix(stages, "date", "stage", "customers", STAGE_COLORS).fillna(0)
    table = table.set_axis(pd.to_datetime(table.index)).sort_index()
    dates = table.index
    if len(dates) == 1:  # an area needs two ends: show the one date as a day
        table = pd.concat([table, table.shift(freq="D")])
    colors, last = [STAGE_COLORS.get(stage, PALE) for stage in table], table.iloc[-1]
    with _figure() as (figure, ax):
        ax.stackplot(table.index, table.to_numpy().T, colors=colors, edgecolor="white", linewidth=0.6)
        ax.set(xlim=table.index[[0, -1]], ylim=(0, table.sum(axis=1).max() or 1), ylabel="Customers")
        _date_axis(ax, dates)
        _number_axis(ax)
        _side_labels(ax, _captions(last), last.cumsum() - last / 2, colors)
    return figure


def stage_flows(flows: pd.DataFrame, before_label: str, now_label: str) -> Figure:
    """Where customers came from and where they went: bands between their stages at two dates.

    A band is as high as its customers are many and has the colour of the stage they left.

    Parameters
    ----------
    flows
        ``stage_before``, ``stage_now``, ``customers``; a missing pair is 0.
    before_label, now_label
        The two dates in words, for example "31 May" and "30 June".
    """
    table = _matrix(flows, "stage_before", "stage_now", "customers", STAGE_COLORS).fillna(0)
    counts = table.to_numpy()
    total = counts.sum() or 1
    gap, along, tops = 0.025 * total, np.linspace(0, 1, 60), []
    across, ease = 0.045 + 0.91 * along, along**2 * (3 - 2 * along)
    with _figure(4.6) as (figure, ax):
        ax.set(xlim=(0, 1), ylim=(total + gap * (max(counts.shape) - 1), 0), yticks=[])
        _headings(ax, [0, 1], [before_label, now_label])
        for side, sizes in enumerate([table.sum(axis=1), table.sum(axis=0)]):
            colors = [STAGE_COLORS.get(stage, PALE) for stage in sizes.index]
            tops.append((sizes + gap).cumsum().to_numpy() - sizes.to_numpy() - gap)
            ax.bar([0.02 + 0.96 * side] * len(sizes), sizes, 0.04, bottom=tops[side], color=colors)
            _side_labels(ax, _captions(sizes), tops[side] + sizes / 2, colors, side)
        starts = tops[0][:, None] + counts.cumsum(axis=1) - counts
        drops = tops[1] + counts.cumsum(axis=0) - counts - starts
        for pair in np.argwhere(counts > 0):
            band, color = tuple(pair), STAGE_COLORS.get(table.index[pair[0]], PALE)
            top = starts[band] + drops[band] * ease
            ax.fill_between(across, top, top + counts[band], color=color, alpha=0.6, linewidth=0)
    return figure


def transition_matrix(transitions: pd.DataFrame) -> Figure:
    """What usually happens next: of each stage's customers (rows), the share in each stage one step later.

    Parameters
    ----------
    transitions
        ``stage_before``, ``stage_now``, ``probability`` (0 to 1); a missing pair or NaN stays blank.
    """
    table = _matrix(transitions, "stage_before", "stage_now", "probability", STAGE_COLORS)
    return _heat_map(table, 1, _percent, "Stage before", "Stage one step later")


def tracking(tracking: pd.DataFrame, split: str | date) -> Figure:
    """Whether the model foresaw the purchases: actual against expected, since the start and week by week.

    Parameters
    ----------
    tracking
        One row a week: ``date``; repeat purchases since the start, ``actual`` and ``expected``; those of the
        week, ``actual_weekly`` and ``expected_weekly``.
    split
        The last date the model learnt from.
    """
    split, dates = pd.Timestamp(split), pd.DatetimeIndex(tracking["date"])
    align = "left" if split < dates.min() + (dates.max() - dates.min()) / 2 else "right"
    marker = "o" if len(tracking) == 1 else ""
    with _figure(5.2, 2, 1) as (figure, axes):
        place = {"transform": axes[0].get_xaxis_transform(), "ha": align}
        axes[0].text(split, 1.03, "model saw data up to here", **place)
        for ax, suffix, label in zip(axes, ["", "_weekly"], ["since the start", "per week"], strict=True):
            ax.axvline(split, color=INK, linewidth=1, linestyle="--")
            ax.set(ylabel=f"Repeat purchases\n{label}")
            ax.margins(x=0)
            _two_lines(ax, dates, tracking["actual" + suffix], tracking["expected" + suffix], marker)
        _date_axis(axes[1], dates)
    return figure


def holdout_by_frequency(holdout: pd.DataFrame) -> Figure:
    """Whether the model is right for rare and for frequent buyers: later purchases, actual and expected.

    Parameters
    ----------
    holdout
        In order: ``frequency`` (repeat purchases while the model learnt: "0", "1", …, "7+"); ``actual`` and
        ``expected``, mean purchases per customer in the hold-out period.
    """
    with _figure() as (figure, ax):
        ax.set(xlabel="Repeat purchases the model saw", ylabel="Later purchases per customer")
        ax.set_xticks(range(len(holdout)), holdout["frequency"].astype(str))
        ax.margins(x=0.03)
        _two_lines(ax, range(len(holdout)), holdout["actual"], holdout["expected"], "o")
    return figure


def alive_bands(bands: pd.DataFrame) -> Figure:
    """How many customers are probably still customers: customers by the model's probability of it.

    Parameters
    ----------
    bands
        In order: ``band`` (label such as "0–10%") and ``customers``.
    """
    places, counts = range(len(bands)), bands["customers"].map(_count)
    with _figure(3.6) as (figure, ax):
        bars = ax.bar(places, bands["customers"].to_numpy(float), width=0.86, color=ACCENT)
        crowded = len(bands) * counts.str.len().max() > 65
        ax.bar_label(bars, counts, padding=3, fontsize=11, rotation=90 if crowded else 0)
        ax.set(xlabel="Probability of still being a customer, in %", ylabel="Customers", yticks=[])
        ax.set_xticks(places, bands["band"].astype(str).str.removesuffix("%"))
        ax.tick_params(length=0)
        ax.margins(x=0.01)
        ax.set_ylim(0, bands["customers"].max() or 1)
        ax.spines["left"].set_visible(False)
    return figure


class _Chart(Figure):
    """A figure that a notebook shows even when nothing in it has set up matplotlib."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        image = BytesIO()
        self.savefig(image, format="png")
        return image.getvalue(), {"width": round(100 * self.get_figwidth())}


@contextmanager
def _figure(height: float = 4.2, rows: int = 1, columns: int = 1) -> Iterator[tuple[Figure, Any]]:
    """Open a figure under the theme, unknown to pyplot, with its axes; lay it out at the end.

    The layout has to happen under the theme too, because matplotlib makes ticks only when it needs them.
    """
    with mpl.rc_context(THEME):
        figure = _Chart(figsize=(6.4, height))
        yield figure, figure.subplots(rows, columns, sharex="col")
        figure.draw_without_rendering()


def _count(number: float) -> str:
    """Write a whole number: 23570 → "23,570", NaN → "unknown"."""
    return "unknown" if np.isnan(float(number)) else f"{number:,.0f}".replace("-", "−")


def _percent(share: float) -> str:
    """Write a share: 0.683 → "68%", 0.004 → "0.4%", NaN → "unknown"."""
    digits = int(0 < abs(share) < 0.0095)
    return "unknown" if np.isnan(share) else f"{share:,.{digits}%}".replace("-", "−")


def _captions(counts: pd.Series) -> list[str]:
    """Write each name above its count."""
    return [f"{name}\n{_count(count)}" for name, count in counts.items()]


def _matrix(frame: pd.DataFrame, rows: str, columns: str, values: str, order: Iterable[str]) -> pd.DataFrame:
    """Lay pairs out as a matrix, names in ``order`` first, only those that occur; a missing pair is NaN."""
    rank = {name: place for place, name in enumerate(order)}
    table = frame.pivot(index=rows, columns=columns, values=values).astype(float)
    for axis, names in enumerate([frame[rows].unique(), frame[columns].unique()]):
        table = table.reindex(sorted(names, key=lambda name: rank.get(name, len(rank))), axis=axis)
    return table


def _heat_map(table: pd.DataFrame, top: float, write: Callable[..., str], rows: str, columns: str) -> Figure:
    """Shade each cell from 0 to ``top`` and write its number in it; NaN stays blank."""
    with _figure(1.2 + 0.55 * len(table)) as (figure, ax):
        texts = table.map(lambda number: "" if np.isnan(number) else write(number))
        heatmap(table, vmin=0, vmax=top, cmap=HEAT, annot=texts, fmt="", linewidths=2, cbar=False, ax=ax)
        for text, number in zip(ax.texts, table.stack().dropna(), strict=True):  # seaborn's own choice is too pale
            text.set_color("white" if number > 0.81 * top else "black")
        ax.tick_params(axis="y", rotation=0)
        ax.tick_params(length=0, labeltop=True, labelbottom=False)
        ax.xaxis.set_label_position("top")
        ax.set_xlabel(columns, labelpad=8)
        ax.set_ylabel(rows, labelpad=8)
    return figure


def _two_lines(ax: Axes, places: Any, actual: pd.Series, expected: pd.Series, marker: str) -> None:
    """Draw actual numbers broad and grey, expected ones thin over them, and name both at the right."""
    style: dict[str, Any] = {"marker": marker, "clip_on": False}
    ax.plot(places, actual.to_numpy(float), color="#767676", linewidth=3, markersize=9, **style)
    ax.plot(places, expected.to_numpy(float), color=ACCENT, linewidth=1.8, markersize=5, **style)
    _number_axis(ax)
    _side_labels(ax, ["actual", "expected"], [actual.iloc[-1], expected.iloc[-1]], ["#767676", ACCENT])


def _headings(ax: Axes, places: list[float], names: list[str]) -> None:
    """Write bold headings above a drawing that needs no axes."""
    ax.set_xticks(places, names, fontsize=12, fontweight="bold")
    ax.tick_params(length=0, pad=8, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)


def _number_axis(ax: Axes) -> None:
    """Let the vertical axis start at 0, with few round numbers and thousands separators."""
    ax.set_ylim(bottom=0)
    ax.grid(axis="y")
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))


def _date_axis(ax: Axes, dates: pd.DatetimeIndex) -> None:
    """Write few and short dates along the horizontal axis, or the only one in full."""
    locator = AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if len(dates) == 1:
        ax.set_xticks(dates, [f"{dates[0]:%Y-%m-%d}"])


def _side_labels(ax: Axes, texts: list[str], heights: Any, colors: list[str], side: int = 1) -> None:
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
