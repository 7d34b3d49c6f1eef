"""Whether a lifetime model can be trusted: what it foretold beside what happened."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crm_analysis import numerals
from crm_analysis.charts.drawing import bars, date_axis, number_axis, side_labels
from crm_analysis.charts.theme import ACCENT, DEEP, GREY, INK, PALE, new_figure

# What may foretell: a model, several together, or a guess that needs no model.
KIND_COLORS = {"model": DEEP, "average": "#4a8ac4", "reference": "#c4c9ce"}


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
    with new_figure(5.2, 2, 1) as (figure, axes):
        place = {"transform": axes[0].get_xaxis_transform(), "ha": align}
        axes[0].text(split, 1.03, "model saw data up to here", **place)
        for ax, suffix, label in zip(axes, ["", "_weekly"], ["since the start", "per week"], strict=True):
            ax.axvline(split, color=INK, linewidth=1, linestyle="--")
            ax.set(ylabel=f"Repeat purchases\n{label}")
            ax.margins(x=0)
            _two_lines(ax, dates, tracking["actual" + suffix], tracking["expected" + suffix], marker)
        date_axis(axes[1], dates)
    return figure


def holdout_by_frequency(holdout: pd.DataFrame) -> Figure:
    """Whether the model is right for rare and for frequent buyers: later purchases, actual and expected.

    Parameters
    ----------
    holdout
        In order: ``frequency`` (repeat purchases while the model learnt: "0", "1", …, "7+"); ``actual`` and
        ``expected``, mean purchases per customer in the hold-out period.
    """
    with new_figure() as (figure, ax):
        ax.set(xlabel="Repeat purchases the model saw", ylabel="Later purchases per customer")
        ax.set_xticks(range(len(holdout)), holdout["frequency"].astype(str))
        ax.margins(x=0.03)
        _two_lines(ax, range(len(holdout)), holdout["actual"], holdout["expected"], "o")
    return figure


def model_errors(scores: pd.DataFrame) -> Figure:
    """Which model foretells best, and whether any beats a naive guess: the error of each, the smallest first.

    Parameters
    ----------
    scores
        ``model`` (name), ``mae`` (mean absolute error, in purchases per customer; without it a row is left out),
        ``kind`` ("model", "average" of several models, or "reference": a naive guess), ``picked`` (bool).
    """
    known = scores[np.isfinite(scores["mae"].astype(float))].sort_values("mae", kind="stable")
    known = known.assign(picked=known["picked"].eq(True))
    colors, texts = [KIND_COLORS.get(kind, PALE) for kind in known["kind"]], []
    for name, mae, kind, picked in known[["model", "mae", "kind", "picked"]].itertuples(index=False):
        told = kind == "model" or kind in str(name).casefold()
        texts.append(numerals.number(mae, 3) + f", {kind}" * (not told) + ", picked" * picked)
    with new_figure(0.9 + 0.4 * max(len(known), 1)) as (figure, ax):
        labels = bars(ax, known["model"].astype(str), known["mae"], texts, colors)
        for label, picked in zip(labels, known["picked"], strict=True):
            label.set_fontweight("bold" if picked else "normal")
        if known.empty:
            ax.text(0.5, 0, "unknown", ha="center")
        ax.set_xlabel("Error: purchases per customer", labelpad=8)
    return figure


def _two_lines(ax: Axes, places: Any, actual: pd.Series, expected: pd.Series, marker: str) -> None:
    """Draw actual numbers broad and grey, expected ones thin over them, and name both at the right."""
    style: dict[str, Any] = {"marker": marker, "clip_on": False}
    ax.plot(places, actual.to_numpy(float), color=GREY, linewidth=3, markersize=9, **style)
    ax.plot(places, expected.to_numpy(float), color=ACCENT, linewidth=1.8, markersize=5, **style)
    number_axis(ax)
    side_labels(ax, ["actual", "expected"], [actual.iloc[-1], expected.iloc[-1]], [GREY, ACCENT])
