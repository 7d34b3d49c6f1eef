"""Charts draw exactly the numbers of their frames, and no frame makes them fail or warn."""

import datetime as dt
import io
import warnings
from itertools import pairwise
from types import MappingProxyType

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color, to_rgb

from crm_analysis import charts

HOSTILE = "$x_1$ <b>"
STAGES = ["first-time", "repeat", "loyal", "dormant", "lost"]


@pytest.fixture(autouse=True)
def strict():
    """Turn warnings into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def saved(figure):
    """Render a figure as a page would, and return it."""
    figure.savefig(io.BytesIO(), format="png", dpi=150)
    return figure


def texts(ax):
    return [text.get_text() for text in ax.texts]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def boxes(ax, align):
    """Return where the labels of one side stand, from the bottom up, as pixels (bottom, top)."""
    extents = [mpl.text.Text.get_window_extent(text) for text in ax.texts if text.get_ha() == align]
    return sorted((extent.y0, extent.y1) for extent in extents)


def cells(ax):
    """Return the written cells of a heat map by row and column name, with their text colour."""
    rows, columns = ticks(ax.yaxis), ticks(ax.xaxis)
    return {(rows[int(text.get_position()[1])], columns[int(text.get_position()[0])]): text for text in ax.texts}


def contrast(one, other):
    """Return the contrast ratio of two colours as the WCAG defines it."""

    def luminance(color):
        channels = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color))
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def curve(*shares):
    return pd.DataFrame({"customer_share": np.linspace(0, 1, len(shares)), "value_share": np.array(shares, float)})


def tiers(value_share=(0.159, 0.521, 0.2, 0.12)):
    return pd.DataFrame(
        {
            "tier": ["important", "major", "ordinary", "small"],
            "customers": [236, 4478, 7071, 11785],
            "customer_share": [0.01, 0.19, 0.30, 0.50],
            "value": [397_550.4, 1_302_688.0, 500_063.0, 300_038.0],
            "value_share": value_share,
        }
    )


def flows(count=lambda place: 100 * place):
    pairs = [(before, now) for before in ["non-customer", *STAGES] for now in STAGES]
    frame = pd.DataFrame(pairs, columns=["stage_before", "stage_now"])
    return frame.assign(customers=[count(place) for place in range(len(pairs))]).sample(frac=1, random_state=0)


def tracked(weeks):
    frame = pd.DataFrame({"date": pd.date_range("2024-01-07", periods=weeks, freq="7D")})
    weekly = {"actual_weekly": np.arange(weeks) % 5, "expected_weekly": np.full(weeks, 2.5)}
    frame = frame.assign(**weekly)
    return frame.assign(actual=frame["actual_weekly"].cumsum(), expected=frame["expected_weekly"].cumsum())


class TestConcentrationCurve:
    def test_marks_the_point_on_the_curve(self):
        ax = saved(charts.concentration_curve(curve(0, 0.68, 0.8, 0.9, 0.95, 1), 0.20, 0.68, "revenue")).axes[0]
        assert texts(ax) == ["20% of customers\nbring 68% of revenue"]
        assert [line.get_xydata().tolist() for line in ax.lines][-1] == [[0.2, 0.68]]
        assert ticks(ax.xaxis)[-1] == ticks(ax.yaxis)[-1] == "100%"

    def test_reads_between_two_points(self):
        ax = charts.concentration_curve(curve(0, 0.9, 1), 0.25, 0.45, "profit").axes[0]
        assert texts(ax) == ["25% of customers\nbring 45% of profit"]

    @pytest.mark.parametrize(("shares", "limits"), [((0, 1.3, 1), (0, 1.3)), ((0, -0.2, 1), (-0.2, 1))])
    def test_shows_the_whole_curve_where_customers_lose_money(self, shares, limits):
        assert saved(charts.concentration_curve(curve(*shares), 0.9, 0.9, "profit")).axes[0].get_ylim() == limits

    def test_says_when_the_share_is_unknown(self):
        ax = saved(charts.concentration_curve(curve(0, np.nan), 0.2, np.nan, "profit")).axes[0]
        assert "an unknown share of profit" in texts(ax)[0]


class TestPyramids:
    def test_bars_are_as_wide_as_the_shares(self):
        left, right = saved(charts.pyramids(tiers(), "revenue")).axes
        assert [bar.get_width() for bar in left.patches] == [0.01, 0.19, 0.30, 0.50]
        assert [bar.get_width() for bar in right.patches] == [0.159, 0.521, 0.2, 0.12]
        assert all(bar.get_x() + bar.get_width() / 2 == 0 for bar in [*left.patches, *right.patches])

    def test_important_customers_are_on_top_and_every_bar_is_labelled(self):
        left, right = charts.pyramids(tiers(), "revenue").axes
        assert left.yaxis_inverted()
        assert right.yaxis_inverted()
        assert texts(right) == ["important", "major", "ordinary", "small"]
        assert ticks(left.yaxis) == ["1%\n236", "19%\n4,478", "30%\n7,071", "50%\n11,785"]
        assert ticks(right.yaxis) == ["16%\n397,550", "52%\n1,302,688", "20%\n500,063", "12%\n300,038"]

    def test_a_loss_is_hatched_and_keeps_its_sign(self):
        right = saved(charts.pyramids(tiers((0.5, 0.5, 0.2, -0.2)), "profit")).axes[1]
        assert [bar.get_hatch() for bar in right.patches] == [None, None, None, "///"]
        assert right.patches[3].get_width() == -0.2
        assert ticks(right.yaxis)[3].startswith("−20%")

    def test_an_unknown_share_has_no_bar(self):
        right = saved(charts.pyramids(tiers([np.nan] * 4), "profit")).axes[1]
        assert [bar.get_width() for bar in right.patches] == [0, 0, 0, 0]
        assert ticks(right.yaxis)[0].startswith("–")

    def test_a_tier_may_be_empty(self):
        left, _ = saved(charts.pyramids(tiers().assign(customers=0, customer_share=0.0), "profit")).axes
        assert ticks(left.yaxis)[0] == "0%\n0"


class TestTierMoves:
    moves = pd.DataFrame(
        [
            ("not yet a customer", "small", 1200),
            ("small", "small", 9583),
            ("major", "important", 60),
            ("small", "major", 3),
        ],
        columns=["tier_before", "tier_now", "customers"],
    )

    def test_writes_every_count_in_its_cell(self):
        ax = saved(charts.tier_moves(self.moves)).axes[0]
        found = {pair: text.get_text() for pair, text in cells(ax).items()}
        assert ticks(ax.yaxis) == ["major", "small", "not yet a customer"]
        assert ticks(ax.xaxis) == ["important", "major", "small"]
        assert found["small", "small"] == "9,583"
        assert found["not yet a customer", "small"] == "1,200"
        assert found["major", "important"] == "60"
        assert list(found.values()).count("0") == 5

    def test_a_bracket_has_a_line_of_its_own(self):
        named = self.moves.replace({"major": "major (next 19%)", "small": "small (last 50%)"})
        ax = saved(charts.tier_moves(named, ["important", "major (next 19%)", "small (last 50%)"])).axes[0]
        assert ticks(ax.yaxis) == ["major\n(next 19%)", "small\n(last 50%)", "not yet a customer"]
        assert ticks(ax.xaxis) == ["important", "major\n(next 19%)", "small\n(last 50%)"]

    @pytest.mark.parametrize("count", range(0, 10_001, 500))
    def test_text_is_readable_on_every_shade(self, count):
        ax = charts.tier_moves(self.moves.assign(customers=[0, 10_000, 5, count])).axes[0]
        shade = ax.collections[0].get_facecolor()[4]  # small → major
        text = cells(ax)["small", "major"]
        assert text.get_text() == f"{count:,}"
        assert contrast(shade, text.get_color()) > 3.5


class TestTierMigration:
    tiers = ("important (top 1%)", "major", "ordinary", "small", "no purchase")

    def frame(self, *rows):
        return pd.DataFrame(rows, columns=["step", "tier_before", "tier_now", "customers"])

    def test_each_bar_is_made_of_the_shares_of_its_tier(self):
        rows = [("then", "major", "major", 30), ("then", "major", "no purchase", 10), ("now", "small", "small", 5)]
        figure = saved(charts.tier_migration(self.frame(*rows, ("then", self.tiers[0], "major", 2)), self.tiers))
        ax = figure.axes[0]
        assert ticks(ax.yaxis) == [self.tiers[0], "major", "small"]  # best first, step by step
        shown = {bars.get_facecolor(): bars.get_width() for bars in ax.patches if bars.get_width() == 0.75}
        assert [bar.get_x() for bar in ax.patches if bar.get_width() == 0.25] == [0.75]
        assert len(shown) == 1
        assert sorted(texts(ax)) == sorted(["100%", "75%", "25%", "100%", "2", "40", "5", "then", "now"])
        assert [text.get_text() for text in figure.legends[0].get_texts()] == list(self.tiers)

    def test_a_share_without_room_is_not_written(self):
        ax = charts.tier_migration(
            self.frame(("s", "small", "small", 97), ("s", "small", "major", 3)), self.tiers
        ).axes[0]
        assert texts(ax) == ["97%", "100", "s"]

    def test_a_long_heading_does_not_make_the_bars_shorter(self):
        short, long = (
            saved(charts.tier_migration(self.frame((step, "small", "small", 9)), self.tiers)).axes[0].get_position()
            for step in ("s", "a long heading " * 9)
        )
        assert short.width == long.width

    def test_nobody(self):
        assert not saved(charts.tier_migration(self.frame(), self.tiers)).axes[0].get_yticks().size


class TestValueChanges:
    parts = MappingProxyType({"by_orders": "purchases", "by_amount": "amount"})

    def test_gains_go_right_and_losses_left(self):
        rows = [("rose", 70, 100, -30), ("fell", -1234, -1000, -234), ("stayed", 0, 0, 0)]
        frame = pd.DataFrame(rows, columns=["direction", "change", *self.parts])
        ax = saved(charts.value_changes(frame, self.parts, "Change in EUR")).axes[0]
        bars = {(round(bar.get_y() + bar.get_height() / 2), bar.get_x(), bar.get_width()) for bar in ax.patches}
        assert {bar for bar in bars if bar[2]} == {(0, 0, 100), (0, 0, -30), (1, 0, -1000), (1, -1000, -234)}
        assert texts(ax) == ["+70", "−1,234", "0"]
        assert ticks(ax.yaxis) == ["rose", "fell", "stayed"]
        assert ax.get_xlabel() == "Change in EUR"

    def test_nobody(self):
        frame = pd.DataFrame(columns=["direction", "change", *self.parts])
        assert not texts(saved(charts.value_changes(frame, self.parts, "Change")).axes[0])


class TestStageAreas:
    months = pd.date_range("2023-01-31", periods=18, freq="ME")

    def frame(self, months, count):
        rows = [(month, stage, count(i, j)) for i, month in enumerate(months) for j, stage in enumerate(STAGES)]
        return pd.DataFrame(rows, columns=["date", "stage", "customers"])

    def test_areas_are_as_high_as_the_counts(self):
        frame = self.frame(self.months, lambda i, j: 1000 + 10 * i + j).sample(frac=1, random_state=0)
        ax = saved(charts.stage_areas(frame)).axes[0]
        for place, (stage, area) in enumerate(zip(STAGES, ax.collections, strict=True)):
            at_end = area.get_paths()[0].vertices
            at_end = at_end[at_end[:, 0] == at_end[:, 0].max()][:, 1]
            assert at_end.max() - at_end.min() == 1170 + place
            assert same_color(area.get_facecolor()[0], charts.STAGE_COLORS[stage])
        assert texts(ax) == [f"{stage}\n{1170 + place:,}" for place, stage in enumerate(STAGES)]

    def test_labels_of_thin_areas_do_not_overlap(self):
        frame = self.frame(self.months, lambda i, j: [30_000, 1, 0, 2, 1][j])
        edges = np.array(boxes(saved(charts.stage_areas(frame)).axes[0], "left"))
        assert (edges[1:, 0] >= edges[:-1, 1]).all()

    @pytest.mark.parametrize("count", [0, 7])
    def test_one_month(self, count):
        ax = saved(charts.stage_areas(self.frame([dt.date(2024, 1, 31)], lambda i, j: count))).axes[0]
        assert "2024-01-31" in ticks(ax.xaxis)
        assert texts(ax)[0] == f"first-time\n{count}"


class TestStageForecast:
    def frames(self, stages):
        known = [(month, stage, 100 * place) for month in TestStageAreas.months for place, stage in enumerate(stages)]
        told = [
            (month, stage, 100 * place + ahead, 90 * place, 120 * place + ahead)
            for ahead, month in enumerate(pd.date_range(TestStageAreas.months[-1], periods=4, freq="ME"))
            for place, stage in enumerate(stages)
        ]
        return (
            pd.DataFrame(known, columns=["date", "stage", "customers"]),
            pd.DataFrame(told, columns=["date", "stage", "expected", "low", "high"]),
        )

    def test_each_stage_has_its_lines_and_its_bounds(self):
        figure = saved(charts.stage_forecast(*self.frames(STAGES[::-1])))
        drawn = [ax for ax in figure.axes if ax.lines]
        assert [texts(ax)[0] for ax in drawn] == [
            f"{stage}: {403 - 100 * place:,}" for place, stage in enumerate(STAGES)
        ]
        expected, known = drawn[0].lines
        assert expected.get_ydata().tolist() == [400, 401, 402, 403]
        assert known.get_ydata().tolist() == [400] * 18
        band = drawn[0].collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == (360, 483)
        assert len(figure.axes) - len(drawn) == 1

    @pytest.mark.parametrize("stages", [["loyal"], []])
    def test_one_stage_and_none(self, stages):
        saved(charts.stage_forecast(*self.frames(stages)))


class TestStageFlows:
    def test_bands_are_as_high_as_the_counts(self):
        frame = flows()
        ax = saved(charts.stage_flows(frame, "31 May", "30 June")).axes[0]
        heights = []
        for band in ax.collections:
            points = band.get_paths()[0].vertices
            for end in (points[:, 0].min(), points[:, 0].max()):
                heights.append(np.ptp(points[points[:, 0] == end][:, 1]))
        expected = np.repeat(frame["customers"][frame["customers"] > 0].sort_values(), 2)
        assert np.allclose(sorted(heights), expected)
        assert sum(heights) == pytest.approx(2 * frame["customers"].sum())

    def test_blocks_and_labels_are_the_stages_and_their_counts(self):
        frame = flows()
        before = frame.groupby("stage_before")["customers"].sum()[["non-customer", *STAGES]]
        now = frame.groupby("stage_now")["customers"].sum()[STAGES]
        ax = charts.stage_flows(frame, "31 May", "30 June").axes[0]
        assert [bar.get_height() for bar in ax.patches if isinstance(bar, mpl.patches.Rectangle)] == [
            *before,
            *now,
        ]
        assert texts(ax) == [f"{stage}\n{count:,}" for sizes in (before, now) for stage, count in sizes.items()]
        assert ticks(ax.xaxis) == ["31 May", "30 June"]

    def test_bands_stay_within_their_blocks(self):
        ax = charts.stage_flows(flows(), "before", "now").axes[0]
        blocks = [bar for bar in ax.patches if isinstance(bar, mpl.patches.Rectangle)]
        for band in ax.collections:
            points = band.get_paths()[0].vertices
            for side, end in enumerate((points[:, 0].min(), points[:, 0].max())):
                edge = points[points[:, 0] == end][:, 1]
                inside = [
                    block.get_y() - 1e-6 <= edge.min() and edge.max() <= block.get_y() + block.get_height() + 1e-6
                    for block in blocks
                    if round(block.get_x()) == side
                ]
                assert inside.count(True) == 1

    def test_labels_do_not_overlap(self):
        tiny = flows(lambda place: 10_000 if place == 29 else 1)
        ax = saved(charts.stage_flows(tiny, "before", "now")).axes[0]
        for align in ("left", "right"):
            edges = np.array(boxes(ax, align))
            assert (edges[1:, 0] >= edges[:-1, 1]).all()

    @pytest.mark.parametrize("frame", [flows(lambda place: 0), flows().head(1), flows().head(1).assign(customers=0)])
    def test_empty_and_single(self, frame):
        ax = saved(charts.stage_flows(frame, "before", "now")).axes[0]
        assert len(ax.collections) == (frame["customers"] > 0).sum()


def test_transition_matrix_writes_percentages():
    frame = pd.DataFrame(
        [
            ("loyal", "dormant", 0.1),
            ("loyal", "loyal", 0.896),
            ("loyal", "lost", 0.004),
            ("lost", "lost", np.nan),
        ],
        columns=["stage_before", "stage_now", "probability"],
    )
    ax = saved(charts.transition_matrix(frame)).axes[0]
    found = {pair: text.get_text() for pair, text in cells(ax).items()}
    assert ticks(ax.yaxis) == ["loyal", "lost"]
    assert [found["loyal", stage] for stage in ("loyal", "dormant", "lost")] == ["90%", "10%", "0.4%"]
    assert not any(before == "lost" for before, _ in found)


class TestModelErrors:
    scores = pd.DataFrame(
        [
            ("as before", 1.02, "reference", False),
            ("Pareto/NBD", 0.7121, "model", False),
            ("NBD", np.nan, "model", False),
            ("average of all", 0.7085, "average", True),
            ("two together", 0.7211, "average", False),
        ],
        columns=["model", "mae", "kind", "picked"],
    )

    def test_the_best_is_on_top_and_bars_are_as_long_as_the_errors(self):
        ax = saved(charts.model_errors(self.scores)).axes[0]
        assert [bar.get_width() for bar in ax.patches] == [0.7085, 0.7121, 0.7211, 1.02]
        assert ticks(ax.yaxis) == ["average of all", "Pareto/NBD", "two together", "as before"]
        assert ax.yaxis_inverted()
        assert ax.get_xlim() == (0, 1.02)

    def test_what_is_no_model_and_what_was_picked_is_said_in_words(self):
        ax = charts.model_errors(self.scores).axes[0]
        assert texts(ax) == ["0.709, picked", "0.712", "0.721, average", "1.020, reference"]
        assert [text.get_fontweight() for text in ax.texts] == ["bold", "normal", "normal", "normal"]

    def test_what_does_not_say_that_it_was_picked_was_not(self):
        ax = charts.model_errors(self.scores.assign(picked=[np.nan, True, None, np.nan, np.nan])).axes[0]
        assert [text for text in texts(ax) if "picked" in text] == ["0.712, picked"]

    def test_errors_of_zero(self):
        assert texts(saved(charts.model_errors(self.scores.head(1).assign(mae=0))).axes[0]) == ["0.000, reference"]

    @pytest.mark.parametrize("scores", [scores.assign(mae=np.nan), scores.head(0)])
    def test_no_error_is_known(self, scores):
        ax = saved(charts.model_errors(scores)).axes[0]
        assert len(ax.patches) == 0
        assert texts(ax) == ["unknown"]


class TestTracking:
    def test_draws_both_series_in_both_panels_and_the_split(self):
        frame = tracked(78)
        figure = saved(charts.tracking(frame, "2024-09-29"))
        for ax, suffix in zip(figure.axes, ["", "_weekly"], strict=True):
            _, actual, expected = ax.lines
            assert list(actual.get_ydata()) == list(frame["actual" + suffix])
            assert list(expected.get_ydata()) == list(frame["expected" + suffix])
            assert ax.lines[0].get_xdata()[0] == pd.Timestamp("2024-09-29")
            assert {"actual", "expected"} <= set(texts(ax))
        assert "model saw data up to here" in texts(figure.axes[0])

    @pytest.mark.parametrize("split", ["2024-01-07", dt.date(2024, 1, 7), pd.Timestamp("2025-01-01")])
    @pytest.mark.parametrize("weeks", [1, 2])
    def test_few_weeks(self, weeks, split):
        frame = tracked(weeks)
        saved(charts.tracking(frame, split))
        saved(charts.tracking(frame.assign(**dict.fromkeys(frame.columns[1:], 0)), split))


class TestHoldoutByFrequency:
    frame = pd.DataFrame({"frequency": ["0", "1", "7+"], "actual": [0.24, 0.7, 6.4], "expected": [0.14, 0.6, 6.4]})

    def test_draws_and_names_both_lines(self):
        ax = saved(charts.holdout_by_frequency(self.frame)).axes[0]
        assert [list(line.get_ydata()) for line in ax.lines] == [[0.24, 0.7, 6.4], [0.14, 0.6, 6.4]]
        assert ticks(ax.xaxis) == ["0", "1", "7+"]
        assert texts(ax) == ["actual", "expected"]
        (_, lower_top), (upper_bottom, _) = boxes(ax, "left")
        assert lower_top <= upper_bottom  # both lines end at 6.4

    def test_one_row_of_zeros(self):
        saved(charts.holdout_by_frequency(self.frame.head(1).assign(actual=0, expected=0)))


class TestAliveBands:
    def test_columns_are_as_high_as_the_counts(self):
        frame = pd.DataFrame({"band": ["0–10%", "10–20%", "90–100%"], "customers": [12_345, 0, 980]})
        ax = saved(charts.alive_bands(frame)).axes[0]
        assert [bar.get_height() for bar in ax.patches] == [12_345, 0, 980]
        assert texts(ax) == ["12,345", "0", "980"]
        assert ticks(ax.xaxis) == ["0–10", "10–20", "90–100"]
        assert "%" in ax.get_xlabel()

    def test_one_band_of_nobody(self):
        saved(charts.alive_bands(pd.DataFrame({"band": ["all"], "customers": [0]})))

    def test_counts_of_millions_do_not_overlap(self):
        frame = pd.DataFrame({"band": [f"{low}–{low + 10} %" for low in range(0, 100, 10)], "customers": 1_234_567})
        ax = saved(charts.alive_bands(frame)).axes[0]
        extents = [text.get_window_extent() for text in ax.texts]
        assert all(left.x1 <= right.x0 for left, right in pairwise(extents))


class TestSurfaces:
    frame = pd.DataFrame(
        [
            ("0", "0–4", 0.97, 0.5),
            ("0", "5–26", 0.81, 0.44),
            ("1–9", "0–4", 0.99, 12.34),
            ("1–9", "5–26", 0.004, 0.04),
            ("10+", "0–4", np.nan, np.nan),
        ],
        columns=["frequency", "weeks_since_last", "p_alive", "expected_purchases"],
    )

    @pytest.mark.parametrize(
        ("chart", "column", "written"),
        [
            (charts.alive_surface, "p_alive", ["97%", "99%", "81%", "0.4%"]),
            (charts.purchases_surface, "expected_purchases", ["0.5", "12.3", "0.4", "<0.1"]),
        ],
    )
    def test_writes_each_number_in_its_cell(self, chart, column, written):
        ax = saved(chart(self.frame)).axes[0]
        found = {pair: text.get_text() for pair, text in cells(ax).items()}
        assert ticks(ax.yaxis) == ["0–4", "5–26"]
        assert ticks(ax.xaxis) == ["0", "1–9", "10+"]
        assert found == dict(zip([("0–4", "0"), ("0–4", "1–9"), ("5–26", "0"), ("5–26", "1–9")], written, strict=True))
        shades = ax.collections[0].get_array().compressed()
        assert shades.tolist() == self.frame[column].iloc[[0, 2, 1, 3]].tolist()

    @pytest.mark.parametrize("number", [int, float])
    def test_numbers_are_sorted(self, number):
        pairs = [(frequency, weeks) for frequency in (10, 2, 0) for weeks in (13, 4, 104) if frequency + weeks != 17]
        frame = pd.DataFrame(pairs, columns=["frequency", "weeks_since_last"]).astype(number)
        ax = saved(charts.alive_surface(frame.assign(p_alive=frame["weeks_since_last"] / 200))).axes[0]
        assert ticks(ax.xaxis) == ["0", "2", "10"]
        assert ticks(ax.yaxis) == ["4", "13", "104"]
        assert cells(ax)["104", "2"].get_text() == "52%"

    @pytest.mark.parametrize("number", [0, 0.5, np.nan])
    def test_equal_and_unknown_numbers(self, number):
        frame = self.frame.assign(p_alive=number, expected_purchases=number)
        for chart in (charts.alive_surface, charts.purchases_surface):
            for rows in (frame, frame.head(1)):
                assert len(texts(saved(chart(rows)).axes[0])) == (0 if np.isnan(number) else len(rows))


class TestValueDistribution:
    bands = pd.DataFrame(
        {
            "band": ["below 0", "0–10", "10–100", "100+"],
            "customers": [12, 9583, 801, 3],
            "value_share": [-0.1, 0.3, 0.6, 0.2],
        }
    )

    def test_bars_are_as_long_as_the_numbers_and_the_highest_band_is_on_top(self):
        left, right = saved(charts.value_distribution(self.bands)).axes
        assert [bar.get_width() for bar in left.patches] == [3, 801, 9583, 12]
        assert [bar.get_width() for bar in right.patches] == [0.2, 0.6, 0.3, -0.1]
        assert ticks(left.yaxis) == ["100+", "10–100", "0–10", "below 0"]
        assert texts(left) == ["3", "801", "9,583", "12"]
        assert texts(right) == ["20%", "60%", "30%", "−10%"]
        assert left.get_ylim() == right.get_ylim()
        assert left.yaxis_inverted()

    def test_a_loss_is_hatched_and_seen_whole(self):
        right = charts.value_distribution(self.bands).axes[1]
        assert [bar.get_hatch() for bar in right.patches] == [None, None, None, "///"]
        assert right.get_xlim() == (-0.1, 0.6)

    def test_an_unknown_share_has_no_bar(self):
        right = saved(charts.value_distribution(self.bands.assign(value_share=np.nan))).axes[1]
        assert [bar.get_width() for bar in right.patches] == [0, 0, 0, 0]
        assert texts(right) == ["–"] * 4

    @pytest.mark.parametrize(("currency", "label"), [("", "Lifetime value"), ("USD", "Lifetime value\nin USD")])
    def test_says_the_currency(self, currency, label):
        assert charts.value_distribution(self.bands, currency).axes[0].get_ylabel() == label

    @pytest.mark.parametrize("rows", [0, 1, 4])
    def test_nobody_and_nothing(self, rows):
        saved(charts.value_distribution(self.bands.head(rows)))
        saved(charts.value_distribution(self.bands.head(rows).assign(customers=0, value_share=0.0)))

    def test_numbers_of_millions_stay_beside_the_other_bars(self):
        left, right = saved(charts.value_distribution(self.bands.assign(customers=12_345_678))).axes
        ends = [text.get_window_extent().x1 for text in left.texts]
        starts = [artist.get_window_extent().x0 for artist in [*right.texts, *right.patches]]
        assert max(ends) < min(starts)


class TestWaterfall:
    steps = pd.DataFrame(
        [("before", 100.0, True), ("customers", 40.0, False), ("margin", -25.0, False), ("now", 115.0, True)],
        columns=["step", "amount", "total"],
    )

    def test_each_part_begins_where_the_last_one_ends(self):
        ax = saved(charts.waterfall(self.steps, "Profit in EUR")).axes[0]
        assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 100), (100, 40), (140, -25), (0, 115)]
        assert [bar.get_hatch() for bar in ax.patches] == [None, None, "///", None]
        assert texts(ax) == ["100", "+40", "−25", "115"]
        assert ticks(ax.yaxis) == ["before", "customers", "margin", "now"]
        assert ax.yaxis_inverted()
        assert ax.get_xlabel() == "Profit in EUR"

    def test_a_loss_is_seen_whole(self):
        ax = saved(charts.waterfall(self.steps.assign(amount=[-10.0, 5, -25, -30]), "Profit")).axes[0]
        assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, -10), (-10, 5), (-5, -25), (0, -30)]
        assert ax.get_xlim() == (-30, 0)

    @pytest.mark.parametrize("rows", [0, 1, 4])
    def test_nothing(self, rows):
        saved(charts.waterfall(self.steps.head(rows).assign(amount=0.0), "Profit"))


class TestMonthsCompared:
    def test_bars_are_as_high_as_the_numbers(self):
        months = pd.date_range("2024-11-01", periods=3, freq="MS")
        frame = pd.DataFrame({"month": months, "before": [10.0, -2, 3], "now": [4.0, 5, -6]})
        ax = saved(charts.months_compared(frame, "Contribution in EUR")).axes[0]
        assert [bar.get_height() for bar in ax.patches] == [10, -2, 3, 4, 5, -6]
        assert ticks(ax.xaxis) == ["Nov\n2024", "Dec", "Jan\n2025"]
        assert ax.get_ylabel() == "Contribution in EUR"

    @pytest.mark.parametrize("rows", [0, 1, 60])
    def test_any_number_of_months(self, rows):
        months = pd.date_range("2020-01-01", periods=rows, freq="MS")
        frame = pd.DataFrame({"month": months, "before": 0.0, "now": 0.0})
        ax = saved(charts.months_compared(frame, "Revenue")).axes[0]
        assert len(ticks(ax.xaxis)) == min(rows, 12)


class TestBaseFlows:
    def test_draws_the_base_and_what_came_and_went(self):
        frame = pd.DataFrame(
            {
                "period": pd.date_range("2024-01-31", periods=3, freq="ME"),
                **{"closing": [5, 7, 4], "new": [5, 2, 0], "won back": [0, 1, 0], "lost": [0, -1, -3]},
            }
        )
        figure = saved(charts.base_flows(frame))
        upper, lower = figure.axes
        assert upper.lines[0].get_ydata().tolist() == [5, 7, 4]
        heights = [[bar.get_height() for bar in bars] for bars in lower.containers]
        assert heights == [[5, 2, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, -1, -3]]
        assert [bar.get_y() for bar in lower.containers[1]] == [5, 2, 0]  # on top of the new
        assert [text.get_text() for text in figure.legends[0].texts] == ["new", "won back", "lost"]


class TestChangeTenths:
    def test_bars_are_the_changes_the_largest_losses_on_top(self):
        frame = pd.DataFrame({"tenth": range(1, 11), "customers": 1, "change": [-1234.4, -5, *[0] * 6, 3, 2000]})
        ax = saved(charts.change_tenths(frame, "profit")).axes[0]
        assert [bar.get_width() for bar in ax.patches] == frame["change"].to_list()
        assert texts(ax) == ["−1,234", "−5", *["0"] * 6, "+3", "+2,000"]
        assert ax.yaxis_inverted()
        assert ticks(ax.yaxis)[0] == "largest losses  1"
        assert ticks(ax.yaxis)[-1] == "largest gains  10"
        low, high = ax.get_xlim()
        assert low < -1234.4
        assert high > 2000

    def test_nothing_changed(self):
        frame = pd.DataFrame({"tenth": range(1, 11), "customers": 0, "change": 0.0})
        assert texts(saved(charts.change_tenths(frame, "profit")).axes[0]) == ["0"] * 10


class TestValueByAge:
    def test_each_cohort_is_a_line_and_the_newest_stands_out(self):
        frame = pd.DataFrame({"cohort": ["a", "b", "a", "c"], "age": [6, 3, 3, 3], "value": [20.0, 8, 10, -4]})
        figure = saved(charts.value_by_age(frame, "profit"))
        ax = figure.axes[0]
        assert {line.get_label(): line.get_xydata().tolist() for line in ax.lines} == {
            "a": [[3, 10], [6, 20]],
            "b": [[3, 8]],
            "c": [[3, -4]],
        }
        assert [text.get_text() for text in figure.legends[0].texts] == ["c", "b", "a"]
        assert (
            len(
                {
                    line.get_color() if isinstance(line.get_color(), str) else tuple(line.get_color())
                    for line in ax.lines
                }
            )
            == 3
        )
        assert ax.lines[2].get_linewidth() > ax.lines[0].get_linewidth()
        assert ax.get_ylabel() == "Profit per customer"

    def test_draws_no_cohorts(self):
        assert (
            saved(charts.value_by_age(pd.DataFrame(columns=["cohort", "age", "value"]), "profit")).axes[0].lines[:]
            == []
        )


class TestRefundsBothWays:
    def frame(self, months, expected=0.0):
        month = pd.date_range("2024-01-01", periods=months, freq="MS")
        last = [0.0] * (months - 1) + [expected]
        return pd.DataFrame(
            {"month": month, "happened": np.arange(months) + 2.0, "orders": np.arange(months) + 1.0, "expected": last}
        )

    def test_draws_both_lines_and_what_is_still_to_come(self):
        figure = saved(charts.refunds_both_ways(self.frame(4, 2.5), "EUR"))
        ax = figure.axes[0]
        assert [line.get_ydata().tolist() for line in ax.lines[:2]] == [[2, 3, 4, 5], [1, 2, 3, 4]]
        assert ax.collections[1].get_offsets()[:, 1].tolist() == [6.5]
        assert len(figure.legends[0].texts) == 3
        assert ax.get_ylabel() == "Refunds, EUR"

    def test_nothing_is_to_come(self):
        figure = saved(charts.refunds_both_ways(self.frame(4), ""))
        assert len(figure.legends[0].texts) == 2
        assert figure.axes[0].get_ylabel() == "Refunds"


class TestScorecard:
    """Prices, the map of customers, what is owed and who grows."""

    cells = pd.DataFrame(
        {
            "revenue_from": [100.0, 1000],
            "revenue_to": [126.0, 1259],
            "margin_from": [0.3, -0.4],
            "margin_to": [0.35, -0.35],
            "customers": [900, 1],
        }
    )

    def test_a_waterfall_for_each_group(self):
        steps = pd.DataFrame(
            {
                "group": ["all"] * 3 + ["some"] * 3,
                "step": ["list price", "discounts", "profit"] * 2,
                "share": [1, -0.3, 0.7, 1, -1.2, -0.2],
            }
        )
        figure = saved(charts.price_waterfalls(steps))
        one, other = figure.axes
        assert ticks(one.yaxis) == ["list price", "discounts", "profit"]
        assert texts(one) == ["100%", "−30%", "70%"]
        assert texts(other) == ["100%", "−120%", "−20%"]
        spans = [sorted([bar.get_x(), bar.get_x() + bar.get_width()]) for bar in other.patches]
        assert np.ravel(spans) == pytest.approx([0, 1, -0.2, 1, -0.2, 0])
        assert len(saved(charts.price_waterfalls(steps[:3])).axes) == 1

    def test_every_cell_and_every_named_customer_is_on_the_map(self):
        named = pd.DataFrame(
            {"customer_id": ["b", "c"], "name": ["Big", ""], "revenue": [1100.0, 1200], "margin": [-0.38, -0.1]}
        )
        (ax,) = saved(charts.customer_map(self.cells, named, 800.0, 0.1, "EUR")).axes
        drawn = [(bar.get_x(), bar.get_y(), bar.get_width()) for bar in ax.patches]
        assert np.ravel(drawn) == pytest.approx([100, 0.3, 26, 1000, -0.4, 259])
        assert contrast(ax.patches[0].get_facecolor(), "white") > contrast(ax.patches[1].get_facecolor(), "white")
        assert ax.collections[0].get_offsets().tolist() == [[1100, -0.38], [1200, -0.1]]
        assert {"Big", "big, not good"} <= {text.get_text() for text in ax.texts}
        assert ax.get_xlabel() == "Revenue in EUR"
        saved(charts.customer_map(self.cells, named.head(0), 800.0, 0.1, ""))

    def test_the_map_keeps_names_and_numbers_apart(self):
        """Names that are alike when cut short have their ids, and millions do not run together."""
        long = "Company of a long name "
        named = pd.DataFrame(
            {
                "customer_id": ["k1", "k2", "k3"],
                "name": [long + "A", long + "B", "Other"],
                "revenue": [1e3, 2e4, 3e6],
                "margin": [-0.3, -0.2, 0.0],
            }
        )
        cells = pd.concat([self.cells, self.cells.assign(revenue_from=3e6, revenue_to=4e6)])
        figure = saved(charts.customer_map(cells, named, 800.0, 0.1, "EUR"))
        (ax,) = figure.axes
        assert {"Company of a… k1", "Company of a… k2", "Other"} <= {text.get_text() for text in ax.texts}
        left, right = ax.get_xlim()
        labels = [label for label in ax.get_xticklabels() if left <= label.get_position()[0] <= right]
        assert {"1k", "100k", "1m"} <= {label.get_text() for label in labels}
        boxes = [label.get_window_extent() for label in labels]
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes))

    def test_what_is_owed_and_at_risk(self):
        aged = pd.DataFrame({"age": ["young", "old"], "owed": [50.0, -5], "at_risk": [5.0, -4], "customers": [1, 2]})
        (ax,) = saved(charts.overdue_ages(aged)).axes
        assert texts(ax) == ["50, 1 customer", "−5, 2 customers"]
        assert [bar.get_width() for bar in ax.patches] == [50, -5, 5, 0]

    def test_changes_have_their_intervals(self):
        frame = pd.DataFrame({"name": ["up", "down"], "change": [5.0, -2], "low": [1.0, -3], "high": [9.0, -1]})
        (ax,) = saved(charts.projected_changes(frame, "Change")).axes
        lines, dots = ax.collections
        assert [[x for x, _ in path.tolist()] for path in lines.get_segments()] == [[1, 9], [-3, -1]]
        assert dots.get_offsets().tolist() == [[5, 0], [-2, 1]]
        assert ticks(ax.yaxis) == ["up", "down"]


HOSTILE_CHARTS = {
    "earned_back": lambda: charts.earned_back(
        pd.DataFrame({"way": [HOSTILE, HOSTILE, "b"], "month": [1, 2, 1], "rate": [0.2, 0.5, 1.0]})
    ),
    "purchase_timeline": lambda: charts.purchase_timeline(
        pd.DataFrame({"date": pd.to_datetime(["2024-01-01"]), "amount": [0.0]}), dt.date(2024, 1, 1), HOSTILE
    ),
    "calibration": lambda: charts.calibration(
        pd.DataFrame({"predicted": [0.2, np.nan], "rate": [0.3, 0.1], "low": [0.1, np.nan], "high": [0.4, 0.2]}),
        HOSTILE,
    ),
    "price_waterfalls": lambda: charts.price_waterfalls(
        pd.DataFrame({"group": [HOSTILE] * 2, "step": [HOSTILE, "profit"], "share": [1.0, 1.0]})
    ),
    "customer_map": lambda: charts.customer_map(
        TestScorecard.cells,
        pd.DataFrame({"customer_id": HOSTILE, "name": [HOSTILE] * 2, "revenue": 5.0, "margin": -9.0}),
        *(9.0, 0.1, HOSTILE),
    ),
    "overdue_ages": lambda: charts.overdue_ages(
        pd.DataFrame({"age": [HOSTILE], "owed": [0.0], "at_risk": [0.0], "customers": [0]})
    ),
    "projected_changes": lambda: charts.projected_changes(
        pd.DataFrame({"name": [HOSTILE], "change": [1.0], "low": [0.0], "high": [2.0]}), HOSTILE
    ),
    "monthly_contacts": lambda: charts.monthly_contacts(
        pd.DataFrame({"month": pd.to_datetime(["2024-01-01"]), "purpose": [HOSTILE], "contacts": [3]})
    ),
    "waiting_by_hour": lambda: charts.waiting_by_hour(
        pd.DataFrame({"hour": [0], "median": [0.0], "most": [9.0]}), 60, HOSTILE
    ),
    "rates_by_step": lambda: charts.rates_by_step(
        pd.DataFrame({"step": [HOSTILE] * 2, "kind": [HOSTILE, "b"], "rate": [0.5, None], "low": 0.1, "high": 0.9}),
        *("step", HOSTILE, HOSTILE, "kind"),
    ),
    "waterfall": lambda: charts.waterfall(
        pd.DataFrame({"step": [HOSTILE, "x"], "amount": [5.0, 2.0], "total": [True, False]}), HOSTILE
    ),
    "months_compared": lambda: charts.months_compared(
        pd.DataFrame({"month": [dt.date(2024, 1, 1)], "before": [1.0], "now": [2.0]}), HOSTILE
    ),
    "concentration_curve": lambda: charts.concentration_curve(curve(0, 0.7, 1), 0.2, 0.28, HOSTILE),
    "pyramids": lambda: charts.pyramids(tiers().assign(tier=HOSTILE), HOSTILE),
    "tier_moves": lambda: charts.tier_moves(
        pd.DataFrame({"tier_before": ["small", HOSTILE], "tier_now": [HOSTILE, "major"], "customers": [1, 2]})
    ),
    "tier_migration": lambda: charts.tier_migration(
        pd.DataFrame({"step": [HOSTILE], "tier_before": ["a"], "tier_now": [HOSTILE], "customers": [3]}), ["a", HOSTILE]
    ),
    "value_changes": lambda: charts.value_changes(
        pd.DataFrame({"direction": [HOSTILE], "change": [1.0], "part": [1.0]}), {"part": HOSTILE}, HOSTILE
    ),
    "stage_areas": lambda: charts.stage_areas(
        pd.DataFrame({"date": [dt.date(2024, 1, 31)] * 2, "stage": [HOSTILE, "lost"], "customers": [1, 2]})
    ),
    "stage_forecast": lambda: charts.stage_forecast(*TestStageForecast().frames([HOSTILE])),
    "stage_flows": lambda: charts.stage_flows(flows().replace("loyal", HOSTILE), HOSTILE, HOSTILE),
    "transition_matrix": lambda: charts.transition_matrix(
        pd.DataFrame({"stage_before": [HOSTILE], "stage_now": ["lost"], "probability": [1.0]})
    ),
    "holdout_by_frequency": lambda: charts.holdout_by_frequency(
        pd.DataFrame({"frequency": [HOSTILE, "1"], "actual": [1.0, 2], "expected": [1.0, 2]})
    ),
    "model_errors": lambda: charts.model_errors(
        pd.DataFrame({"model": [HOSTILE], "mae": [1.0], "kind": [HOSTILE], "picked": [True]})
    ),
    "alive_surface": lambda: charts.alive_surface(
        pd.DataFrame({"frequency": [HOSTILE], "weeks_since_last": [HOSTILE], "p_alive": [0.5]})
    ),
    "purchases_surface": lambda: charts.purchases_surface(
        pd.DataFrame({"frequency": [HOSTILE], "weeks_since_last": [HOSTILE], "expected_purchases": [0.5]})
    ),
    "value_distribution": lambda: charts.value_distribution(
        pd.DataFrame({"band": [HOSTILE], "customers": [5], "value_share": [1.0]}), HOSTILE
    ),
    "rank_changes": lambda: charts.rank_changes(
        pd.DataFrame({"name": [HOSTILE], "rank_before": [9], "rank_after": [2]}), HOSTILE, HOSTILE, 5, HOSTILE
    ),
    "category_keys": lambda: charts.category_keys(
        pd.DataFrame({"category": [HOSTILE], "key_customers": [3], "only_here": [1]})
    ),
    "rate_intervals": lambda: charts.rate_intervals(
        pd.DataFrame({"step": [HOSTILE], "rate": [0.5], "low": [0.4], "high": [0.7], "reference": [0.1]}), "step"
    ),
    "rate_differences": lambda: charts.rate_differences(
        pd.DataFrame({"experience": [HOSTILE], "adjusted": [0.1], "adjusted_low": [-0.1], "adjusted_high": [0.3]}),
        "experience",
    ),
    "cohort_retention": lambda: charts.cohort_retention(
        pd.DataFrame({"cohort": [HOSTILE], "customers": [5], "age": [1], "rate": [0.4]}), HOSTILE
    ),
    "judged_fifths": lambda: charts.judged_fifths(
        pd.DataFrame({"fifth": [1, 2], "expected": [5.0, 3.0], "actual": [4.0, 3.5]}), HOSTILE
    ),
    "calls_by_reason": lambda: charts.calls_by_reason(
        pd.DataFrame({"kind": [HOSTILE], "customers": [1], "worth": [0.0]}), HOSTILE
    ),
    "warning_signs": lambda: charts.warning_signs(
        pd.DataFrame({"sign": [HOSTILE, "any"], "customers": [5, 6], "value": [7.0, -8.0]}), HOSTILE
    ),
    "account_load": lambda: charts.account_load(
        pd.DataFrame({"account_manager_id": [HOSTILE], "key_customers": [5], "with_signs": [2]}), 4
    ),
    "base_flows": lambda: charts.base_flows(
        pd.DataFrame({"period": [dt.date(2024, 1, 31)], "closing": [5], HOSTILE: [3], "lost": [-1]})
    ),
    "change_tenths": lambda: charts.change_tenths(
        pd.DataFrame({"tenth": [1, 10], "customers": [1, 1], "change": [-5.0, 3.0]}), HOSTILE
    ),
    "value_by_age": lambda: charts.value_by_age(
        pd.DataFrame({"cohort": [HOSTILE], "age": [3], "value": [4.0]}), "profit"
    ),
    "refunds_both_ways": lambda: charts.refunds_both_ways(TestRefundsBothWays().frame(1), HOSTILE),
    "case_times": lambda: charts.case_times(
        pd.DataFrame({"cause": [HOSTILE], "median": [2.0], "low": [1.0], "high": [np.nan], "most": [6.0]}), "cause"
    ),
    "cases_per_100": lambda: charts.cases_per_100(
        pd.DataFrame({"start": [dt.date(2024, 1, 1)], "per_100": [5.0], "low": [3.0], "high": [8.0]}), HOSTILE
    ),
    "alive_bands": lambda: charts.alive_bands(pd.DataFrame({"band": [HOSTILE], "customers": [5]})),
}


@pytest.mark.parametrize("name", HOSTILE_CHARTS)
def test_hostile_text_is_drawn_as_it_is(name):
    figure = saved(HOSTILE_CHARTS[name]())
    hostile = [text for text in figure.findobj(mpl.text.Text) if HOSTILE in text.get_text()]
    assert hostile
    assert not any(text.get_parse_math() for text in hostile)


@pytest.mark.parametrize("name", HOSTILE_CHARTS)
def test_nothing_is_left_behind(name):
    before = dict(mpl.rcParams)
    figure = HOSTILE_CHARTS[name]()
    assert dict(mpl.rcParams) == before
    assert figure.get_figwidth() == 6.4
    assert not any(ax.get_title() for ax in figure.axes)
    assert figure._repr_png_()[0].startswith(b"\x89PNG")


@pytest.mark.parametrize("name", HOSTILE_CHARTS)
def test_pyplot_never_sees_a_figure(name):
    HOSTILE_CHARTS[name]()
    assert plt.get_fignums() == []


def test_a_dark_notebook_leaves_charts_white():
    with mpl.rc_context({"figure.facecolor": "black", "axes.facecolor": "black", "font.size": 30}):
        figure = HOSTILE_CHARTS["alive_bands"]()
    assert figure.get_facecolor()[3] == 0  # what lies behind it is the page's
    assert {text.get_fontsize() for text in figure.axes[0].texts} == {11}
