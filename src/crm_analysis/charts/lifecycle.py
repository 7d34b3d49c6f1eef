"""Where customers stand in their life with the company, and where they go from there."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crm_analysis.charts.drawing import date_axis, headings, heat_map, matrix, number_axis, side_labels
from crm_analysis.charts.theme import ACCENT, DEEP, INK, PALE, PAPER, new_figure
from crm_analysis.numerals import count, percent

# Stages in the order of a customer's life: blue while customers buy, amber when they pause, grey outside.
STAGE_COLORS = {
    "non-customer": "#e4e4e4",
    "prospect": "#d3d8dc",
    "target": "#bcc4ca",
    "first-time": "#a9cdea",
    "repeat": "#4a8ac4",
    "loyal": DEEP,
    "dormant": "#eda63a",
    "lost": "#b0b0b0",
}


def stage_areas(stages: pd.DataFrame) -> Figure:
    """What the customer base is made of and how that changes: customers in each stage over time.

    Parameters
    ----------
    stages
        ``date``, ``stage``, ``customers`` in it on that date; a missing pair is 0.
    """
    table = matrix(stages, "date", "stage", "customers", STAGE_COLORS).fillna(0)
    table = table.set_axis(pd.to_datetime(table.index)).sort_index()
    dates = table.index
    if len(dates) == 1:  # an area needs two ends: show the one date as a day
        table = pd.concat([table, table.shift(freq="D")])
    colors, last = [STAGE_COLORS.get(stage, PALE) for stage in table], table.iloc[-1]
    with new_figure() as (figure, ax):
        ax.stackplot(table.index, table.to_numpy().T, colors=colors, edgecolor=PAPER, linewidth=0.6)
        ax.set(xlim=table.index[[0, -1]], ylim=(0, table.sum(axis=1).max() or 1), ylabel="Customers")
        date_axis(ax, dates)
        number_axis(ax)
        side_labels(ax, _captions(last), last.cumsum() - last / 2, colors)
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
    table = matrix(flows, "stage_before", "stage_now", "customers", STAGE_COLORS).fillna(0)
    counts = table.to_numpy()
    total = counts.sum() or 1
    gap, along, tops = 0.025 * total, np.linspace(0, 1, 60), []
    across, ease = 0.045 + 0.91 * along, along**2 * (3 - 2 * along)
    with new_figure(4.6) as (figure, ax):
        ax.set(xlim=(0, 1), ylim=(total + gap * (max(counts.shape) - 1), 0), yticks=[])
        headings(ax, [0, 1], [before_label, now_label])
        for side, sizes in enumerate([table.sum(axis=1), table.sum(axis=0)]):
            colors = [STAGE_COLORS.get(stage, PALE) for stage in sizes.index]
            tops.append((sizes + gap).cumsum().to_numpy() - sizes.to_numpy() - gap)
            ax.bar([0.02 + 0.96 * side] * len(sizes), sizes, 0.04, bottom=tops[side], color=colors)
            side_labels(ax, _captions(sizes), tops[side] + sizes / 2, colors, side)
        starts = tops[0][:, None] + counts.cumsum(axis=1) - counts
        drops = tops[1] + counts.cumsum(axis=0) - counts - starts
        for pair in np.argwhere(counts > 0):
            band, color = tuple(pair), STAGE_COLORS.get(table.index[pair[0]], PALE)
            top = starts[band] + drops[band] * ease
            ax.fill_between(across, top, top + counts[band], color=color, alpha=0.6, linewidth=0)
    return figure


def stage_forecast(known: pd.DataFrame, forecast: pd.DataFrame) -> Figure:
    """How the stages will fill if nothing changes: for each, what was known and what is expected, with its bounds.

    Parameters
    ----------
    known
        ``date``, ``stage``, ``customers``.
    forecast
        ``date``, ``stage``, ``expected``, ``low``, ``high``; the first date is the last known one.
    """
    there = forecast["stage"].unique()
    stages = [*filter(set(there).__contains__, STAGE_COLORS), *(stage for stage in there if stage not in STAGE_COLORS)]
    rows = -(-len(stages) // 2)
    with new_figure(0.4 + 1.7 * max(rows, 1), max(rows, 1), 2) as (figure, axes):
        for ax, stage in zip(axes.flat, stages, strict=False):
            past, told = (frame[frame["stage"] == stage] for frame in (known, forecast))
            dates = pd.to_datetime(told["date"])
            ax.fill_between(dates, told["low"], told["high"], color=ACCENT, alpha=0.2, linewidth=0)
            ax.plot(dates, told["expected"], color=ACCENT, linewidth=1.8, linestyle="--")
            ax.plot(pd.to_datetime(past["date"]), past["customers"], color=INK, linewidth=1.8)
            ax.text(0, 1.06, f"{stage}: {count(told['expected'].iloc[-1])}", transform=ax.transAxes)
            number_axis(ax)
            date_axis(ax, pd.DatetimeIndex(dates))
            ax.margins(x=0)
        for ax in axes.flat[len(stages) :]:
            ax.set_axis_off()
    return figure


def transition_matrix(transitions: pd.DataFrame) -> Figure:
    """What usually happens next: of each stage's customers (rows), the share in each stage one step later.

    Parameters
    ----------
    transitions
        ``stage_before``, ``stage_now``, ``probability`` (0 to 1); a missing pair or NaN stays blank.
    """
    table = matrix(transitions, "stage_before", "stage_now", "probability", STAGE_COLORS)
    if len(table.columns) > 6:  # the names would touch
        table = table.rename(columns=lambda stage: stage.replace("-", "-\n"))
    return heat_map(table, 1, percent, "Stage before", "Stage one step later")


def _captions(counts: pd.Series) -> list[str]:
    """Write each name above its count."""
    return [f"{name}\n{count(size)}" for name, size in counts.items()]
