"""The active list, the composite ranking and the key customers of categories, against plain Python."""

from __future__ import annotations

import datetime as dt
import io
import math
import warnings
from collections import defaultdict
from itertools import pairwise

import ibis
import matplotlib as mpl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_analysis import charts, customers, open_dataset, ranking
from crm_analysis.errors import Unanswerable

START, AS_OF = dt.date(2024, 1, 1), dt.date(2024, 3, 1)
HOSTILE = "$x_1$ <b>'; --"
PRODUCTS = pd.DataFrame(
    {"product_id": ["p", "q", "r", "s"], "category": ["tools", "tools", HOSTILE, None], "unit_cost": [1.0, 2, 3, 4]}
)
WEIGHTS = dict(zip(ranking.CRITERIA, (0.35, 0.2, 0.2, 0.1, 0.15), strict=True))

logs = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", "e", HOSTILE]),
        st.integers(0, 50),
        st.sampled_from([-30, 0, 10, 20, 30]),
        st.sampled_from(["p", "q", "r", "s", "unlisted", None]),
    ),
    min_size=1,
    max_size=40,
)
several_weights = st.lists(st.sampled_from([0, 0.1, 0.2, 1, 7]), min_size=5, max_size=5).filter(any)


def as_log(rows: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["customer_id", "day", "amount", "product_id"])
    return frame.assign(
        date=[START + dt.timedelta(days=day) for day in frame.pop("day")],
        amount=frame["amount"].astype(float),
        product_id=frame["product_id"].astype("string"),
        quantity=1.0,
    )


def naive_criteria(rows: list[tuple]) -> dict[str, tuple]:
    """Last purchase, purchases, purchased, largest purchase and products of all who have bought."""
    days: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for who, day, amount, _ in rows:
        days[who][day] += amount
    found = {}
    for who, amounts in days.items():
        bought = {day: amount for day, amount in amounts.items() if amount >= 0}
        products = {product for one, _, amount, product in rows if one == who and amount >= 0 and product}
        if bought:
            last = START + dt.timedelta(days=max(bought))
            found[who] = (last, len(bought), sum(bought.values()), max(bought.values()), len(products))
    return found


def measured(rows: list[tuple], **standard) -> ibis.Table:
    """The active customers of a log with their criteria; the value is the revenue."""
    log = as_log(rows)
    listed = ranking.active(customers.summary(log, as_of=AS_OF), AS_OF, **({"days": 99} | standard))
    return ranking.criteria(listed, customers.purchases(log), log)


@settings(max_examples=25, deadline=None)
@given(logs, st.integers(10, 60), st.integers(1, 3), st.sampled_from([0, 30, 60]))
def test_the_active_list_agrees_with_plain_python(rows, days, purchases, amount):
    found = measured(rows, days=days, purchases=purchases, amount=amount).to_pandas()
    ours = {
        row.customer_id: (
            *(pd.Timestamp(row.last_purchase).date(), row.purchases, row.purchased, row.largest_purchase, row.products),
        )
        for row in found.itertuples()
    }
    assert ours == {
        who: facts
        for who, facts in naive_criteria(rows).items()
        if (AS_OF - facts[0]).days <= days and facts[1] >= purchases and facts[2] >= amount
    }


@settings(max_examples=25, deadline=None)
@given(logs, several_weights, st.sampled_from([0.2, 0.5]))
def test_the_composite_ranking_agrees_with_plain_python(rows, weights, share):
    facts = naive_criteria(rows)
    if not facts:
        return
    found = ranking.composite(measured(rows), dict(zip(ranking.CRITERIA, weights, strict=True)), share).to_pandas()
    others = max(len(facts) - 1, 1)
    score = {
        who: sum(
            weight * sum(other[place] < own[place] for other in facts.values()) for place, weight in enumerate(weights)
        )
        / sum(weights)
        / others
        for who, own in facts.items()
    }
    place = {who: (round(score[who], 8), facts[who][0]) for who in facts}
    value = as_log(rows).groupby("customer_id")["amount"].sum()[list(facts)]
    assert set(found["customer_id"]) == set(facts)
    for row in found.itertuples():
        better = sum(other > place[row.customer_id] for other in place.values())
        richer = (value > value[row.customer_id]).sum()
        assert row.score == pytest.approx(score[row.customer_id], abs=1e-8)
        assert (row.rank, row.value_rank) == (better + 1, richer + 1)
        assert (row.key, row.key_by_value) == (better < len(facts) * share, richer < len(facts) * share)
    expected = found.sort_values(["rank", "customer_id"])["customer_id"].to_list()
    assert found["customer_id"].to_list() == expected


@settings(max_examples=10, deadline=None)
@given(logs.filter(naive_criteria), st.randoms())
def test_row_order_changes_nothing(rows, random):
    one = ranking.composite(measured(rows), WEIGHTS, 0.3).to_pandas()
    other = ranking.composite(measured(random.sample(rows, len(rows))), WEIGHTS, 0.3).to_pandas()
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def ranked(*rows: tuple, weights=WEIGHTS, share=0.2) -> pd.DataFrame:
    """Rank (last purchase, purchases, purchased, largest purchase) by customer."""
    frame = pd.DataFrame(rows, columns=["customer_id", *ranking.CRITERIA[:4]]).assign(value=lambda t: t["purchased"])
    return ranking.composite(frame, weights, share).to_pandas().set_index("customer_id")


def test_equal_scores_are_told_apart_by_the_last_purchase_and_else_share_a_rank():
    early, late = dt.date(2024, 1, 1), dt.date(2024, 2, 1)
    even = {"last_purchase": 1, "purchases": 1}
    found = ranked(("a", early, 2, 9.0, 9.0), ("b", late, 1, 9.0, 9.0), ("c", early, 2, 9.0, 9.0), weights=even)
    assert found["score"].to_dict() == {"a": 0.25, "b": 0.5, "c": 0.25}
    found = ranked(("a", early, 2, 1.0, 1.0), ("b", late, 1, 1.0, 1.0), weights=even)
    assert found["score"].to_list() == [0.5, 0.5]
    assert found["rank"].to_dict() == {"b": 1, "a": 2}
    found = ranked(("b", early, 2, 1.0, 1.0), ("a", early, 2, 1.0, 1.0), ("c", early, 2, 1.0, 1.0))
    assert found["rank"].to_list() == [1, 1, 1]
    assert found["key"].all()
    assert ranked(("a", early, 2, 1.0, 1.0))[["score", "rank"]].to_numpy().tolist() == [[0, 1]]


def test_equal_sums_of_different_criteria_are_equal():
    """0.1 + 0.2 of one customer are the 0.3 of another, in spite of floats."""
    same = START
    rows = [("a", same, 1, 5.0, 5.0), ("b", same, 5, 1.0, 1.0)]
    found = ranked(*rows, weights={"purchased": 0.1, "largest_purchase": 0.2, "purchases": 0.1 + 0.2})
    assert found["score"].nunique() == 1
    assert found["rank"].to_list() == [1, 1]


def test_the_weight_of_a_missing_criterion_is_spread_over_the_others():
    there = ranking.CRITERIA[:4]
    assert ranking.proportions(WEIGHTS, ranking.CRITERIA) == pytest.approx(WEIGHTS)
    spread = ranking.proportions(WEIGHTS, there)
    assert spread == pytest.approx({name: WEIGHTS[name] / 0.85 for name in there})
    assert ranking.proportions({"purchases": 3, "products": 0}, there) == {"purchases": 1}
    with pytest.raises(Unanswerable, match=r"\(products\)"):
        ranking.proportions({"products": 1}, there)
    log = as_log([("a", 1, 10, "p"), ("b", 2, 20, "p")]).drop(columns="product_id")
    found = ranking.criteria(customers.summary(log, as_of=AS_OF), customers.purchases(log), log)
    assert "products" not in found.columns
    assert ranking.composite(found, WEIGHTS, 0.5).to_pandas()["score"].to_list() == pytest.approx([0.65 / 0.85, 0])


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"purchases": 0},
        {"purchases": -1, "products": 2},
        {"purchases": math.nan},
        {"products": math.inf},
        {"age": 1},
    ],
)
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r"weights|criteria"):
        ranking.proportions(weights, ranking.CRITERIA)


@pytest.mark.parametrize("standard", [{"days": 0}, {"purchases": 0}, {"amount": -1}, {"amount": math.nan}])
def test_an_impossible_standard_is_refused(standard):
    with pytest.raises(ValueError, match="active customer"):
        measured([("a", 1, 10, "p")], **standard)


def test_what_the_active_list_brings():
    everyone = customers.summary(as_log([("a", 1, 30, "p"), ("b", 50, 10, "p"), ("c", 50, -20, "p")]), as_of=AS_OF)
    found = ranking.active_share(everyone, ranking.active(everyone, AS_OF, days=20))
    assert found == {"customers": 1, "of": 3, "customer_share": 1 / 3, "value": 10, "value_share": 0.5}
    with pytest.raises(Unanswerable, match="nobody to rank"):
        ranking.active_share(everyone, ranking.active(everyone, AS_OF, days=1))
    limit = (AS_OF - START).days - 50
    assert ranking.active(everyone, AS_OF, days=limit).to_pandas()["customer_id"].to_list() == ["b"]


def test_the_best_who_are_not_active():
    everyone = customers.summary(as_log([("a", 1, 30, "p"), ("b", 50, 20, "p"), ("c", 2, 10, "p")]), as_of=AS_OF)
    listed = ranking.active(everyone, AS_OF, days=20)
    found = ranking.best_not_active(everyone, listed, AS_OF, 0.6).to_pandas()
    assert found[["customer_id", "value", "silence"]].to_numpy().tolist() == [["a", 30, 59]]
    assert ranking.best_not_active(everyone, everyone, AS_OF, 1).to_pandas().empty


def test_movers_are_those_who_change_most():
    frame = pd.DataFrame(
        [("a", 1, 9), ("b", 2, 5), ("c", 3, 3), ("d", 9, 1), ("e", 7, 2), ("f", 20, 15)],
        columns=["customer_id", "value_rank", "rank"],
    ).assign(value=1.0, key=lambda t: t["rank"] <= 3, key_by_value=lambda t: t["value_rank"] <= 3)
    assert ranking.movers(frame, 1)["customer_id"].to_list() == ["a", "d"]
    assert ranking.movers(frame, 9)["customer_id"].to_list() == ["a", "b", "e", "d"]
    assert ranking.movers(frame.head(0), 9).empty
    with pytest.raises(ValueError, match="at least one"):
        ranking.movers(frame, 0)


@settings(max_examples=15, deadline=None)
@given(logs, st.sampled_from([0.2, 0.5]))
def test_key_customers_of_categories_agree_with_plain_python(rows, share):
    log, cost = as_log(rows), {"p": 1, "q": 2, "r": 3, "s": 4}
    everyone = customers.summary(log, PRODUCTS, as_of=AS_OF).select("customer_id", "value")
    value = dict(everyone.to_pandas().itertuples(index=False, name=None))
    category = dict(PRODUCTS[["product_id", "category"]].dropna().itertuples(index=False, name=None))
    worth: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for who, _, amount, product in rows:
        if product in category:
            worth[category[product]][who] += amount - cost[product]

    table = ranking.by_category(log, PRODUCTS)
    found = {(row.category, row.customer_id): row.value for row in table.to_pandas().itertuples()}
    assert found == {(name, who): own for name, all_ in worth.items() for who, own in all_.items()}

    key = ranking.key_in_category(table, everyone, share)
    frame = key.to_pandas()
    expected = {}
    for name, all_ in worth.items():
        more = {who: sum(v > own for v in all_.values()) for who, own in all_.items()}
        first = {who: all_[who] for who in all_ if more[who] < len(all_) * share}
        for who, own in first.items():
            again = sum(v > own for v in first.values()) < len(first) * share
            above = sum(v > value[who] for v in value.values())
            if own > 0:
                overall = (value[who], above + 1, above < len(value) * share)
                expected[name, who] = (own, more[who] + 1, again, *overall)
    columns = ["value", "rank", "second_screening", "overall_value", "overall_rank", "overall_key"]
    assert frame.set_index(["category", "customer_id"])[columns].T.to_dict("list") == {
        pair: list(facts) for pair, facts in expected.items()
    }

    if not worth:
        with pytest.raises(Unanswerable, match="category"):
            ranking.categories(table, key)
        return
    for row in ranking.categories(table, key).itertuples():
        ours = [facts for (name, _), facts in expected.items() if name == row.category]
        total = sum(worth[row.category].values())
        assert (row.customers, row.value) == (len(worth[row.category]), total)
        assert (row.key_customers, row.key_value) == (len(ours), sum(facts[0] for facts in ours))
        assert (row.only_here, row.second_screening) == (sum(not f[-1] for f in ours), sum(f[2] for f in ours))
        screened = sum(facts[0] for facts in ours if facts[2])
        shares = (row.key_value / total, screened / total) if total > 0 else (math.nan, math.nan)
        assert (row.value_share, row.second_screening_share) == pytest.approx(shares, nan_ok=True)

    main = ranking.main_category(key).to_pandas().set_index("customer_id")
    best = defaultdict(list)
    for (name, who), facts in expected.items():
        best[who].append((-facts[0], name))
    assert main["category"].to_dict() == {who: min(options)[1] for who, options in best.items()}
    assert main["categories"].to_dict() == {who: len(options) for who, options in best.items()}


def test_cdnow_active_list_and_ranking(cdnow):
    data = open_dataset(cdnow)
    everyone, bought = data.customers().cache(), data.purchases()
    listed = ranking.active(everyone, data.as_of, days=119).cache()
    found = ranking.active_share(everyone, listed)
    assert found["customers"] == 4_250
    assert round(found["value_share"], 4) == 0.5013
    assert ranking.best_not_active(everyone, listed, data.as_of, 0.20).count().execute() == 2_104
    frame = ranking.composite(ranking.criteria(listed, bought, data.table("transactions")), WEIGHTS, 0.20).to_pandas()

    # The same, from pandas.
    part = frame[["customer_id", "last_purchase", "purchases", "purchased", "largest_purchase", "value"]]
    below = {name: (part[name].rank(method="min") - 1) / (len(part) - 1) for name in ranking.CRITERIA[:4]}
    score = sum(below[name] * WEIGHTS[name] for name in below) / 0.85
    pd.testing.assert_series_equal(frame["score"], score, check_names=False, atol=1e-8)
    assert (frame["key"].sum(), (frame["key"] & ~frame["key_by_value"]).sum()) == (850, 289)


def test_finds_the_category_specialists_of_the_sample_company(sample, truth):
    data = open_dataset(sample)
    worth = ranking.by_category(data.table("transactions"), data.table("products")).cache()
    key = ranking.key_in_category(worth, data.customers(), 0.20).cache()
    frame = ranking.main_category(key.filter(~key["overall_key"])).to_pandas().set_index("customer_id")
    for category, planted in truth["category_specialists"].items():
        assert frame["category"].reindex(planted).to_list() == [category] * len(planted)
    assert len(frame) == 146  # the others have one main category too, but not the only one: nobody planted them


def test_speaks_other_dialects(dialect):
    money = "decimal(18, 6)"
    log = ibis.table(
        {"customer_id": "string", "date": "date", "amount": money, "product_id": "string", "cost": money},
        name="transactions",
    )
    products = ibis.table({"product_id": "string", "category": "string"}, name="products")
    everyone = customers.summary(log, products, as_of=AS_OF)
    listed = ranking.active(everyone, AS_OF, days=30)
    key = ranking.key_in_category(ranking.by_category(log, products), everyone, 0.2)
    for expression in (
        ranking.best_not_active(everyone, listed, AS_OF, 0.2),
        ranking.composite(ranking.criteria(listed, customers.purchases(log), log), WEIGHTS, 0.2),
        ranking.main_category(key),
    ):
        assert "memtable" not in ibis.to_sql(expression, dialect=dialect)  # Spark joins views, not memtables


@pytest.fixture
def strict():
    """Turn warnings into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def ranks(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["name", "rank_before", "rank_after"])


@pytest.mark.usefixtures("strict")
class TestCharts:
    def saved(self, figure):
        figure.savefig(io.BytesIO(), format="png", dpi=150)
        return figure

    def test_rank_changes_draw_and_colour_every_customer(self):
        frame = ranks((HOSTILE, 1, 400), ("a very long name of a customer", 1000, 2), ("c", 5, 5))
        ax = self.saved(charts.rank_changes(frame, "before", "after", 20, "top 20%")).axes[0]
        lines = [line for line in ax.lines if len(line.get_xdata()) == 2]
        assert [[round(10**y) for y in line.get_ydata()] for line in lines] == [[1, 400], [1000, 2], [5, 5]]
        assert len({line.get_color() for line in lines}) == 3
        written = [text.get_text() for text in ax.texts]
        assert written[0] == "top 20%"
        assert sorted(written[1:4]) == sorted([f"{HOSTILE}  1", "a very long nam…  1,000", "c  5"])
        assert not any(text.get_parse_math() for text in ax.texts)

    @pytest.mark.parametrize("rows", [0, 1, 2, 10])
    def test_rank_changes_of_any_number(self, rows):
        frame = ranks(*((f"c{i}", 1 + i, 1 + i * i) for i in range(rows)))
        figure = self.saved(charts.rank_changes(frame, "before", "after", 1, "top"))
        boxes = sorted(
            (mpl.text.Text.get_window_extent(text).y0, mpl.text.Text.get_window_extent(text).y1)
            for text in figure.axes[0].texts
            if text.get_ha() == "left"
        )
        assert all(lower[1] <= upper[0] + 3 for lower, upper in pairwise(boxes))

    def test_category_keys_split_each_bar(self):
        frame = pd.DataFrame({"category": [HOSTILE, "b"], "key_customers": [1234, 0], "only_here": [234, 0]})
        figure = self.saved(charts.category_keys(frame))
        ax = figure.axes[0]
        assert [bar.get_width() for bar in ax.patches] == [1234, 0, 1000, 0]
        assert [text.get_text() for text in ax.texts] == ["234 of 1,234", "0 of 0"]
        assert [label.get_text() for label in ax.get_yticklabels()] == [HOSTILE, "b"]
        self.saved(charts.category_keys(frame.head(0)))


def test_shares_of_a_loss_are_not_told():
    log = pd.DataFrame({"customer_id": ["a", "b"], "date": [AS_OF] * 2, "amount": [5.0, 6.0], "cost": [9.0, 4.0]})
    everyone = customers.summary(log, as_of=AS_OF)
    found = ranking.active_share(everyone, everyone)
    assert (found["customers"], found["value"], math.isnan(found["value_share"])) == (2, -2, True)
