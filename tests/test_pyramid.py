"""The pyramid: CDNOW's tiers, and every size against a plain count of who is worth more."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import customers, open_dataset, pareto, pyramid
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


@pytest.mark.parametrize(("shares", "step"), [(pyramid.SHARES, 1), ((0.01, 0.04, 0.15, 0.80), 7)])
def test_every_size_from_1_to_200(shares, step):
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

    fallen = pyramid.fallen(changed).to_pandas()
    expected = {who for who, tier in old["tier"].items() if rank(tier) < 2 <= rank(new.at[who, "tier"])}
    assert set(fallen["customer_id"]) == expected
    assert len(fallen) == len(expected)
    for row in fallen.itertuples():
        assert row.growth == pytest.approx(new.at[row.customer_id, "value"] - old.at[row.customer_id, "value"])
    assert fallen["value_before"].is_monotonic_decreasing


def test_cdnow_moves_over_a_year(shop):
    before, now = (pyramid.tiers(shop.customers(dt.date(year, 6, 30))).cache() for year in (1997, 1998))
    moves = pyramid.moves(pyramid.changes(before, now))
    sizes = pyramid.sizes(before).set_index("tier")["customers"]
    assert moves.groupby("tier_before")["customers"].sum()[list(pyramid.TIERS)].to_dict() == sizes.to_dict()
    assert moves["customers"].sum() == 23_570  # everybody joined in the first quarter of 1997
    assert pyramid.NOT_YET not in set(moves["tier_before"])


def test_speaks_other_dialects(dialect):
    before, now = (
        pyramid.tiers(ibis.table({"customer_id": "string", "value": "float64"}, name=name))
        for name in ("before", "now")
    )
    changed = pyramid.changes(before, now)
    for expression in (now, changed, pyramid.fallen(changed)):
        assert "OVER" in ibis.to_sql(expression, dialect=dialect)
