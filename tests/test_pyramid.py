"""The pyramid: CDNOW's tiers, and every size against a plain count of who is worth more."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import customers, open_dataset, pareto, periods, pyramid
from crm_analysis.errors import Unanswerable

START = dt.date(2024, 1, 1)

shares = st.sampled_from(
    [
        pyramid.SHARES,
        (0.01, 0.04, 0.15, 0.80),
        (0.07, 0.21, 0.29, 0.43),
        (0.0, 0.2, 0.3, 0.5),
        (0.3, 0.0, 0.0, 0.7),
        (1.0, 0.0, 0.0, 0.0),
    ]
)


def as_frame(cents: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"customer_id": [f"c{i:04}" for i in range(len(cents))], "value": np.array(cents) / 100})


def naive(cents: list[int], shares: tuple[float, ...]) -> list[str]:
    """The tier of each: the first whose cumulative share of customers exceeds the share of those worth more."""
    cuts = np.cumsum([Fraction(str(share)) for share in shares])
    more = [Fraction(sum(other > own for other in cents), len(cents)) for own in cents]
    return [next(tier for tier, cut in zip(pyramid.TIERS, cuts, strict=True) if above < cut) for above in more]


def tiers_of(frame: pd.DataFrame, shares: tuple[float, ...] = pyramid.SHARES) -> list[str]:
    return pyramid.tiers(frame, shares).order_by("customer_id").to_pandas()["tier"].to_list()


@pytest.fixture(scope="module")
def shop(cdnow):
    return open_dataset(cdnow)


@pytest.fixture(scope="module")
def company(sample):
    return open_dataset(sample)


def test_cdnow(shop):
    found = pyramid.sizes(pyramid.tiers(shop.customers()))
    value = np.sort(shop.customers()["value"].to_pandas().to_numpy(float))[::-1]
    assert found["tier"].to_list() == ["important", "major", "ordinary", "small"]
    assert found["customers"].to_list() == [236, 4479, 7070, 11785]  # one more major: two are worth 133.95
    assert found["value_share"].round(4).to_list() == [0.1588, 0.5191, 0.2181, 0.1041]
    ends = found["customers"].cumsum().to_numpy()
    np.testing.assert_allclose(found["value"].cumsum(), np.cumsum(value)[ends - 1], rtol=1e-12)
    np.testing.assert_allclose(found["least"], value[ends - 1])
    curve = pareto.concentration(shop.customers())
    assert found.at[0, "value_share"] == pytest.approx(pareto.share_of_top(curve, 0.01), rel=1e-12)


@pytest.mark.parametrize(("shares", "step"), [(pyramid.SHARES, 3), ((0.01, 0.04, 0.15, 0.80), 7)])
def test_sizes_from_1_to_200(shares, step):
    """Without ties the best ceil(cut × N) customers are above each cut, whatever N."""
    cuts = np.cumsum([Fraction(str(share)) for share in shares])
    for count in range(1, 201, step):
        found = tiers_of(as_frame(list(range(count, 0, -1))), shares)
        above = [sum(tier in pyramid.TIERS[: place + 1] for tier in found) for place in range(4)]
        assert above == [-(-cut * count // 1) for cut in cuts], count


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-20, 60), min_size=1, max_size=120), shares)
def test_agrees_with_a_plain_count(cents, shares):
    """Few distinct values make many ties: equals always share a tier."""
    assert tiers_of(as_frame(cents), shares) == naive(cents, shares)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(-20, 60), min_size=1, max_size=80).filter(lambda cents: sum(cents) > 0), shares, st.randoms()
)
def test_sizes_add_up_in_any_order_and_from_any_input(cents, shares, random):
    frame = as_frame(cents)
    found = pyramid.sizes(pyramid.tiers(frame, shares))
    assert found["tier"].to_list() == list(pyramid.TIERS)
    assert found["customers"].sum() == len(cents)
    assert found["value"].sum() == pytest.approx(sum(cents) / 100, abs=1e-9)
    assert found["customer_share"].sum() == pytest.approx(1)
    assert found["value_share"].sum() == pytest.approx(1)
    assert found["value_per_customer"].isna().equals(found["customers"] == 0)
    for row in found.itertuples():
        members = [own for own, tier in zip(cents, naive(cents, shares), strict=True) if tier == row.tier]
        assert row.value == sum(members) / 100
        assert (row.least == min(members) / 100) if members else np.isnan(row.least)
    shuffled = frame.sample(frac=1, random_state=random.randrange(2**32))
    for table in (shuffled, ibis.memtable(shuffled)):
        again = pyramid.sizes(pyramid.tiers(table, shares))
        pd.testing.assert_frame_equal(again, found, check_exact=True)
    from_frame = pyramid.sizes(pyramid.tiers(shuffled, shares).to_pandas())
    pd.testing.assert_frame_equal(from_frame, found, check_exact=True, check_dtype=False)


def test_all_equal_are_all_important():
    found = pyramid.sizes(pyramid.tiers(as_frame([700] * 50)))
    assert found["customers"].to_list() == [50, 0, 0, 0]
    assert found["value_share"].to_list() == [1, 0, 0, 0]
    assert tiers_of(as_frame([700] * 50), (0, 0.2, 0.3, 0.5)) == ["major"] * 50


def test_large_tables_do_not_depend_on_row_order():
    frame = as_frame(list(np.random.default_rng(1).integers(-100, 10**6, 200_000)))
    found = [pyramid.sizes(pyramid.tiers(frame.sample(frac=1, random_state=seed))) for seed in range(3)]
    assert found[0]["customers"].sum() == 200_000
    for again in found[1:]:
        pd.testing.assert_frame_equal(again, found[0], check_exact=True)


@pytest.mark.parametrize("cents", [[], [0, 0], [5, -10]])
def test_without_a_total_above_zero_there_are_no_shares(cents):
    frame = as_frame(cents).astype({"value": float, "customer_id": str})
    with pytest.raises(Unanswerable):
        pyramid.sizes(pyramid.tiers(frame))


@pytest.mark.parametrize(
    "shares", [(0.2, 0.3, 0.5), (0.5, 0.5, 0.5, -0.5), (0.1, 0.1, 0.1, 0.1), (float("nan"), 0, 0, 1)]
)
def test_shares_are_four_parts_of_one(shares):
    with pytest.raises(ValueError, match="sum to 1"):
        pyramid.tiers(as_frame([1]), shares)


logs = st.lists(
    st.tuples(st.sampled_from([f"c{i}" for i in range(12)]), st.integers(0, 60), st.integers(-500, 2000)),
    min_size=1,
    max_size=60,
)


@settings(max_examples=12, deadline=None)
@given(logs, st.integers(0, 60), shares)
def test_moves_conserve_customers(log, day, shares):
    """Rows sum to the tiers before, columns to the tiers now; whoever was a customer before is one now."""
    rows = [(who, START + dt.timedelta(days=day), cents / 100) for who, day, cents in log]
    frame = pd.DataFrame(rows, columns=["customer_id", "date", "amount"])
    earlier, later = (
        customers.summary(frame, as_of=START + dt.timedelta(days=until)).to_pandas() for until in (day, 60)
    )
    assert set(earlier["customer_id"]) <= set(later["customer_id"])
    before, now = (pyramid.tiers(ibis.memtable(table), shares) for table in (earlier, later))
    changed = pyramid.changes(before, now)
    moves = pyramid.moves(changed)
    old, new = (table.to_pandas().set_index("customer_id") for table in (before, now))
    assert moves.groupby("tier_now")["customers"].sum().to_dict() == new["tier"].value_counts().to_dict()
    left = moves.groupby("tier_before")["customers"].sum().to_dict()
    assert left.pop(pyramid.NOT_YET, 0) == len(new) - len(old)
    assert left == old["tier"].value_counts().to_dict()
    assert moves["value_now"].sum() == pytest.approx(later["value"].sum(), abs=1e-9)
    ways = pyramid.directions(moves)
    assert sum(ways.values()) == len(new)
    assert ways["joined"] == len(new) - len(old)
    rank = pyramid.TIERS.index
    pairs = [(rank(tier), rank(new.at[who, "tier"])) for who, tier in old["tier"].items()]
    assert ways["rose"] == sum(to < start for start, to in pairs)
    assert ways["stayed"] == sum(to == start for start, to in pairs)

    found = pyramid.causes(changed, pyramid.least(before))
    fallen = pyramid.fallen(found).to_pandas()
    expected = {who for who, tier in old["tier"].items() if rank(tier) < 2 <= rank(new.at[who, "tier"])}
    assert set(fallen["customer_id"]) == expected
    assert len(fallen) == len(expected)
    for row in fallen.itertuples():
        assert row.growth == pytest.approx(new.at[row.customer_id, "value"] - old.at[row.customer_id, "value"])
    assert fallen["at_stake"].is_monotonic_decreasing


def test_cdnow_moves_over_a_year(shop):
    before, now = (pyramid.tiers(shop.customers(dt.date(year, 6, 30))).cache() for year in (1997, 1998))
    moves = pyramid.moves(pyramid.changes(before, now))
    sizes = pyramid.sizes(before).set_index("tier")["customers"]
    assert moves.groupby("tier_before")["customers"].sum()[list(pyramid.TIERS)].to_dict() == sizes.to_dict()
    assert moves["customers"].sum() == 23_570  # everybody joined in the first quarter of 1997
    assert pyramid.NOT_YET not in set(moves["tier_before"])


two_dates = st.lists(st.tuples(st.none() | st.integers(-20, 60), st.integers(-20, 60)), min_size=1, max_size=60)


@settings(max_examples=25, deadline=None)
@given(two_dates, shares)
def test_causes_agree_with_a_plain_count(cents, shares):
    """Who rose or fell is placed again by the earlier cut-offs: what that does not explain, the cut-offs do."""
    known = {f"c{i:04}": value for i, (value, _) in enumerate(cents) if value is not None}
    now = {f"c{i:04}": value for i, (_, value) in enumerate(cents)}
    old = dict(zip(known, naive([*known.values()], shares) if known else [], strict=True))
    new = dict(zip(now, naive([*now.values()], shares), strict=True))
    rank, expected = pyramid.TIERS.index, {}
    lowest = {tier: min(known[who] for who in known if old[who] == tier) for tier in set(old.values())}
    for who, tier in old.items():
        start, end = rank(tier), rank(new[who])
        would = next((rank(t) for t in pyramid.TIERS if t in lowest and now[who] >= lowest[t]), 3)
        if now[who] == known[who]:
            assert would == start
        if start != end:
            steps = (would - start) if end > start else (start - would)
            cause = "cut-off" if steps <= 0 else "own value" if steps >= abs(end - start) else "both"
            stake = now[who] if cause == "cut-off" else abs(now[who] - known[who])
            expected[who] = ("fell" if end > start else "rose", cause, now[who] - known[who], stake)

    frames = [
        pd.DataFrame({"customer_id": [*values], "value": [v / 100 for v in values.values()]}).astype(
            {"customer_id": "string", "value": float}
        )
        for values in (known, now)
    ]
    before, after = (pyramid.tiers(frame, shares) for frame in frames)
    least = pyramid.least(before)
    assert least == {tier: value / 100 for tier, value in lowest.items()}
    caused = pyramid.causes(pyramid.changes(before, after), least).to_pandas()
    found = {
        row.customer_id: (row.direction, row.cause, round(row.growth * 100), round(row.at_stake * 100))
        for row in caused.itertuples()
    }
    assert found == expected
    for row in pyramid.by_cause(caused).itertuples():
        mine = [facts for facts in expected.values() if facts[:2] == (row.direction, row.cause)]
        sums = [sum(facts[at] for facts in mine) / 100 for at in (2, 3)]
        assert [row.customers, row.growth, row.at_stake] == pytest.approx([len(mine), *sums], abs=1e-9)


def test_one_of_each_cause():
    """Tiers of 1, 2, 3 and 4 customers: the best falls to the last, and three of the others overtake b and c."""
    shares = (0.1, 0.2, 0.3, 0.4)
    before = [100, 90, 80, 70, 60, 50, 40, 30, 20, 10]
    now = [15, 90, 80, 95, 96, 97, 98, 75, 20, 10]
    frames = [pd.DataFrame({"customer_id": list("abcdefghij"), "value": map(float, v)}) for v in (before, now)]
    tiered = [pyramid.tiers(frame, shares) for frame in frames]
    caused = pyramid.causes(pyramid.changes(*tiered), pyramid.least(tiered[0]))
    found = caused.to_pandas().set_index("customer_id")
    assert found[["tier_before", "tier_now", "cause"]].T.to_dict("list") == {
        "a": ["important", "small", "own value"],
        "b": ["major", "ordinary", "cut-off"],
        "c": ["major", "ordinary", "cut-off"],
        "e": ["ordinary", "major", "own value"],
        "f": ["ordinary", "major", "own value"],
        "g": ["small", "important", "both"],
    }
    to_do = pyramid.fallen(caused).to_pandas().set_index("customer_id")["to_do"].to_dict()
    assert to_do == {"a": "call", "b": "develop or accept", "c": "develop or accept"}
    assert pyramid.fallen(caused).to_pandas()["customer_id"].to_list() == ["b", "a", "c"]


def test_cdnow_all_falls_are_of_the_cut_offs(shop):
    """Revenue so far does not shrink where nothing is returned, so whoever fell was overtaken."""
    before, now = (pyramid.tiers(shop.values(dt.date(year, 6, 30))).cache() for year in (1997, 1998))
    caused = pyramid.causes(pyramid.changes(before, now), pyramid.least(before)).cache()
    found = pyramid.by_cause(caused).set_index(["direction", "cause"])["customers"]
    assert found[found > 0].to_dict() == {("fell", "cut-off"): 3_243, ("rose", "own value"): 2_909}
    fallen = pyramid.fallen(caused).to_pandas()
    assert len(fallen) == 1_343
    assert set(fallen["to_do"]) == {"develop or accept"}
    assert (fallen["growth"] >= 0).all()


def test_tiers_are_called_by_their_shares():
    shares = (0.01, 0.04, 0.15, 0.80)
    frame = pd.DataFrame({"tier_before": ["major", pyramid.NOT_YET], "tier_now": ["small", "important"], "n": [1, 2]})
    found = pyramid.labelled(frame, shares)
    assert found["tier_before"].to_list() == ["major (next 4%)", pyramid.NOT_YET]
    assert found["tier_now"].to_list() == ["small (last 80%)", "important (top 1%)"]
    again = pyramid.labelled(ibis.memtable(frame), shares).order_by("n").to_pandas()
    pd.testing.assert_frame_equal(again, found, check_dtype=False)


ENDS = [dt.date(2024, 1, 31), dt.date(2024, 2, 29), dt.date(2024, 3, 31)]
periodic = st.lists(
    st.tuples(st.sampled_from([f"c{i}" for i in range(9)]), st.sampled_from(ENDS), st.integers(0, 4))
    .flatmap(lambda key: st.tuples(*map(st.just, key), st.integers(-20, 90), st.integers(-30, 60)))
    .map(lambda row: (row[0], row[1], row[2], row[3] if row[2] else min(row[3], 0), row[4])),
    min_size=1,
    max_size=27,
    unique_by=lambda row: row[:2],
)


def as_worth(rows: list[tuple]) -> pd.DataFrame:
    """What customers bought and were worth in periods, as `periods.by_period` returns it."""
    frame = pd.DataFrame(rows, columns=["customer_id", "period", "purchases", "revenue", "value"])
    return frame.assign(revenue=frame["revenue"] / 1.0, value=frame["value"] / 1.0)


def naive_places(rows: list[tuple], shares: tuple[float, ...]) -> dict[tuple[str, dt.date], str]:
    found = {}
    for end in ENDS:
        mine = [row for row in rows if row[1] == end and row[2] > 0]
        found |= dict(zip([row[:2] for row in mine], naive([row[4] for row in mine], shares), strict=True))
    return found


@settings(max_examples=25, deadline=None)
@given(periodic, shares, st.randoms())
def test_every_customer_of_a_period_is_in_one_step(rows, shares, random):
    places = naive_places(rows, shares)
    random.shuffle(rows)
    placed = pyramid.placed(as_worth(rows), shares)
    frame = placed.to_pandas()
    found = {(row.customer_id, pd.Timestamp(row.period).date()): row.tier for row in frame.itertuples()}
    assert len(frame) == len(found) == len(rows)
    assert {key: tier for key, tier in found.items() if tier != pyramid.NO_PURCHASE} == places
    if not places:
        with pytest.raises(Unanswerable, match="Nobody has purchased"):
            pyramid.steps(placed, ENDS)
        return
    steps = pyramid.steps(placed, ENDS)
    expected: Counter = Counter()
    for before, now in pairwise(ENDS):
        for who in {who for who, end in places if end in (before, now)}:
            sides = [places.get((who, end), pyramid.NO_PURCHASE) for end in (before, now)]
            expected[before, now, *sides] += 1
    assert {tuple(row[:4]): row[4] for row in steps.itertuples(index=False)} == expected
    sizes = Counter((end, tier) for (_, end), tier in places.items())
    for column, end in (("tier_before", "period_before"), ("tier_now", "period")):
        inside = steps[steps[column] != pyramid.NO_PURCHASE]
        for key, number in inside.groupby([end, column])["customers"].sum().items():
            assert sizes[key] == number

    stays = pyramid.stays(steps)
    assert len(stays) == 4 * steps["period"].nunique()
    for row in stays.itertuples():
        mine = {
            key: number for key, number in expected.items() if key[0] == row.period_before and key[2] == row.tier_before
        }
        assert row.customers == sum(mine.values()) == row.stayed + row.rose + row.fell + row.left
        assert row.stayed == sum(number for key, number in mine.items() if key[3] == key[2])
        assert row.left == sum(number for key, number in mine.items() if key[3] == pyramid.NO_PURCHASE)
        if row.customers:
            assert row.rate == row.stayed / row.customers
            assert row.low - 1e-9 <= row.rate <= row.high + 1e-9
        else:
            assert np.isnan(row.rate)


@settings(max_examples=20, deadline=None)
@given(periodic, shares, st.randoms())
def test_changes_are_explained_to_the_last(rows, shares, random):
    before, now = ENDS[1:]
    places = naive_places(rows, shares)
    random.shuffle(rows)
    explained = pyramid.explained(pyramid.placed(as_worth(rows), shares), before, now).to_pandas()
    frame = explained.set_index("customer_id")
    there = {(who, end): value for who, end, _, _, value in rows if end in (before, now)}
    assert set(frame.index) == {who for who, _ in there}
    if not there:
        return  # see test_nobody_in_the_last_two_periods
    rank = [*pyramid.TIERS, pyramid.NO_PURCHASE].index
    for who, row in frame.iterrows():
        sides = [places.get((who, end), pyramid.NO_PURCHASE) for end in (before, now)]
        assert [row["tier_before"], row["tier_now"]] == sides
        start, end = map(rank, sides)
        way = (
            "stayed"
            if start == end
            else "joined"
            if start == 4
            else "left"
            if end == 4
            else "fell"
            if end > start
            else "rose"
        )
        assert row["direction"] == (pyramid.NO_PURCHASE if start == end == 4 else way)
        change = there.get((who, now), 0) - there.get((who, before), 0)
        assert row["change"] == change
        assert row["by_orders"] + row["by_amount"] + row["by_margin"] == pytest.approx(change, abs=1e-9)
        cause = row["cause"]
        parts = {"purchases": row["by_orders"], "larger smaller": row["by_amount"], "margin": row["by_margin"]}
        if way in ("stayed", "joined"):
            assert pd.isna(cause)
        elif way == "left":
            assert cause == "no more purchases"
        elif (change > 0) != (way == "rose") or change == 0:
            assert cause == ("others fell" if way == "rose" else "overtaken")
        elif "margin" not in cause:
            strongest = (max if way == "rose" else min)(parts.values())
            assert strongest == (row["by_orders"] if cause[:4] in ("more", "fewe") else row["by_amount"])
            counts = row["purchases_now"] - row["purchases_before"]
            if cause in ("more purchases", "fewer purchases"):
                assert (counts > 0) == (way == "rose")
            else:
                spent = row["revenue_now"] / row["purchases_now"] - row["revenue_before"] / row["purchases_before"]
                assert (spent > 0) == (way == "rose")
        else:
            assert cause == ("higher margin" if way == "rose" else "lower margin")

    ways = pyramid.by_direction(explained).set_index("direction")
    assert ways["customers"].to_dict() == {way: (frame["direction"] == way).sum() for way in ways.index}
    assert ways["customers"].sum() == len(frame)
    for column, end in (("value_before", before), ("value_now", now)):
        assert ways[column].sum() == sum(value for (_, at), value in there.items() if at == end)
    parts = ways[["by_orders", "by_amount", "by_margin"]].sum(axis=1)
    np.testing.assert_allclose(parts, ways["change"], atol=1e-4)
    risers, fallers = (table.to_pandas() for table in (pyramid.risers(explained), pyramid.fallers(explained)))
    assert set(risers["customer_id"]) == set(frame.index[frame["direction"] == "rose"])
    lost = frame["direction"].isin(["fell", "left"]) & frame["tier_before"].isin(pyramid.KEY)
    assert set(fallers["customer_id"]) == set(frame.index[lost])
    assert risers["change"].is_monotonic_decreasing
    assert fallers["change"].is_monotonic_increasing
    assert fallers["to_do"].ne(fallers["cause"]).all()


def test_why_somebody_fell():
    """Seven key customers, each of whom falls in a way of their own; thirty others stand still."""
    before = [(f"k{i}", ENDS[0], 10, 1000, 500 + i) for i in range(7)]
    now = [
        ("k0", ENDS[1], 2, 200, 100),
        ("k1", ENDS[1], 10, 200, 100),
        ("k2", ENDS[1], 10, 1000, 90),
        ("k3", ENDS[1], 12, 900, -200),
        ("k4", ENDS[1], 0, -30, -30),
        ("k6", ENDS[1], 10, 1000, 506),
    ]
    still = [(f"o{i}", end, 5, 300, 200 + i) for i in range(30) for end in ENDS[:2]]
    grown = [(f"g{i}", end, 5, 300, 10 + 1000 * (end == ENDS[1])) for i in range(9) for end in ENDS[:2]]
    shares = (0.02, 0.13, 0.35, 0.50)
    explained = pyramid.explained(pyramid.placed(as_worth(before + now + still + grown), shares), *ENDS[:2])
    found = pyramid.fallers(explained).to_pandas().set_index("customer_id")
    assert found["cause"].to_dict() == {
        "k0": "fewer purchases",
        "k1": "smaller purchases",
        "k2": "lower margin",
        "k3": "lower margin",
        "k4": "no more purchases",
        "k5": "no more purchases",
        "k6": "overtaken",
    }
    assert found.index[-1] == "k6"
    assert found.loc["k6", "to_do"] == "develop or accept"


@pytest.mark.parametrize(("months", "count"), [(3, 4), (6, 3), (7, 2), (9, 2)])
def test_as_many_whole_periods_as_there_are(months, count):
    edges = periods.whole(dt.date(1997, 1, 1), dt.date(1998, 6, 30), months=months, most=4, least=2)
    assert len(edges) == count + 1
    assert edges[-1] == dt.date(1998, 6, 30)


def test_nobody_in_the_last_two_periods():
    worth = as_worth([("a", ENDS[0], 1, 5, 5)])
    with pytest.raises(Unanswerable, match="No customer bought"):
        pyramid.by_direction(pyramid.explained(pyramid.placed(worth), *ENDS[1:]))


def test_one_period_is_none_to_compare():
    with pytest.raises(Unanswerable, match="set months to 9 or less"):
        periods.whole(dt.date(1997, 1, 1), dt.date(1998, 6, 30), months=12, most=4, least=2)


class TestSampleCompany:
    def explained(self, data, months):
        edges = periods.whole(data.period[0], data.as_of, months=months, most=4, least=2)
        return pyramid.explained(pyramid.placed(data.by_period(edges)).cache(), *edges[-2:]).cache()

    def test_almost_all_falls_are_of_the_cut_offs(self, company):
        before, now = (pyramid.tiers(company.values(as_of)) for as_of in (dt.date(2024, 12, 31), company.as_of))
        found = pyramid.by_cause(pyramid.causes(pyramid.changes(before, now), pyramid.least(before)))
        counts = found.set_index(["direction", "cause"])["customers"]
        assert counts[counts > 0].to_dict() == {
            ("fell", "own value"): 1,
            ("fell", "cut-off"): 40,
            ("rose", "own value"): 168,
        }

    def test_the_small_ones_who_grow_are_among_the_risers(self, company, truth):
        """All twelve rose by larger purchases within a year, as five others of the small ones did."""
        found = pyramid.risers(self.explained(company, 12)).to_pandas().set_index("customer_id")
        planted = found.loc[truth["rising_small"]]
        assert len(found) == 139
        assert set(planted["cause"]) == {"larger purchases"}
        assert set(zip(planted["tier_before"], planted["tier_now"], strict=True)) == {("small", "ordinary")}
        alike = found[(found["tier_before"] == "small") & (found["cause"] == "larger purchases")]
        assert len(alike) - len(planted) == 5

    def test_the_key_accounts_who_fell_silent_lead_the_fallers(self, company, truth):
        """They have been silent for the last third of the year: of half a year, six of the ten lose their tier."""
        found = pyramid.fallers(self.explained(company, 6)).to_pandas().set_index("customer_id")
        first = found.index[:6]
        assert set(first) <= set(truth["quiet_key_accounts"])
        assert set(found.loc[first, "cause"]) == {"fewer purchases"}
        assert len(found) == 84
        assert not set(found.index[6:]) & set(truth["quiet_key_accounts"])  # the others are key customers still
        best = found[found["tier_before"] == "important"]
        assert len(best) == 7

    def test_the_fallers_are_those_who_fell_and_left(self, company):
        """Two who fell from important to major are key customers still, and listed."""
        edges = periods.whole(company.period[0], company.as_of, months=12, most=4, least=2)
        stays = pyramid.stays(pyramid.steps(pyramid.placed(company.by_period(edges)), edges[1:]))
        key = stays[(stays["period"] == edges[-1]) & stays["tier_before"].isin(pyramid.KEY)]
        assert (key["fell"].sum(), key["left"].sum()) == (44, 61)
        assert pyramid.fallers(self.explained(company, 12)).count().execute() == 105


def test_speaks_other_dialects(dialect):
    worth = {"customer_id": "string", "period": "date", "purchases": "int64", "revenue": "float64", "value": "float64"}
    placed = pyramid.placed(ibis.duckdb.connect().create_table("worth", schema=ibis.schema(worth)))
    explained = pyramid.explained(placed, *ENDS[:2])
    for expression in (placed, pyramid.risers(explained), pyramid.fallers(explained)):
        assert "memtable" not in ibis.to_sql(expression, dialect=dialect)
    before, now = (
        pyramid.tiers(ibis.table({"customer_id": "string", "value": "float64"}, name=name))
        for name in ("before", "now")
    )
    changed = pyramid.changes(before, now)
    fallen = pyramid.labelled(pyramid.fallen(pyramid.causes(changed, {"major": 0.1, "small": -3.0})))
    for expression in (now, changed, fallen):
        assert "OVER" in ibis.to_sql(expression, dialect=dialect)
