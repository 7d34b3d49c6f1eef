"""Which new customers will become valuable, judged by old ones whose first days were alike."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table, transaction_lines
from crm_analysis.errors import Unanswerable

ROWS = 20_000  # old, and new, customers that leave the engine; more would hardly bring nearer neighbours
ENOUGH = 100  # old customers from which others can be judged, and on whom a judgement can be checked
PARTS = 12  # into which the time after the first days is cut: new customers are at different points of it
NEIGHBOURS = (15, 30, 60, 120)  # numbers of neighbours to choose from; fewer give no quantiles
LOW, HIGH = 0.10, 0.90  # quantiles of the neighbours that an interval reaches from and to
FOLDS = 5
BEST = 0.20  # share of customers, judged best, whose share of the value tells how good the judgement is
LEAST = 0.01  # of the mean amount: less counts as this, because nothing has no logarithm
WORTH = 0.01  # part of the error that attributes have to save
VALUES = 10  # most frequent values of an attribute that customers are told apart by
ATTRIBUTES = ("kind", "region", "acquired_via")
TIE = 1e-6  # weight of the order of joining: nothing beside any feature, but it decides between equals


@dataclass(frozen=True)
class Judgement:
    """What was learnt from old customers: their features and what each brought later.

    Attributes
    ----------
    old
        The old customers learnt from, those who joined last first.
    neighbours
        How many of them judge a new one.
    in_proportion
        What neighbours brought later counts in proportion to what a new customer and they spent in the first days:
        right where who spends twice as much goes on so.
    attributes
        Columns beyond the first days by which customers are told apart; empty where that did not help.
    """

    old: pd.DataFrame = field(repr=False)
    neighbours: int
    in_proportion: bool
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Validation:
    """How well old customers judged others whose first year is known too.

    Attributes
    ----------
    held
        One row per customer who was judged: `customer_id`, `expected`, `low`, `high`, `actual` (value of the first
        year), `early` (value of the first days), `scaled` (that times what all bring in the year for each unit of money
        in the first days) and `mean` (of those learnt from).
    since
        The first purchase of the first customer who was judged, if those who joined last were; None where the history
        is too short for that: then every other customer judged the rest.
    learnt_from
        How many customers judged them.
    """

    held: pd.DataFrame = field(repr=False)
    since: dt.date | None
    learnt_from: int


def first_days(
    transactions: Table,
    products: Table | None = None,
    customers: Table | None = None,
    *,
    as_of: dt.date,
    early_days: int = 60,
    horizon_days: int = 365,
) -> ir.Table:
    """Return what customers did in their first days, and what they have brought since.

    The first days and the year (the horizon) are counted from the first purchase. Value is profit where costs are
    known, else revenue; returns of any day count, service costs do not, as they are not known by the days of a year.

    Parameters
    ----------
    transactions
        Clean transactions; those after the as-of date are not read.
    products
        Their `unit_cost` is the cost of lines without one, and their `category` tells kinds of products apart.
    customers
        The customers table, of which `kind`, `region` and `acquired_via` are taken where they are there.
    as_of
        The date of the analysis.
    early_days, horizon_days
        Length of the first days and of the year, in days.

    Returns
    -------
    ibis.Table
        One row per customer whose first days are over: `customer_id`, `first_purchase`, `age` (days since then);
        of the first days `purchases`, `amount` (net), `largest` (purchase), `second_after` (days to the second
        purchase; `early_days` without one), `returned` (amount of returns as a share of what was bought), `early`
        (value); where known, `products` and `categories` (distinct), `discount` (share of the list price) and `margin`
        (value as a share of the amount); `so_far` (value of the year by now), `later_1` to `later_12` (value in each
        twelfth of the time from the first days to the end of the year) and the attributes.
    """
    if not 0 < early_days <= horizon_days - PARTS:
        raise ValueError(f"0 < early_days <= horizon_days - {PARTS} must hold, not {early_days}, {horizon_days}")
    lines = transaction_lines(transactions, products, until=as_of)
    costs, listed = "cost" in lines.columns, "list_amount" in lines.columns
    prices = {}
    if listed:
        sold = lines["list_amount"].notnull() & (lines["amount"] >= 0)
        prices = {"listed": lines["list_amount"].sum(where=sold), "paid": lines["amount"].sum(where=sold)}
    days = lines.group_by("customer_id", "date").aggregate(
        amount=lines["amount"].sum(),
        value=lines["value"].sum(),
        back=-lines["amount"].sum(where=lines["amount"] < 0),
        **prices,
    )
    bought = days.filter(days["amount"] >= 0)
    first = bought.group_by(buyer="customer_id").aggregate(first_purchase=bought["date"].min())
    first = first.mutate(age=ibis.literal(as_of).delta(first["first_purchase"], unit="day"))
    first = first.filter(first["age"] >= early_days)
    days = days.inner_join(first, days["customer_id"] == first["buyer"])
    days = days.mutate(day=days["date"].delta(days["first_purchase"], unit="day"))
    days = days.filter((days["day"] >= 0) & (days["day"] < horizon_days))
    day, early, purchase = days["day"], days["day"] < early_days, days["amount"] >= 0

    def money(name: str, where: ir.BooleanValue | None = None) -> ir.FloatingValue:
        return days[name].sum(where=where).cast("float64").fill_null(0.0)

    edges = _edges(early_days, horizon_days).astype(int).tolist()
    parts = {f"later_{i + 1}": money("value", (day >= edges[i]) & (day < edges[i + 1])) for i in range(PARTS)}
    found = days.group_by("customer_id").aggregate(
        first_purchase=days["first_purchase"].min(),
        age=days["age"].min(),
        purchases=days["date"].count(where=early & purchase),
        amount=money("amount", early),
        largest=days["amount"].max(where=early).cast("float64"),
        second_after=day.min(where=early & purchase & (day > 0)).fill_null(early_days),
        returned=money("back", early) / (money("amount", early) + money("back", early)).nullif(0),
        **({"discount": 1 - money("paid", early) / money("listed", early).nullif(0)} if listed else {}),
        **({"margin": money("value", early) / money("amount", early).nullif(0)} if costs else {}),
        early=money("value", early),
        so_far=money("value"),
        **parts,
    )
    if "product_id" in lines.columns:
        found = _with_products(found, lines, first, products, early_days)
    if customers is None:
        return found
    known = as_table(customers)
    attributes = [name for name in ATTRIBUTES if name in known.columns]
    joined = found.left_join(known.select("customer_id", *attributes), "customer_id")
    return joined.select(*found.columns, *attributes)


def old_customers(customers: Table, horizon_days: int = 365) -> pd.DataFrame:
    """Return those whose first year is over, who joined last first: at most 20,000, at equal distances.

    Equals are in an order that does not depend on their identifiers, so that pseudonyms change no figure.

    Raises `Unanswerable` if there are fewer than 100, or all joined within four weeks: they were probably customers
    before the data begin, so that these were not their first days.
    """
    table = as_table(customers)
    old = table.filter(table["age"] >= horizon_days)
    count = int(old.count().execute())
    if count < ENOUGH:
        who = {0: "No customer has", 1: "Only 1 customer has"}.get(
            count, f"Only {numerals.count(count)} customers have"
        )
        raise Unanswerable(f"{who} been known for {horizon_days} days; {ENOUGH} are needed to judge others by them.")
    if count > ROWS:
        placed = old.mutate(place=ibis.row_number().over(order_by=_most_first(old, "first_purchase")))
        place = placed["place"]
        old = placed.filter(place * ROWS // count < (place + 1) * ROWS // count).drop("place")
    found = _dated(old.order_by(_most_first(old, "first_purchase")).to_pandas())
    if found["first_purchase"].max() - found["first_purchase"].min() < pd.Timedelta(weeks=4):
        raise Unanswerable(
            f"All {numerals.count(count)} customers known for {horizon_days} days first bought within four weeks, as "
            "the data begin; "
            "nobody's true first days are known, by which others could be judged."
        )
    return found


def new_customers(customers: Table, horizon_days: int = 365) -> pd.DataFrame:
    """Return those known for less than a year, their first days over; of more than 20,000 who have brought most."""
    table = as_table(customers)
    new = table.filter(table["age"] < horizon_days)
    return _dated(new.order_by(_most_first(new, "so_far")).limit(ROWS).to_pandas())


def learn(old: pd.DataFrame) -> Judgement:
    """Return how to judge new customers: by how many neighbours, in proportion or not, and by attributes or not.

    What foretells best the first year's value of each fifth of the old customers from the other four, by mean
    absolute error, is taken; of equals no proportion and the most neighbours. Attributes have to make the error smaller
    by more than 1 %, because by chance they may help a little.
    """
    attributes = tuple(name for name in ATTRIBUTES if name in old.columns and old[name].nunique() > 1)
    fold = np.arange(len(old)) % FOLDS
    errors: dict[tuple[int, bool, int], float] = defaultdict(float)
    for chosen, part in product(sorted({(), attributes}), range(FOLDS)):
        known, asked = old[fold != part], old[fold == part]
        nearest = _nearest(known, asked, max(NEIGHBOURS), chosen)
        later = _later(known).sum(axis=1)[nearest]
        rest = (asked["so_far"] - asked["early"]).to_numpy(float)
        for k, in_proportion in product(NEIGHBOURS, (False, True)):
            size = _size(known, asked, nearest[:, :k]) if in_proportion else 1
            off = (later[:, :k] * size).mean(axis=1) - rest
            errors[len(chosen), in_proportion, -k] += float(np.abs(off).mean())
    best = min(errors, key=lambda way: (round(errors[way] * (1 + WORTH * bool(way[0])), 9), way))
    return Judgement(old, min(-best[2], len(old)), best[1], attributes[: best[0]])


def judge(judgement: Judgement, new: pd.DataFrame, *, early_days: int = 60, horizon_days: int = 365) -> pd.DataFrame:
    """Return what new customers will have brought by the end of their first year.

    What a customer has brought is known, up to the end of the as-of date. What is still to come is what the neighbours,
    the old customers whose first days were most alike, brought at later ages: their mean, and 10 % and 90 % quantiles.
    Near means near in the features of `first_days`, money and counts as logarithms, each standardised over the old
    customers. Of equally near ones those who joined last count.

    Returns
    -------
    pandas.DataFrame
        In the order of `new`: `customer_id`, `expected` (value of the first year), `low`, `high`, `so_far`,
        `still_expected` and `first_purchase`.
    """
    edges = _edges(early_days, horizon_days)
    known = new["age"].to_numpy(float)[:, None] + 1  # days, as the first is at age 0
    ahead = np.clip((edges[1:] - known) / np.diff(edges), 0, 1)  # share of each part that is still to come
    nearest = _nearest(judgement.old, new, judgement.neighbours, judgement.attributes)
    rest = np.zeros(nearest.shape)
    for part, later in enumerate(_later(judgement.old).T):
        rest += later[nearest] * ahead[:, [part]]
    if judgement.in_proportion:
        rest *= _size(judgement.old, new, nearest)
    low, high = np.quantile(rest, [LOW, HIGH], axis=1)
    so_far = new["so_far"].to_numpy(float)
    return new[["customer_id"]].assign(
        expected=so_far + rest.mean(axis=1),
        low=so_far + low,
        high=so_far + high,
        so_far=so_far,
        still_expected=rest.mean(axis=1),
        first_purchase=new["first_purchase"],
    )


def validate(old: pd.DataFrame, *, early_days: int = 60, horizon_days: int = 365) -> Validation:
    """Return what would have been expected of customers whose first year is known, beside what they brought.

    The quarter of them who joined last are judged at the end of their first days, by those whose first year was over
    when the first of that quarter were that far: nothing that came later is used, not even to choose the number of
    neighbours. Where fewer than 100 were, every other customer, in the order of joining, judges the rest.
    """
    cut = old["first_purchase"].sort_values().iloc[len(old) * 3 // 4]
    over = old["first_purchase"] <= cut - pd.Timedelta(days=horizon_days - early_days)
    in_time = over.sum() >= ENOUGH
    even = np.arange(len(old)) % 2 == 0
    known, asked = (old[over], old[old["first_purchase"] >= cut]) if in_time else (old[even], old[~even])
    then = asked.assign(age=early_days - 1, so_far=asked["early"])
    judged = judge(learn(known), then, early_days=early_days, horizon_days=horizon_days)
    held = judged[["customer_id", "expected", "low", "high"]].assign(
        actual=asked["so_far"],
        early=asked["early"],
        scaled=asked["early"] * known["so_far"].sum() / (known["early"].sum() or np.nan),
        mean=known["so_far"].mean(),
    )
    return Validation(held.reset_index(drop=True), cut.date() if in_time else None, len(known))


def errors(held: pd.DataFrame) -> dict[str, float]:
    """Return how good the judgement was.

    Returns
    -------
    dict
        `mae`, `mae_scaled` and `mae_mean` (mean absolute error, in money, of the judgement, of the first days scaled
        up and of the mean of all); `rank_correlation` (Spearman, of `expected` and `actual`; NaN if all are equal),
        `top_share`, `top_early` and `top_perfect` (share of the value brought by the 20 % judged best, by the 20 % who
        had brought most in the first days, and by the 20 % who did bring most; NaN if the total is not above 0) and
        `covered` (share of the customers within their interval).
    """
    actual = held["actual"]
    tops = {"top_share": "expected", "top_early": "early", "top_perfect": "actual"}
    alike = min(held["expected"].nunique(), actual.nunique()) < 2
    return {
        "mae": float((held["expected"] - actual).abs().mean()),
        "mae_scaled": float((held["scaled"] - actual).abs().mean()),
        "mae_mean": float((held["mean"] - actual).abs().mean()),
        "rank_correlation": float("nan") if alike else float(held["expected"].corr(actual, method="spearman")),
        **{name: _share_of_best(held[by], actual) for name, by in tops.items()},
        "covered": float(actual.between(held["low"], held["high"]).mean()),
    }


def compared(errors: dict[str, float]) -> pd.DataFrame:
    """Return `errors` beside those of simpler guesses: `judged_by`, `mean_error` and `share_of_best_fifth`."""
    rows = [
        ("neighbours", errors["mae"], errors["top_share"]),
        ("the first days, scaled up", errors["mae_scaled"], errors["top_early"]),
        ("the mean of all", errors["mae_mean"], BEST),
        ("who did bring most", 0.0, errors["top_perfect"]),
    ]
    return pd.DataFrame(rows, columns=["judged_by", "mean_error", "share_of_best_fifth"])


def by_fifth(held: pd.DataFrame) -> pd.DataFrame:
    """Return the mean `expected` and `actual` value of `customers` by `fifth` (1: of whom most was expected).

    Equals stay together, so fifths may differ in size, or be missing.
    """
    above = held["expected"].rank(method="average", ascending=False) - 0.5
    fifth = (above / len(held) * 5).astype(int) + 1
    found = held.groupby(fifth.rename("fifth")).agg(
        customers=("expected", "size"), expected=("expected", "mean"), actual=("actual", "mean")
    )
    return found.reset_index()


def _with_products(
    found: ir.Table, lines: ir.Table, first: ir.Table, products: Table | None, early_days: int
) -> ir.Table:
    """Add how many distinct products, and categories where these are known, a customer bought in the first days."""
    bought = lines.filter(lines["amount"] >= 0).select("customer_id", "date", "product_id")
    bought = bought.inner_join(first, bought["customer_id"] == first["buyer"])
    day = bought["date"].delta(bought["first_purchase"], unit="day")
    bought = bought.filter((day >= 0) & (day < early_days))
    kinds = {"products": "product_id"}
    if products is not None and "category" in as_table(products).columns:
        categories = as_table(products).select(product="product_id", category="category")
        bought = bought.left_join(categories, bought["product_id"] == categories["product"])
        kinds["categories"] = "category"
    counted = bought.group_by("buyer").aggregate(**{name: bought[kind].nunique() for name, kind in kinds.items()})
    joined = found.left_join(counted, found["customer_id"] == counted["buyer"]).drop("buyer")
    return joined.mutate(**{name: joined[name].fill_null(0) for name in kinds})


def _edges(early_days: int, horizon_days: int) -> np.ndarray:
    """Return the days that the parts after the first days begin at, and the end."""
    return np.linspace(early_days, horizon_days, PARTS + 1).round()


def _most_first(customers: ir.Table, name: str) -> list[Any]:
    """Return what puts customers in an order in which only between equals in everything the identifier decides."""
    others = [other for other in customers.columns if other not in (name, "customer_id")]
    return [ibis.desc(name), *others, "customer_id"]


def _later(old: pd.DataFrame) -> np.ndarray:
    return old[[f"later_{part + 1}" for part in range(PARTS)]].to_numpy(float)


def _dated(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(first_purchase=pd.to_datetime(frame["first_purchase"]))


def _share_of_best(judged: pd.Series, actual: pd.Series) -> float:
    """Return the share of the actual value that the 20 % judged best brought; equals at the edge count in part."""
    sums = actual.groupby(-judged).agg(["size", "sum"]).cumsum()
    total = actual.sum()
    brought = np.interp(BEST * len(actual), np.append(0, sums["size"]), np.append(0, sums["sum"]))
    return float(brought / total) if total > 0 else float("nan")


def _size(old: pd.DataFrame, new: pd.DataFrame, nearest: np.ndarray) -> np.ndarray:
    """Return how many times as much each new customer spent in the first days as the neighbours did: 1/2 to 2."""
    around = old["amount"].to_numpy(float)[nearest].mean(axis=1)
    own = new["amount"].to_numpy(float)
    return np.clip(np.where(around > 0, own / np.where(around > 0, around, 1), 1), 0.5, 2)[:, None]


def _nearest(old: pd.DataFrame, new: pd.DataFrame, k: int, attributes: tuple[str, ...]) -> np.ndarray:
    """Return the places of the k old customers nearest to each new one, nearest first."""
    from sklearn.neighbors import NearestNeighbors

    least = LEAST * max(old["amount"].mean(), 0) or LEAST
    features = [name for name in ("discount", "margin", "returned", "second_after") if name in old.columns]
    counts = [name for name in ("purchases", "products", "categories") if name in old.columns]
    matrices = []
    for frame in (old, new):
        usual = frame[features].astype(float).fillna(old[features].astype(float).mean()).fillna(0.0)
        logs = np.log(frame[["amount", "largest"]].astype(float).fillna(0.0).clip(lower=least))
        matrices.append(np.hstack([usual, logs, np.log1p(frame[counts].astype(float))]))
    scale = matrices[0].std(axis=0)
    scale[scale < 1e-9] = np.inf  # what does not differ tells nothing
    kinds = [(name, value) for name in attributes for value in old[name].value_counts().index[:VALUES]]
    places = [np.arange(len(old)) / len(old) * TIE, np.zeros(len(new))]
    points = [
        np.column_stack([matrix / scale, *(frame[name].eq(value) for name, value in kinds), place])
        for matrix, frame, place in zip(matrices, (old, new), places, strict=True)
    ]
    k = min(k, len(old))
    if new.empty:
        return np.zeros((0, k), int)
    return NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(points[0]).kneighbors(points[1])[1]
