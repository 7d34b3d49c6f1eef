"""The look that all charts share: their colours, their fonts and the figure they are drawn on."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from crm_analysis.bidi import isolated

ACCENT, WASH, WARNING, INK, GREY, PALE = "#0b5394", "#e9eff6", "#c8501e", "#1f1f1f", "#757575", "#dedede"
DEEP = "#0b5395"  # the accent as the end of a scale, which is the same on a dark page
PAPER = "#fefefe"  # what lies behind a chart; white is for writing on dark colours
DARK = {  # what these colours become on a dark page
    ACCENT: "#3f88c9",
    WASH: "#1d2936",
    WARNING: "#e0703c",
    INK: "#e6e9ec",
    GREY: "#9ba4ac",
    PALE: "#394149",
    PAPER: "#12161a",
}
HEAT = LinearSegmentedColormap.from_list("heat", ["#f1f5fa", "#9cc3e4", DEEP])
FONTS = [
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
]
READER_FONTS = "'DejaVu Sans', Verdana, sans-serif"  # the measured one first, then one as wide
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # what no XML may hold, and some names do
TICKS = {"color": GREY, "labelcolor": INK, "labelsize": 11}
THEME = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "figure.facecolor": "none",
    "font.family": [name for name in FONTS if name in fontManager.get_font_names()],
    "font.size": 12,
    "grid.color": PALE,
    "legend.facecolor": PAPER,
    "svg.fonttype": "none",  # text stays text, in whatever script: the reader's browser has the fonts
    "svg.hashsalt": "crm-analysis",  # equal charts are equal files
    "text.color": INK,
    "text.parse_math": False,
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in TICKS.items()},
}


class _Chart(Figure):
    """A figure that a notebook shows even when nothing in it has set up matplotlib."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        image = BytesIO()
        self.savefig(image, format="png", facecolor="white")
        return image.getvalue(), {"width": round(100 * self.get_figwidth())}


@contextmanager
def new_figure(height: float = 4.2, rows: int = 1, columns: int = 1) -> Iterator[tuple[Figure, Any]]:
    """Open a figure under the theme, unknown to pyplot, with its axes; lay it out at the end.

    The layout has to happen under the theme too, because matplotlib makes ticks only when it needs them.
    """
    with mpl.rc_context(THEME), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's browser has it
        figure = _Chart(figsize=(6.4, height))
        yield figure, figure.subplots(rows, columns, sharex="col")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # what is laid out stays as it is; to save it would do so twice more


def drawn(figure: Figure) -> str:
    """Return a figure as SVG, in the colours of a light or a dark page, whichever the reader has."""
    image = StringIO()
    with mpl.rc_context(THEME), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(image, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = CONTROL.sub("", image.getvalue())
    names = {color: f"--c{number}" for number, color in enumerate(DARK)}

    def dressed(tag: re.Match[str]) -> str:
        shown = re.sub(r"font-family: [^;\"]*", f"font-family: {READER_FONTS}", tag[0])
        return re.sub("|".join(names), lambda color: f"var({names[color[0]]})", shown)

    svg = re.sub("<[^>]*>", dressed, svg[svg.index("<svg") :])
    light, dark = (
        "".join(f"{name}:{shade[color]};" for color, name in names.items()) for shade in ({c: c for c in DARK}, DARK)
    )
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    return isolated(svg.replace(">", f">{style}", 1))
