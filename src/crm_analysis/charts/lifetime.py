"""Who is still a customer, what they will still buy, and what they are worth."""

from collections.abc import Callable
from numbers import Real

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crm_analysis import numerals
from crm_analysis.charts.drawing import bars, headings, heat_map, matrix
from crm_analysis.charts.theme import ACCENT, new_figure
from crm_analysis.numerals import count, percent


def alive_bands(bands: pd.DataFrame) -> Figure:
    """How many customers are probably still customers: customers by the model's probability of it.

    Parameters
    ----------
    bands
        In order: ``band`` (label such as "0–10%") and ``customers``.
    """
    places, counts = range(len(bands)), bands["customers"].map(count)
    with new_figure(3.6) as (figure, ax):
        drawn = ax.bar(places, bands["customers"].to_numpy(float), width=0.86, color=ACCENT)
        crowded = len(bands) * counts.str.len().max() > 65
        ax.bar_label(drawn, counts, padding=3, fontsize=11, rotation=90 if crowded else 0)
        ax.set(xlabel="Probability of still being a customer, in %", ylabel="Customers", yticks=[])
        ax.set_xticks(places, bands["band"].astype(str).str.removesuffix("%"))
        ax.tick_params(length=0)
        ax.margins(x=0.01)
        ax.set_ylim(0, bands["customers"].max() or 1)
        ax.spines["left"].set_visible(False)
    return figure


def alive_surface(surface: pd.DataFrame) -> Figure:
    """Who is probably still a customer: the probability by how often (columns) and how long ago (rows) they bought.

    Parameters
    ----------
    surface
        ``frequency`` (repeat purchases) and ``weeks_since_last`` (weeks since the last purchase), both numbers or
        labels in order, about ten of each at most; ``p_alive`` (0 to 1). A missing pair or NaN stays blank.
    """
    return _surface(surface, "p_alive", 1, percent)


def purchases_surface(surface: pd.DataFrame) -> Figure:
    """Who will probably buy most: expected purchases by how often (columns) and how long ago (rows) they bought.

    Parameters
    ----------
    surface
        ``frequency`` and ``weeks_since_last`` as in `alive_surface`; ``expected_purchases`` per customer. A missing
        pair or NaN stays blank.
    """
    most = np.nan_to_num(surface["expected_purchases"].astype(float).max())
    return _surface(surface, "expected_purchases", most or 1, _decimal)


def value_distribution(bands: pd.DataFrame, currency: str = "") -> Figure:
    """How few customers hold most of the future value: customers and share of all value by lifetime value.

    A band that loses money is hatched in the warning colour; one whose share is unknown has no bar.

    Parameters
    ----------
    bands
        From the lowest, which is drawn at the bottom: ``band`` (label such as "10–100"), ``customers``,
        ``value_share`` (1 = all; negative where the band loses money, NaN where there is no total).
    currency
        The unit of the bands, for example "USD".
    """
    best_first = bands.iloc[::-1]
    sides = [("customers", "customers", count), ("value_share", "share of all value", percent)]
    with new_figure(1.2 + 0.4 * max(len(bands), 2), 1, 2) as (figure, axes):
        figure.set_layout_engine("constrained", wspace=0.1)
        for ax, (column, heading, write) in zip(axes, sides, strict=True):
            bars(ax, best_first["band"].astype(str), best_first[column], best_first[column].map(write), ACCENT)
            headings(ax, [sum(ax.get_xlim()) / 2], [heading])
        axes[0].set_ylabel("Lifetime value" + f"\nin {currency}" * bool(currency), labelpad=8)
        axes[1].set_yticks([])
    return figure


def _surface(surface: pd.DataFrame, values: str, top: float, write: Callable[[float], str]) -> Figure:
    """Draw a heat map of what differs with the time since the last purchase and the number of purchases."""
    table = matrix(surface, "weeks_since_last", "frequency", values, ())
    table = table.rename(index=_name, columns=_name)
    return heat_map(table, top, write, "Weeks since\nlast purchase", "Repeat purchases so far")


def _name(place: object) -> str:
    """Write a number as short as can be, a label as it is."""
    return numerals.plain(float(place)) if isinstance(place, Real) else str(place)


def _decimal(number: float) -> str:
    """Write a number with one decimal: 1.27 → "1.3", 0.04 → "<0.1", 0 → "0.0"."""
    return f"<{numerals.number(0.1, 1)}" if 0 < number < 0.05 else numerals.number(number, 1)
