"""The look that all charts share: their colours, their fonts and the figure they are drawn on."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

ACCENT, WASH, WARNING, INK, GREY, PALE = "#0b5394", "#e9eff6", "#c8501e", "#1f1f1f", "#757575", "#dedede"
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


class _Chart(Figure):
    """A figure that a notebook shows even when nothing in it has set up matplotlib."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        image = BytesIO()
        self.savefig(image, format="png")
        return image.getvalue(), {"width": round(100 * self.get_figwidth())}


@contextmanager
def new_figure(height: float = 4.2, rows: int = 1, columns: int = 1) -> Iterator[tuple[Figure, Any]]:
    """Open a figure under the theme, unknown to pyplot, with its axes; lay it out at the end.

    The layout has to happen under the theme too, because matplotlib makes ticks only when it needs them.
    """
    with mpl.rc_context(THEME):
        figure = _Chart(figsize=(6.4, height))
        yield figure, figure.subplots(rows, columns, sharex="col")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # what is laid out stays as it is; to save it would do so twice more
