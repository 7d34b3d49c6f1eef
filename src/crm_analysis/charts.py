"""Every chart of the reports: a small pandas frame in, a matplotlib figure out.

A chart shows numbers, it never computes a result: what is drawn or written stands in the frame. No chart has a title,
since the sentence above it states its finding. Figures belong to no window and settings apply only while a chart is
drawn, so a notebook shows each figure once and its own plots keep their look. Text from the data is drawn as it is.
"""

from collections.abc import Callable, Iterable
from datetime import date
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from scipy.optimize import isotonic_regression

ACCENT, WARNING, INK, GREY, PALE = "#0b5394", "#c8501e", "#1f1f1f", "#757575", "#dedede"

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

SERIES = {
    "actual": {"color": "#9a9a9a", "linewidth": 3.5, "marker": "o", "markersize": 9},
    "expected": {"color": ACCENT, "linewidth": 1.8, "marker": "D", "markersize": 6},
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
THEME = {
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.family": [name for name in FONTS if name in fontManager.get_font_names()],
    "font.size": 12,
    "grid.color": PALE,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 11,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 11,
}
Arguments = ParamSpec("Arguments")


def _themed(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw under the theme, once in full, because matplotlib makes its ticks only when it draws them."""

    @wraps(draw)
    def themed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with mpl.rc_context(THEME):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
        return figure

    return themed


@_themed
def concentration_curve(concentration: pd.DataFrame, mark: float, value_name: str) -> Figure:
    """How much of the value the best customers bring, against everyone bringing the same.

    Parameters
    ----------
    concentration
        ``customer_share`` (0 to 1, best first, starting at 0) and ``value_share`` (cumulative, 1 = all; above 1 or
        below 0 where customers lose money).
    mark
        The share of customers to point out, for example 0.20.
    value_name
        What the value is, for example "revenue".
    """
    customers, value = (concentration[name].to_numpy(float) for name in ("customer_share", "value_share"))
    share = np.interp(mark, customers, value)
    height, known = np.nan_to_num(share), value[np.isfinite(value)]
    low, high = min([0, *known]), max([1, *known])
    right, below = mark < 0.6, height > 0.25

    figure, ax = _figure()
    ax.grid()
    ax.fill_between(customers, customers, value, color="#e9eff6", linewidth=0)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    ax.plot(customers, value, color=ACCENT, linewidth=2.5, clip_on=False)
    ax.plot([mark, mark, 0], [low, height, height], color=ACCENT, linewidth=1, linestyle=":")
    ax.plot([mark], [height], "o", color=ACCENT, markersize=8, clip_on=False)
    ax.annotate(
        f"{_percent(mark)} of customers\nbring {_percent(share)} of {value_name}",
        (mark, height),
        xytext=(10 if right else -10, -8 if below else 8),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top" if below else "bottom",
        fontweight="bold",
        color=ACCENT,
        bbox={"color": "#e9eff6", "pad": 2},
    )
    if low < 0 or high > 1:
        ax.hlines([0, 1], 0, 1, color=GREY, linewidth=0.8)
    ax.set(
        xlim=(0, 1),
        ylim=(low, high),
        xlabel="Share of customers, best first",
        ylabel=f"Share of {value_name}",
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol=" %"))
    return figure


@_themed
def pyramids(tiers: pd.DataFrame, value_name: str) -> Figure:
    """Few customers bring much: the pyramid of customers beside the upside-down pyramid of their value.

    A tier that loses money is hatched in the warning colour; one whose share is unknown has no bar.

    Parameters
    ----------
    tiers
        One row a tier, best first: ``tier``, ``customers``, ``customer_share`` (0 to 1), ``value`` (currency) and
        ``value_share`` (1 = all; negative where the tier loses money, NaN where there is no total).
    value_name
        What the value is, for example "revenue".
    """
    rows, colors = range(len(tiers)), [TIER_COLORS.get(tier, GREY) for tier in tiers["tier"]]
    figure, (left, right) = _figure(3.6, 1, 2)
    counts, values = tiers["customers"].map("{:,.0f}".format), tiers["value"].map(_short)
    for ax, column, amounts, name, edge in [
        (left, "customer_share", counts, "customers", 0),
        (right, "value_share", values, value_name, 1),
    ]:
        shares = tiers[column].to_numpy(float)
        widths = np.nan_to_num(shares)
        for row, share, width, amount, color in zip(rows, shares, widths, amounts, colors, strict=True):
            loss = {"facecolor": "white", "edgecolor": WARNING, "hatch": "///"} if width < 0 else {"color": color}
            ax.barh(row, width, left=-width / 2, height=0.86, **loss)
            ax.annotate(
                f"{_percent(share)}\n{amount}",
                (edge, row),
                xycoords=ax.get_yaxis_transform(),
                ha="right" if edge else "left",
                va="center",
                color=WARNING if width < 0 else INK,
            )
        reach = max(*abs(widths), 0) or 1
        ax.set(xlim=(-reach * (1 - edge / 2), reach * (0.5 + edge / 2)), ylim=(len(tiers) - 0.5, -0.5), yticks=[])
        _headings(ax, [0], [name])
    right.set_yticks(rows, tiers["tier"], ha="center", fontsize=12)
    right.tick_params(axis="y", pad=42)
    return figure


@_themed
def tier_moves(moves: pd.DataFrame) -> Figure:
    """Who rose and who fell: customers by their tier before (rows) and now (columns).

    Parameters
    ----------
    moves
        ``tier_before`` (a tier or "not yet a customer"), ``tier_now``, ``customers``; a pair without a row counts 0.
    """
    table = _matrix(moves, "tier_before", "tier_now", "customers", TIER_COLORS).fillna(0)
    return _heat_map(table, table.to_numpy().max(), "{:,.0f}".format, "Tier before", "Tier now")


@_themed
def stage_areas(stages: pd.DataFrame) -> Figure:
    """What the customer base is made of and how that changes: customers in each stage over time.

    Parameters
    ----------
    stages
        ``month`` (date), ``stage``, ``customers`` in it on that date; a pair without a row counts 0.
    """
    table = _matrix(stages, "month", "stage", "customers", STAGE_COLORS).fillna(0)
    table = table.set_axis(pd.to_datetime(table.index)).sort_index()
    if len(table) == 1:  # an area needs two ends: show the one date as a day
        table = pd.concat([table, table.shift(freq="D")])
    colors, last = [STAGE_COLORS.get(stage, PALE) for stage in table], table.iloc[-1]

    figure, ax = _figure()
    ax.stackplot(table.index, table.to_numpy().T, colors=colors, edgecolor="white", linewidth=0.6)
    ax.set(xlim=table.index[[0, -1]], ylim=(0, table.sum(axis=1).max() or 1), ylabel="Customers")
    _date_axis(ax)
    _number_axis(ax)
    texts = [f"{stage}\n{count:,.0f}" for stage, count in last.items()]
    _side_labels(ax, texts, last.cumsum() - last / 2, colors)
    return figure


@_themed
def stage_flows(flows: pd.DataFrame, before_label: str, now_label: str) -> Figure:
    """Where customers came from and where they went: bands between their stages at two dates.

    A band is as high as its customers are many and has the colour of the stage they left.

    Parameters
    ----------
    flows
        ``stage_before``, ``stage_now``, ``customers``; a pair without a row counts 0.
    before_label, now_label
        The two dates in words, for example "31 May" and "30 June".
    """
    table = _matrix(flows, "stage_before", "stage_now", "customers", STAGE_COLORS).fillna(0)
    counts = table.to_numpy()
    gap = 0.025 * (counts.sum() or 1)
    along = np.linspace(0, 1, 60)
    ease = along**2 * (3 - 2 * along)

    figure, ax = _figure(4.6)
    ax.set(xlim=(0, 1), ylim=((counts.sum() or 1) + gap * (max(counts.shape) - 1), 0), yticks=[])
    _headings(ax, [0, 1], [before_label, now_label])
    tops = []
    for side, sizes in enumerate([table.sum(axis=1), table.sum(axis=0)]):
        colors, texts = zip(*((STAGE_COLORS.get(s, PALE), f"{s}\n{n:,.0f}") for s, n in sizes.items()), strict=True)
        tops.append((sizes + gap).cumsum().to_numpy() - sizes.to_numpy() - gap)
        ax.bar(0.02 + 0.96 * side, sizes, 0.04, bottom=tops[side], color=colors)
        _side_labels(ax, texts, tops[side] + sizes / 2, colors, side)
    starts = tops[0][:, None] + counts.cumsum(axis=1) - counts
    ends = tops[1] + counts.cumsum(axis=0) - counts
    for row, column in np.argwhere(counts > 0):
        top = starts[row, column] + (ends - starts)[row, column] * ease
        color = STAGE_COLORS.get(table.index[row], PALE)
        ax.fill_between(0.045 + 0.91 * along, top, top + counts[row, column], color=color, alpha=0.6, linewidth=0)
    return figure


@_themed
def transition_matrix(transitions: pd.DataFrame) -> Figure:
    """What usually happens next: of each stage's customers (rows), the share in each stage a period later.

    Parameters
    ----------
    transitions
        ``stage_before``, ``stage_now``, ``probability`` (0 to 1, each stage before sums to 1). A pair without a row,
        or NaN, stays blank.
    """
    table = _matrix(transitions, "stage_before", "stage_now", "probability", STAGE_COLORS)
    return _heat_map(table, 1, _percent, "Stage before", "Stage one period later")


@_themed
def tracking(tracking: pd.DataFrame, split: str | date) -> Figure:
    """Whether the model foresaw the purchases: actual against expected, since the start and week by week.

    Parameters
    ----------
    tracking
        One row a week: ``date``; repeat purchases since the start, ``actual`` and ``expected``; those of the week,
        ``actual_weekly`` and ``expected_weekly``.
    split
        The last date the model learnt from.
    """
    split, dates = pd.Timestamp(split), pd.to_datetime(tracking["date"])
    figure, axes = _figure(5.2, 2, 1, sharex=True)
    for ax, suffix, label in zip(axes, ["", "_weekly"], ["since the start", "per week"], strict=True):
        for name, style in SERIES.items():
            ax.plot(dates, tracking[name + suffix].to_numpy(float), markevery=[-1], clip_on=False, **style)
        ax.axvline(split, color=INK, linewidth=1, linestyle="--")
        ax.set(ylabel=f"Repeat purchases\n{label}")
        _number_axis(ax)
    axes[0].margins(x=0)
    align = "left" if split < dates.min() + (dates.max() - dates.min()) / 2 else "right"
    axes[0].text(split, 1.03, "model saw data up to here", ha=align, transform=axes[0].get_xaxis_transform())
    _date_axis(axes[1])
    _series_labels(axes[0], tracking)
    return figure


@_themed
def holdout_by_frequency(holdout: pd.DataFrame) -> Figure:
    """Whether the model is right for rare and for frequent buyers: purchases it had not seen, actual and expected.

    Parameters
    ----------
    holdout
        In order: ``frequency`` (label: repeat purchases while the model learnt, "0", "1", …, "7+"); ``actual`` and
        ``expected``, mean purchases per customer in the hold-out period.
    """
    figure, ax = _figure()
    for name, style in SERIES.items():
        ax.plot(range(len(holdout)), holdout[name].to_numpy(float), clip_on=False, **style)
    ax.set(xlabel="Repeat purchases the model saw", ylabel="Later purchases per customer")
    ax.set_xticks(range(len(holdout)), holdout["frequency"].astype(str))
    ax.margins(x=0.03)
    _number_axis(ax)
    _series_labels(ax, holdout)
    return figure


@_themed
def alive_bands(bands: pd.DataFrame) -> Figure:
    """How many customers are probably still customers: customers by the model's probability of it.

    Parameters
    ----------
    bands
        In order: ``band`` (label such as "0–10 %") and ``customers``.
    """
    figure, ax = _figure(3.6)
    bars = ax.bar(range(len(bands)), bands["customers"].to_numpy(float), width=0.86, color=ACCENT)
    ax.bar_label(bars, bands["customers"].map(_short), padding=3, fontsize=11)
    ax.set(xlabel="Probability of still being a customer, in %", ylabel="Customers", yticks=[])
    ax.set_xticks(range(len(bands)), bands["band"].astype(str).str.removesuffix(" %"))
    ax.tick_params(length=0)
    ax.margins(x=0.01)
    ax.spines["left"].set_visible(False)
    return figure


def _figure(height: float = 4.2, rows: int = 1, columns: int = 1, **layout: Any) -> tuple[Figure, Any]:
    """Return an empty figure that pyplot does not know, and its axes."""
    figure = Figure(figsize=(6.4, height))
    return figure, figure.subplots(rows, columns, **layout)


def _percent(share: float) -> str:
    """Write a share: 0.683 → "68 %", 0.004 → "0.4 %", NaN → "unknown"."""
    digits = int(0 < abs(share) < 0.0095)
    return "unknown" if np.isnan(share) else f"{100 * share:,.{digits}f} %".replace("-", "−")


def _short(number: float) -> str:
    """Write a number in about six characters: 99,999; 123.4k; 4.567M; 7.891bn; NaN → "unknown"."""
    number, size = float(number), abs(float(number))
    divisor, unit = (1e9, "bn") if size >= 1e9 else (1e6, "M") if size >= 1e6 else (1e3, "k")
    text = f"{number / divisor:.4g}{unit}" if size >= 1e5 else f"{number:,.0f}"
    return "unknown" if np.isnan(number) else text.replace("-", "−")


def _matrix(frame: pd.DataFrame, rows: str, columns: str, values: str, order: Iterable[str]) -> pd.DataFrame:
    """Lay pairs out as a matrix; of the names that occur, those in ``order`` come first. A missing pair is NaN."""
    rank = {name: place for place, name in enumerate(order)}
    names = [sorted(frame[axis].unique(), key=lambda name: rank.get(name, len(rank))) for axis in (rows, columns)]
    return frame.pivot(index=rows, columns=columns, values=values).astype(float).loc[names[0], names[1]]


def _heat_map(table: pd.DataFrame, top: float, text: Callable[[float], str], rows: str, columns: str) -> Figure:
    """Shade each cell from 0 to ``top`` and write its number in it; NaN stays blank."""
    figure, ax = _figure(1.2 + 0.55 * len(table))
    ax.pcolormesh(table, cmap=HEAT, vmin=0, vmax=top or 1, edgecolors="white", linewidth=3)
    for (row, column), number in np.ndenumerate(table.to_numpy()):
        if not np.isnan(number):
            color = "white" if number > 0.76 * (top or 1) else INK
            ax.text(column + 0.5, row + 0.5, text(number), ha="center", va="center", color=color)
    ax.set_xticks(np.arange(table.shape[1]) + 0.5, table.columns)
    ax.set_yticks(np.arange(table.shape[0]) + 0.5, table.index)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.set_xlabel(columns, labelpad=8)
    ax.set_ylabel(rows, labelpad=8)
    ax.xaxis.set_label_position("top")
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    return figure


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


def _date_axis(ax: Axes) -> None:
    """Write few and short dates along the horizontal axis."""
    locator = AutoDateLocator(minticks=3, maxticks=7)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _series_labels(ax: Axes, frame: pd.DataFrame) -> None:
    """Name the actual and the expected line at their right ends."""
    _side_labels(ax, list(SERIES), frame[list(SERIES)].iloc[-1], [style["color"] for style in SERIES.values()])


def _side_labels(
    ax: Axes, texts: Iterable[str], heights: Iterable[float], colors: Iterable[str], side: int = 1
) -> None:
    """Write labels left (0) or right (1) of the axes, each as near its height as they can be without overlap."""
    ax.figure.draw_without_rendering()  # only the layout knows how tall the axes are
    heights = np.nan_to_num(np.asarray(heights, float))
    bottom, top = sorted(ax.get_ylim())
    inches = 0.21 * (1 + max(text.count("\n") for text in texts))
    gap = (top - bottom) * min(inches * ax.figure.dpi / ax.get_window_extent().height, 1 / len(heights))
    order, steps = np.argsort(heights, kind="stable"), gap * np.arange(len(heights))
    near = isotonic_regression(heights[order] - steps).x
    places = np.empty_like(heights)
    places[order] = np.clip(near, bottom + gap / 2, top - gap / 2 - steps[-1]) + steps
    for text, height, place, color in zip(texts, heights, places, colors, strict=True):
        ax.annotate(
            text,
            (side, height),
            xytext=(side + (0.035 if side else -0.035), place),
            xycoords=ax.get_yaxis_transform(),
            ha="left" if side else "right",
            va="center",
            linespacing=1.05,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 2,
                "relpos": (1 - side, 0.5),
                "patchA": None,
            },
        )
