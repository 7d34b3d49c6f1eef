"""Which kinds of customers there are: k-means clusters of how recently, how often and for how much they buy."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.numerals import plain

STEP = 0.1  # width of a cell on the scale of logarithms: customers within 5 % are alike
CELL = ["silence_step", "purchases_step", "amount_step"]
LEAST = 0.01  # of the mean amount of a purchase: less counts as this, because nothing has no logarithm
FEWEST, MOST = 3, 8  # clusters: two tell only who buys much from who buys little, nine are too many for a reader

# How a centre's purchases are called that lie below, between and above the quartiles of all customers.
WORDS = (
    ("newer", "as recent", "older"),
    ("rarer", "as frequent", "more frequent"),
    ("smaller", "as large", "larger"),
)


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes
    ----------
    criterion
        `clusters` (their number, from 2), `silhouette` (see `fit`) and `picked`.
    centres
        One row per cluster, the most valuable customers first: `cluster` (1, 2, …), `description` (unique: what its
        purchases are, compared with those of the middle half of all customers) and, typical of it, `silence` (days),
        `purchases` and `amount` (of a purchase).
    mean_amount
        The mean amount of a purchase, which the scale of amounts is made with.
    places, scale
        The centres (a row each) and the standard deviations of the customers, in steps of the cells.
    """

    criterion: pd.DataFrame
    centres: pd.DataFrame
    mean_amount: float
    places: np.ndarray
    scale: np.ndarray

    def __repr__(self) -> str:
        return f"<{len(self.centres)} clusters: {'; '.join(self.centres['description'])}>"


def fit(habits: Table, count: int = 0) -> Clusters:
    """Return the clusters into which customers fall by silence, number of purchases and amount of a purchase.

    The amount of a purchase, not the total, is the third dimension, because the total says once more how often they
    bought. All three are skewed and matter as ratios, so their logarithms (of silence: of days + 1) are standardised.
    Customers within steps of 0.1 of the logarithms share a cell; only the cells leave the engine, and k-means weighs
    each by its customers. Of 3 to 8 clusters those are taken whose simplified silhouette is highest, the fewer of
    equals: the mean over customers of 1 - a / b, a being the distance to the own and b to the nearest other centre.
    The silhouette of two is told as well; they are taken only where the customers are too much alike for three.

    Parameters
    ----------
    habits
        One row per customer (`rfm.habits`).
    count
        The number of clusters, from 2 to 8, that is wanted whatever the criterion says; 0: choose.

    Raises
    ------
    Unanswerable
        There are fewer than 3 distinct cells, or not more than the clusters that are wanted.

    Notes
    -----
    Source of the criterion: Hruschka, E. R., Campello, R. J. G. B. and de Castro, L. N. (2004), Improving the
    efficiency of a clustering genetic algorithm, IBERAMIA 2004.
    """
    if count and not 2 <= count <= MOST:
        raise ValueError(f"2 to {MOST} clusters can be wanted, or 0 to choose, not {count}")

    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    table = as_table(habits)
    spent, purchases = exact_sum(table["total_amount"]).cast("float64"), table["purchases"].sum()
    mean_amount = float(table.aggregate(mean=spent / purchases.nullif(0)).to_pandas()["mean"].fillna(0).iloc[0])
    celled = _celled(table, mean_amount)
    counted = celled.group_by(CELL).aggregate(
        customers=celled.count(), value=exact_sum(celled["value"]).cast("float64")
    )
    cells = counted.order_by(CELL).to_pandas()
    if len(cells) <= max(2, count):
        raise Unanswerable("The customers are too much alike for clusters to be told apart.")
    steps, weights = cells[CELL].to_numpy(float), cells["customers"].to_numpy(float)
    scale = np.sqrt(np.average((steps - np.average(steps, axis=0, weights=weights)) ** 2, axis=0, weights=weights))
    scale = np.where(scale > 0, scale, 1)
    points, found = steps / scale, {}
    with threadpool_limits(1):  # several threads would add up in an order of their own
        for k in range(2, min(MOST, len(cells) - 1) + 1):
            found[k] = KMeans(k, n_init=10, random_state=0).fit(points, sample_weight=weights).cluster_centers_
    scores = {k: _silhouette(points, centres, weights) for k, centres in found.items()}
    best = count or max([k for k in scores if k >= FEWEST] or scores, key=lambda k: (round(scores[k], 9), -k))
    places = found[best] * scale
    nearest = _squares(points, found[best]).argmin(axis=1)
    sums = cells[["value", "customers"]].groupby(nearest).sum()
    places = places[sums.index[(-sums["value"] / sums["customers"]).argsort(kind="stable")]]
    typical = np.exp(places * STEP)
    return Clusters(
        criterion=pd.DataFrame({"clusters": scores.keys(), "silhouette": scores.values()}).assign(
            picked=lambda scored: scored["clusters"] == best
        ),
        centres=pd.DataFrame(
            {
                "cluster": range(1, best + 1),
                "description": _described(places, _quartiles(steps, weights), mean_amount),
                "silence": typical[:, 0] - 1,
                "purchases": typical[:, 1],
                "amount": typical[:, 2] * mean_amount,
            }
        ),
        mean_amount=mean_amount,
        places=places,
        scale=scale,
    )


def assign(habits: Table, clusters: Clusters) -> ir.Table:
    """Return the customers with the `cluster` whose centre is nearest, the first of equally near ones."""
    table = _celled(as_table(habits), clusters.mean_amount)
    far = []
    for place in clusters.places:
        apart = [(table[name] - float(x)) / float(sd) for name, x, sd in zip(CELL, place, clusters.scale, strict=True)]
        far.append(sum(steps * steps for steps in apart))  # a power would take several times as long
    measured = table.mutate(**{f"far_{i}": distance for i, distance in enumerate(far)})
    distances = [measured[f"far_{i}"] for i in range(len(far))]
    nearest = ibis.least(*distances)
    chosen = ibis.cases(*((distance <= nearest, i) for i, distance in enumerate(distances[:-1], 1)), else_=len(far))
    return measured.mutate(cluster=chosen.cast("int64")).drop(*CELL, *(f"far_{i}" for i in range(len(far))))


def sizes(assigned: Table, clusters: Clusters) -> pd.DataFrame:
    """Return how many customers each cluster has and what they bring, the most valuable customers first.

    Returns
    -------
    pandas.DataFrame
        The columns of `clusters.centres`, and `customers`, `customer_share`, `value`, `value_share` (NaN if the total
        is not above 0) and `value_per_customer`.
    """
    table = as_table(assigned)
    counted = table.group_by("cluster").aggregate(
        customers=table.count(), value=exact_sum(table["value"]).cast("float64")
    )
    found = clusters.centres.merge(counted.to_pandas(), on="cluster", how="left").fillna({"customers": 0, "value": 0.0})
    total = found["value"].sum()
    return found.astype({"customers": int}).assign(
        customer_share=found["customers"] / found["customers"].sum(),
        value_share=found["value"] / (total if total > 0 else np.nan),
        value_per_customer=found["value"] / found["customers"].replace(0, np.nan),
    )


def _celled(table: ir.Table, mean_amount: float) -> ir.Table:
    """Give each customer the cell: whole steps of the logarithms."""
    amount = table["total_amount"] / table["purchases"] / (mean_amount or 1)
    measures = (table["silence"].cast("float64") + 1, table["purchases"].cast("float64"), ibis.greatest(amount, LEAST))
    steps = [(measure.ln() / STEP + 0.5).floor().cast("float64") for measure in measures]
    return table.mutate(**dict(zip(CELL, steps, strict=True)))


def _squares(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)


def _silhouette(points: np.ndarray, centres: np.ndarray, weights: np.ndarray) -> float:
    """Return the simplified silhouette: 1 if all customers are at their centres, 0 if halfway to the next one."""
    own, other = np.sqrt(np.sort(_squares(points, centres), axis=1)[:, :2]).T
    return float(np.average(1 - own / np.where(other > 0, other, 1), weights=weights))


def _quartiles(steps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the quartiles, lower and upper, of each column over the customers."""
    quartiles = []
    for column in steps.T:
        order = column.argsort(kind="stable")
        below = weights[order].cumsum() / weights.sum()
        quartiles.append(column[order][np.searchsorted(below, [0.25, 0.75])])
    return np.array(quartiles)


def _described(places: np.ndarray, quartiles: np.ndarray, mean_amount: float) -> list[str]:
    """Say how each centre differs from the middle half of all customers, with numbers where the words are the same."""
    level = 1 + (places > quartiles[:, 1]).astype(int) - (places < quartiles[:, 0])
    words = [[names[i] for names, i in zip(WORDS, levels, strict=True)] for levels in level]
    measures = np.exp(places * STEP) * [1, 1, mean_amount] - [1, 0, 0]  # days, purchases, amount
    for digits in range(2, 13):
        texts = [
            ", ".join(
                f"{word} ({plain(float(f'{measure:.{digits}g}'))})" if words.count(said) > 1 else word
                for word, measure in zip(said, measured, strict=True)
            )
            for said, measured in zip(words, measures, strict=True)
        ]
        if len(set(texts)) == len(texts):
            break
    return texts
