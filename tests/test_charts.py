"""Charts draw exactly the numbers of their frames, and no frame makes them fail or warn."""

import datetime as dt
import io
import warnings
from itertools import pairwise

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
        assert ticks(right.yaxis)[0].startswith("unknown")

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

    @pytest.mark.parametrize("count", range(0, 10_001, 500))
    def test_text_is_readable_on_every_shade(self, count):
        ax = charts.tier_moves(self.moves.assign(customers=[0, 10_000, 5, count])).axes[0]
        shade = ax.collections[0].get_facecolor()[4]  # small → major
        text = cells(ax)["small", "major"]
        assert text.get_text() == f"{count:,}"
        assert contrast(shade, text.get_color()) > 3.5


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
        assert texts(right) == ["unknown"] * 4

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


HOSTILE_CHARTS = {
    "concentration_curve": lambda: charts.concentration_curve(curve(0, 0.7, 1), 0.2, 0.28, HOSTILE),
    "pyramids": lambda: charts.pyramids(tiers().assign(tier=HOSTILE), HOSTILE),
    "tier_moves": lambda: charts.tier_moves(
        pd.DataFrame({"tier_before": ["small", HOSTILE], "tier_now": [HOSTILE, "major"], "customers": [1, 2]})
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
    assert same_color(figure.get_facecolor(), "white")
    assert {text.get_fontsize() for text in figure.axes[0].texts} == {11}
