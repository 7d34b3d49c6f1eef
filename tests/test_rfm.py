"""Habits, scores and segments against plain Python; clusters against their definition; what is planted is found."""

from __future__ import annotations

import datetime as dt
import statistics
import warnings
from collections import Counter, defaultdict
from itertools import pairwise, product

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import charts, clusters, customers, lifecycle, open_dataset, page, rfm
from crm_analysis.errors import Unanswerable

START = dt.date(2024, 1, 1)
AS_OF = START + dt.timedelta(days=210)
DORMANT, LOST = 30, 90

logs = st.lists(
    st.tuples(st.sampled_from("abcdefg"), st.integers(0, 200), st.sampled_from([-300, -100, 0, 100, 300, 900])),
    min_size=1,
    max_size=60,
)


def as_frame(log: list[tuple]) -> pd.DataFrame:
    rows = [(who, START + dt.timedelta(days=day), float(amount)) for who, day, amount in log]
    return pd.DataFrame(rows, columns=["customer_id", "date", "amount"])


def segmented(log: pd.DataFrame) -> ibis.expr.types.Table:
    bought, known = customers.purchases(log), customers.summary(log, as_of=AS_OF)
    return rfm.segments(rfm.habits(bought, known, as_of=AS_OF, dormant_after=DORMANT), lost_after=LOST)


def naive(log: list[tuple]) -> dict[str, dict]:
    """What `habits` says of each customer."""
    days: dict[str, Counter] = defaultdict(Counter)
    for who, day, amount in log:
        days[who][day] += amount
    found = {}
    for who, amounts in days.items():
        bought = sorted(day for day, amount in amounts.items() if amount >= 0)
        if not bought:
            continue
        spells = [[bought[0]]]
        for before, day in pairwise(bought):
            if day - before > DORMANT:
                spells.append([])
            spells[-1].append(day)
        gaps = [day - before for before, day in pairwise(bought)]
        between = [after[0] - before[-1] for before, after in pairwise(spells)]
        silence = 210 - bought[-1]
        found[who] = {
            "first_purchase": START + dt.timedelta(days=bought[0]),
            "last_purchase": START + dt.timedelta(days=bought[-1]),
            "purchases": len(bought),
            "previous_amount": amounts[bought[-1]],
            "total_amount": sum(amounts[day] for day in bought),
            "value": sum(amounts.values()),
            "silence": silence,
            "usual_gap": statistics.median(gaps) if gaps else None,
            "longest_gap": max(gaps) if gaps else None,
            "spells": len(spells),
            "active_days": statistics.mean(spell[-1] - spell[0] for spell in spells),
            "dormant_days": statistics.mean(between) if between else None,
            "state": "dormant" if silence > DORMANT else "active",
            "times_usual_gap": silence / statistics.median(gaps) if gaps else None,
            "quiet": len(gaps) > 1 and silence > max(gaps) and silence >= 2 * statistics.median(gaps),
            "new": 210 - bought[0] <= DORMANT,
        }
    return found


def segment_of(r: int, f: int, m: int, one: dict) -> str:
    """The rules in words of `rfm.SEGMENTS`, tried in their order."""
    valuable, often = m >= 4, f >= 4
    if one["value"] < 0:
        return "loss-making"
    if valuable:
        if one["quiet"] and m == 5 and one["silence"] <= LOST:
            return "cannot lose"
        if one["quiet"] or r <= 2:
            return "at risk"
        if r == 3 or one["state"] == "dormant":
            return "needs attention"
        return "champions" if often else "promising"
    if one["new"]:
        return "new"
    if r <= 2:
        return "hibernating"
    return "loyal" if often and one["state"] == "active" else "occasional"


@settings(max_examples=25, deadline=None)
@given(logs)
def test_agrees_with_plain_python(log):
    expected = naive(log)
    found = segmented(as_frame(log)).to_pandas()
    assert sorted(found["customer_id"]) == sorted(expected)

    def score(who: str, key: str) -> int:
        lower = sum(other[key] < expected[who][key] for other in expected.values())
        return 1 + 5 * lower // len(expected)

    for row in found.to_dict("records"):
        who = row["customer_id"]
        for key, value in expected[who].items():
            got = row[key].date() if isinstance(row[key], pd.Timestamp) else row[key]
            assert pd.isna(got) if value is None else got == pytest.approx(value) if key.endswith("s") else got == value
        scores = score(who, "last_purchase"), score(who, "purchases"), score(who, "value")
        assert (row["R"], row["F"], row["M"]) == scores
        assert row["segment"] == segment_of(*scores, expected[who])


def test_equals_share_scores_and_may_all_be_equal():
    log = pd.DataFrame({"customer_id": list("abcdef"), "date": [pd.Timestamp("2024-07-20")] * 6, "amount": 5.0})
    found = segmented(log).to_pandas()
    assert set(zip(found["R"], found["F"], found["M"], found["segment"], strict=True)) == {(1, 1, 1, "new")}


@pytest.fixture(scope="module")
def shop(cdnow):
    return open_dataset(cdnow)


def of(data) -> ibis.expr.types.Table:
    bought = data.purchases().cache()
    rules = lifecycle.rules(bought)
    habits = rfm.habits(bought, data.customers(), as_of=data.as_of, dormant_after=rules.dormant_after)
    return rfm.segments(habits, lost_after=rules.lost_after).cache()


@pytest.fixture(scope="module")
def people(shop):
    return of(shop)


def test_cdnow_customers_are_each_in_one_segment_and_nothing_is_lost(shop, people):
    sizes, grid, cycles = rfm.sizes(people), rfm.grid(people), rfm.cycles(people)
    assert list(sizes["segment"]) == list(rfm.SEGMENTS)
    total = float(shop.customers()["value"].sum().execute())
    for frame in (sizes, grid):
        assert frame["customers"].sum() == 23_570
        assert frame["value"].sum() == pytest.approx(total)
        assert frame["value_share"].sum() == pytest.approx(1)
    assert cycles["customers"].sum() == 23_570
    assert sizes["customer_share"].sum() == cycles["customer_share"].sum() == pytest.approx(1)
    assert grid.loc[grid["F"] == 1, "customers"].sum() == 12_054  # who bought once: more than half, but equals
    for segment in rfm.SEGMENTS:
        found = rfm.members(people, segment).to_pandas()
        assert len(found) == sizes.set_index("segment").loc[segment, "customers"]
        assert found["value"].is_monotonic_decreasing


def test_quiet_key_accounts_lead_a_short_list(sample, truth):
    quiet = set(truth["quiet_key_accounts"])
    people = of(open_dataset(sample))
    listed = rfm.members(people, "cannot lose").to_pandas()["customer_id"]
    assert set(listed[: len(quiet)]) == quiet  # the most valuable first
    assert (len(quiet), len(set(listed) - quiet)) == (10, 20)
    losing = set(rfm.members(people, "loss-making").to_pandas()["customer_id"])
    big = set(truth["unprofitable_big"])
    assert big <= losing
    assert (len(big), len(losing - big)) == (8, 42)


@pytest.mark.parametrize("toml", ["sample", "cdnow"])
def test_nobody_dormant_is_praised(toml, request):
    found = of(open_dataset(request.getfixturevalue(toml))).to_pandas()
    praised = found[found["segment"].isin(["champions", "promising", "loyal", "new"])]
    assert set(praised["state"]) == {"active"}
    assert {"champions", "promising", "loyal"} <= set(praised["segment"])
    attended = found[found["segment"] == "needs attention"]
    assert attended["M"].min() == 4
    assert (attended["state"].eq("dormant") | attended["R"].eq(3)).all()


def test_order_of_rows_changes_nothing(shop):
    log = shop.table("transactions").select("customer_id", "date", "amount").to_pandas()
    log = log[log["customer_id"] < "02"]
    as_of = shop.as_of
    found = []
    for rows in (log, log.sample(frac=1, random_state=3)):
        bought, known = customers.purchases(rows), customers.summary(rows, as_of=as_of)
        habits = rfm.habits(bought, known, as_of=as_of, dormant_after=119)
        fitted = clusters.fit(habits)
        people = rfm.segments(clusters.assign(habits, fitted), lost_after=283)
        found.append((people.order_by("customer_id").to_pandas(), fitted.centres, fitted.criterion))
    for one, other in zip(*found, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_impossible_and_missing():
    log = as_frame([("a", 1, 5)])
    known = customers.summary(log, as_of=AS_OF)
    with pytest.raises(ValueError, match="at least 1 day"):
        rfm.habits(customers.purchases(log), known, as_of=AS_OF, dormant_after=0)
    with pytest.raises(ValueError, match="no segment 'best'"):
        rfm.members(segmented(log), "best")
    with pytest.raises(Unanswerable, match="Nobody has purchased"):
        rfm.sizes(segmented(as_frame([("a", 1, -5)])))
    sizes = rfm.sizes(segmented(as_frame([("a", 1, 0), ("b", 1, 0)])))
    assert sizes["value_share"].isna().all()  # there are no shares of nothing


def blobs() -> pd.DataFrame:
    """Three kinds of customers, far apart, in no order."""
    rng = np.random.default_rng(5)
    kinds = rng.permutation(np.repeat([0, 1, 2], [300, 150, 60]))
    noise = rng.lognormal(0, 0.1, (3, len(kinds)))
    often = np.array([2, 10, 60])[kinds] * noise[1]
    return pd.DataFrame(
        {
            "customer_id": [f"c{number:04d}" for number in range(len(kinds))],
            "kind": kinds,
            "silence": (np.array([700, 100, 8])[kinds] * noise[0]).astype(int),
            "purchases": often.astype(int) + 1,
            "total_amount": (often.astype(int) + 1) * np.array([20.0, 400.0, 90.0])[kinds] * noise[2],
            "value": np.array([40.0, 4000.0, 5400.0])[kinds],
        }
    )


def test_clusters_are_those_that_are_there():
    frame = blobs()
    fitted = clusters.fit(frame)
    assert fitted.criterion.query("picked")["clusters"].tolist() == [3]
    assert fitted.criterion["clusters"].tolist() == list(range(2, 9))
    found = clusters.assign(frame, fitted).to_pandas()
    assert set(zip(found["kind"], found["cluster"], strict=True)) == {(2, 1), (1, 2), (0, 3)}  # most valuable first
    sizes = clusters.sizes(found, fitted)
    assert sizes["customers"].tolist() == [60, 150, 300]
    assert sizes["value_per_customer"].tolist() == [5400, 4000, 40]
    assert sizes["description"].tolist()[0] == "newer, more frequent, as large"
    assert sizes["silence"].to_numpy() == pytest.approx([8, 100, 700], rel=0.1)
    assert sizes["amount"].to_numpy() == pytest.approx([90, 400, 20], rel=0.1)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_silhouette_is_that_of_the_customers_as_assigned(people, count):
    fitted = clusters.fit(people, count)
    assert fitted.centres["description"].is_unique
    assert len(fitted.centres) == count
    found = clusters.assign(people, fitted).to_pandas()
    mean = found["total_amount"].sum() / found["purchases"].sum()
    amount = (found["total_amount"] / found["purchases"] / mean).clip(lower=0.01)
    logs = np.log(np.column_stack([found["silence"] + 1, found["purchases"], amount]))
    cells = np.floor(logs / 0.1 + 0.5)
    cells /= cells.std(axis=0)
    centres = fitted.places / fitted.scale
    far = np.linalg.norm(cells[:, None] - centres, axis=2)
    own = far[np.arange(len(far)), found["cluster"] - 1]
    assert own == pytest.approx(far.min(axis=1))  # each customer is with the nearest centre
    far[np.arange(len(far)), found["cluster"] - 1] = np.inf
    silhouette = np.mean(1 - own / far.min(axis=1))
    expected = fitted.criterion.set_index("clusters").loc[count, "silhouette"]
    assert silhouette == pytest.approx(expected, abs=1e-9)
    sizes = clusters.sizes(found, fitted)
    assert sizes["value_per_customer"].is_monotonic_decreasing
    assert sizes["customers"].sum() == 23_570


def test_descriptions_that_would_be_equal_say_their_numbers():
    places = np.array([[31.0, 10.0, 0.0], [32.0, 10.0, 0.0], [90.0, -1.0, 6.0]])
    quartiles = np.array([[0, 50], [0, 20], [-5, 5]])
    texts = clusters._described(places, quartiles, 10.0)
    assert texts == [
        "as recent (21), as frequent (2.7), as large (10)",
        "as recent (24), as frequent (2.7), as large (10)",
        "older, rarer, larger",
    ]
    near = np.array([[31.0, 10.0, 0.0], [31.001, 10.0, 0.0]])  # alike in two digits
    texts = clusters._described(near, quartiles, 10.0)
    assert texts == [
        "as recent (21.198), as frequent (2.7183), as large (10)",
        "as recent (21.2), as frequent (2.7183), as large (10)",
    ]


def test_a_page_shows_whole_descriptions():
    place = np.array([72.0, 46.8, 0.0])  # a silence of 1,300 days, 110 purchases
    for levels in product([0, 1, 2], repeat=3):  # below, between and above the quartiles
        quartiles = (place - 1.5 * np.array(levels) + np.array([[1], [2]])).T
        texts = clusters._described(np.array([place, place - [0, 0.4, 0]]), quartiles, 3_400_000.0)
        assert [text.count("(") for text in texts] == [3, 3]
        assert max(map(len, texts)) <= page.NAMED


def test_clusters_that_cannot_be():
    frame = blobs()
    with pytest.raises(ValueError, match="2 to 8 clusters"):
        clusters.fit(frame, 9)
    with pytest.raises(Unanswerable, match="too much alike"):
        clusters.fit(frame.assign(silence=5, purchases=1, total_amount=10.0))
    free = clusters.fit(frame.assign(total_amount=0.0))  # nothing but free orders: amounts tell nothing
    assert free.centres["amount"].tolist() == [0.0] * len(free.centres)


def test_speaks_other_dialects(dialect):
    log = ibis.table({"customer_id": "string", "date": "date", "amount": "decimal(18, 6)"}, name="transactions")
    habits = rfm.habits(
        customers.purchases(log), customers.summary(log, as_of=AS_OF), as_of=AS_OF, dormant_after=DORMANT
    )
    people = clusters.assign(rfm.segments(habits, lost_after=LOST), clusters.fit(blobs()))
    for expression in (people, rfm.members(people, "at risk")):
        assert "memtable" not in ibis.to_sql(expression, dialect=dialect)


@pytest.mark.parametrize("share", [1.0, np.nan, -1.0])
def test_the_heat_map_writes_every_share_where_it_belongs(share):
    grid = pd.DataFrame({"R": [5, 1, 3], "F": [5, 1, 4], "value_share": [share, 0.25, -0.1]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = charts.recency_frequency(grid).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == list("54321")
    assert [label.get_text() for label in ax.get_xticklabels()] == list("12345")
    at = {(5 - int(text.get_position()[1]), 1 + int(text.get_position()[0])): text.get_text() for text in ax.texts}
    assert at[1, 1] == "25%"
    assert at[3, 4] == "−10%"
    assert at.get((5, 5), "") == {1.0: "100%", -1.0: "−100%"}.get(share, "")
