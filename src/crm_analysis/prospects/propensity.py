"""How probable it is that a lead buys soon: a logistic regression on leads counted by what is known of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.prospects.panel import UNKNOWN

LEAST = 100  # leads of each kind, buyers and others, from whom a model can learn
RARE = 30  # leads below which a category shares one coefficient with others as rare
OTHER = "rare or new"
SPREAD = 2.5  # standard deviation of a category's log-odds before anything is known of it
REASONS = 3  # reasons told of a lead


@dataclass
class Propensity:
    """A logistic regression on categories, fitted to leads counted by them.

    Each category of each feature has a coefficient; those with fewer than 30 leads among the leads learnt from share
    one, and so does what was never seen. The penalty is that of a normal distribution with standard deviation 2.5
    around 0, a weakly informative prior: hardly any category makes a purchase 150 times as probable in odds, and one
    all of whose leads bought, or none, still has a finite coefficient. It is fixed, not tuned: in the sample company
    any from 1 to 5 gives nearly the same scores on the dates held out. The features and bands, however, were chosen
    with these dates in sight, so the scores of the sample company may be a little too good.

    Attributes
    ----------
    names
        The features.
    levels_
        The categories of each that have a coefficient of their own.
    model_
        scikit-learn's fitted `LogisticRegression`.
    base_rate_
        Share of the leads learnt from who bought.
    rows_
        The distinct leads learnt from: features, `leads`, `buyers`.

    Notes
    -----
    Gelman, A. et al. (2008). A weakly informative default prior distribution for logistic and other regression
    models. Annals of Applied Statistics 2.
    """

    names: list[str]
    levels_: dict[str, list[str]] = field(default_factory=dict, init=False)
    model_: Any = field(default=None, init=False)
    base_rate_: float = field(default=math.nan, init=False)
    rows_: pd.DataFrame = field(default_factory=pd.DataFrame, init=False)

    def __repr__(self) -> str:
        if self.model_ is None:
            return f"<Propensity by {', '.join(self.names)}, not fitted>"
        return (
            f"<Propensity by {', '.join(self.names)}: learnt from {self.rows_['leads'].sum():,} leads,"
            f" of whom {self.base_rate_:.1%} bought>"
        )

    def fit(self, panel: Table) -> Propensity:
        """Learn from leads whose horizon has ended; raises `Unanswerable` if there are too few."""
        from sklearn.linear_model import LogisticRegression  # slow to import

        table = as_table(panel)
        leads, buyers = table.aggregate(leads=table.count(), buyers=_buyers(table)).to_pandas().iloc[0].fillna(0)
        if min(buyers, leads - buyers) < LEAST:
            raise Unanswerable(
                f"Of {numerals.count(leads)} leads at past dates {numerals.count(buyers)} bought in time; at least "
                f"{LEAST} who did and"
                f" {LEAST} who did not are needed to tell leads apart."
            )
        self.levels_ = _levels(table, self.names)
        self.rows_ = counted(self.lumped(table), self.names)
        self.base_rate_ = float(buyers / leads)
        hit, size = self.rows_["buyers"].to_numpy(float), self.rows_["leads"].to_numpy(float)
        design = self._design(self.rows_)
        self.model_ = LogisticRegression(C=SPREAD**2, solver="newton-cholesky", tol=1e-8)
        with threadpool_limits(1, "blas"):  # threads that wait for busy cores take longer than one alone
            self.model_.fit(
                np.vstack([design, design]),
                np.repeat([1, 0], len(design)),
                sample_weight=np.concatenate([hit, size - hit]),
            )
        return self

    def lumped(self, panel: Table) -> ir.Table:
        """Return leads with every category that has no coefficient of its own called `rare or new`."""
        table = as_table(panel)
        return table.mutate(
            **{name: table[name].isin(kept).ifelse(table[name], OTHER) for name, kept in self.levels_.items()}
        )

    def distinct(self, panel: Table) -> pd.DataFrame:
        """Return the distinct leads of a panel, categories lumped, with their `propensity` (see `counted`)."""
        rows = counted(self.lumped(panel), self.names)
        return rows.assign(propensity=self.predict(rows))

    def joined(self, panel: Table, rows: pd.DataFrame, *columns: str) -> ir.Table:
        """Return each lead of a panel with these columns of its row among the distinct ones."""
        return self.lumped(panel).inner_join(ibis.memtable(rows[[*self.names, *columns]]), self.names)

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the propensity of distinct leads, their categories lumped."""
        return self.model_.predict_proba(self._design(rows))[:, 1] if len(rows) else np.zeros(0)

    def effects(self, repeated: float) -> pd.DataFrame:
        """Return what each category adds to the log-odds of buying, beside the most common one of its feature.

        Everything else is equal. What was not recorded adds nothing, and is beside no other category.

        Parameters
        ----------
        repeated
            How many of the rows tell as much as one lead that is there once (see `Validation.repeated`).

        Returns
        -------
        pandas.DataFrame
            In order of features: `feature`, `category`, `beside` (the most common one), `leads`, `effect` (log-odds),
            `low` and `high`, and the same around the base rate: `points`, `points_low`, `points_high` (shares).
            The intervals hold together: in 95 of 100 cases without any effect none leaves out 0 (Bonferroni).
        """
        design, size = self._design(self.rows_), self.rows_["leads"].to_numpy(float)
        full = np.column_stack([np.ones(len(design)), design])
        odds = self.predict(self.rows_)
        information = (full.T * (size * odds * (1 - odds))) @ full / repeated
        information += np.diag([1e-9, *np.full(design.shape[1], SPREAD**-2)])
        variance = np.linalg.inv(information)[1:, 1:]
        keys = pd.DataFrame(self._categories(), columns=["feature", "category"])
        leads = size @ design
        contrast, beside = np.eye(len(keys)), [""] * len(keys)
        for _, own in keys.groupby("feature"):
            usual = own.index[np.argmax(leads[own.index])]
            contrast[own.index, usual] -= 1
            for place in own.index:
                beside[place] = keys["category"][usual]
        effect = contrast @ self.model_.coef_[0]
        error = np.sqrt(np.maximum(np.diag(contrast @ variance @ contrast.T), 0))
        reach = norm.ppf(1 - 0.025 / max(len(keys), 1)) * error
        found = keys.assign(
            beside=beside, leads=leads.round().astype(int), effect=effect, low=effect - reach, high=effect + reach
        )
        base = logit(self.base_rate_)
        points = {
            name: expit(base + found[of]) - self.base_rate_
            for name, of in {"points": "effect", "points_low": "low", "points_high": "high"}.items()
        }
        return found[found["leads"] > 0].assign(**points).reset_index(drop=True)

    def _categories(self) -> list[tuple[str, str]]:
        return [(name, level) for name in self.names for level in [*self.levels_[name], OTHER] if level != UNKNOWN]

    def _design(self, rows: pd.DataFrame) -> np.ndarray:
        """Return one column of 0 and 1 per category."""
        return np.column_stack(
            [(rows[name] == level).to_numpy(float) for name, level in self._categories()] or [np.zeros(len(rows))]
        )


def counted(panel: ir.Table, names: Sequence[str]) -> pd.DataFrame:
    """Return the distinct leads of a panel, in order, with how many there are (`leads`) and bought (`buyers`)."""
    rows = panel.group_by([*names]).aggregate(leads=panel.count(), buyers=_buyers(panel))
    return rows.order_by([*names]).to_pandas()


def reasons(rows: pd.DataFrame, effects: pd.DataFrame) -> pd.Series:
    """Return in words what speaks most for and against each of these leads: at most three, of those that are clear.

    The side with the strongest reason comes first. A lead without a clear reason has none.

    Parameters
    ----------
    rows
        Distinct leads, their categories lumped.
    effects
        What categories add (see `Propensity.effects`).
    """
    clear = effects[(effects["low"] > 0) | (effects["high"] < 0)]
    parts = [
        rows[[name]].assign(row=np.arange(len(rows))).merge(own, left_on=name, right_on="category")
        for name, own in clear.groupby("feature")
    ]
    if not parts:
        return pd.Series("", rows.index)
    told = pd.concat([part[["row", "feature", "category", "effect"]] for part in parts])
    told = told.assign(size=-told["effect"].abs()).sort_values(["row", "size", "feature"])
    told = told[told.groupby("row").cumcount() < REASONS]
    told = told.assign(
        side=np.where(told["effect"] > 0, "for: ", "against: "),
        words=[in_words(name, category) for name, category in zip(told["feature"], told["category"], strict=True)],
    )
    sides = told.groupby(["row", "side"], sort=False)["words"].agg(", ".join).reset_index()
    texts = (sides["side"] + sides["words"]).groupby(sides["row"]).agg("; ".join)
    return pd.Series(texts.reindex(range(len(rows)), fill_value="").to_numpy(), rows.index)


def in_words(name: str, category: str) -> str:
    """Return what a category of a feature means: `interest 3 of 3 in the last contact`, `acquired via referral`."""
    unknown = category == UNKNOWN
    words = {
        "contacts_so_far": f"{category} contact{'' if category == '1' else 's'} so far",
        "last_contact_days": f"last contact {category} days ago",
        "known_days": f"known for {category} days",
        "last_interest": f"interest {'not recorded' if unknown else f'{category} of 3'} in the last contact",
        "earlier_interest": f"interest {'not recorded' if unknown else f'{category} of 3'} before",
        "last_outcome": f"last outcome {category}",
    }
    return words.get(name, f"{name.replace('_', ' ')} {category}")


def _levels(table: ir.Table, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the categories of each feature that are not rare."""
    counts = [
        table.group_by(level=table[name]).aggregate(leads=table.count()).mutate(feature=ibis.literal(name))
        for name in names
    ]
    found = ibis.union(*counts).filter(lambda t: t["leads"] >= RARE).to_pandas()
    return {name: sorted(found.loc[found["feature"] == name, "level"]) for name in names}


def _buyers(table: ir.Table) -> ir.IntegerScalar:
    return table["converted"].cast("int64").sum()
