"""What all models of the purchase process have in common."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd

from crm_analysis.lifetime.fitting import Estimates
from crm_analysis.lifetime.histories import HISTORY, possible
from crm_analysis.lifetime.season import Season


class PurchaseProcess(Estimates):
    """What all purchase processes share: names of lifetimes for what is derived from the methods of each."""

    season: Season | None = None

    def _row_parameters(self, covariates: pd.DataFrame | None = None) -> list[Any]:
        """Return the parameters, those that differ between rows as columns."""
        return list(self.params_)

    @property
    def attributes(self) -> list[str]:
        """The names of the covariates."""
        return [name.removeprefix("rate: ") for name in self.params_.index if name.startswith("rate: ")]

    def known(self, histories: pd.DataFrame) -> dict[str, Any]:
        """Return the arguments by which the methods take histories: frequency, recency, T and any covariates."""
        known = {name: histories[name].to_numpy(float) for name in HISTORY}
        return known | ({"covariates": histories[self.attributes]} if self.attributes else {})

    def conditional_probability_of_silence(
        self, frequency: Any, recency: Any, T: Any, covariates: pd.DataFrame | None = None
    ) -> np.ndarray:
        """Return how probable it is that customers who have not stopped buy nothing since their last purchase.

        They are held to the rhythm that they had by then, rate ~ Gamma(r + x, alpha + t_x): the smaller it is, the
        less usual is their silence for them.
        """
        x, t_x, T = possible(frequency, recency, T)
        r, alpha, *_ = self._row_parameters(covariates)
        since, now = (t if self.season is None else self.season.passed(T, t) for t in (t_x, T))
        return np.exp(-(r + x) * np.log1p((now - since) / (alpha + since)))

    def fit_histories(self, histories: pd.DataFrame, **more: Any) -> Self:
        """Fit to the distinct histories of customers (see `histories`); their attributes are covariates."""
        attributes = list(histories.columns.drop([*HISTORY, "customers"]))
        if attributes:
            more["covariates"] = histories[attributes]
        return self.fit(*(histories[name].to_numpy() for name in (*HISTORY, "customers")), **more)

    def predict(self, t: Any, frequency: Any, recency: Any, T: Any, **more: Any) -> Any:
        """Return the purchases expected over the next `t`."""
        return self.conditional_expected_number_of_purchases_up_to_time(t, frequency, recency, T, **more)

    def conditional_probability_of_n_purchases_up_to_time(
        self, n: int, t: float, frequency: Any, recency: Any, T: Any, **more: Any
    ) -> Any:
        """Return the probability of exactly `n` purchases over the next `t`."""
        return self.conditional_distribution(t, frequency, recency, T, most=n, **more)[n]

    def probability_of_n_purchases_up_to_time(self, t: float, n: int) -> float:
        """Return the probability that a new customer makes `n` repeat purchases in the first `t`."""
        return float(self.conditional_distribution(t, 0, 0, 0, most=n)[n, 0])

    def conditional_probability_alive_matrix(
        self, max_frequency: int | None = None, max_recency: int | None = None
    ) -> np.ndarray:
        """Return P(alive) by recency (rows) and frequency (columns) of customers of age `max_recency`: the oldest."""
        oldest = int(self.data["T"].max())
        busiest = int(self.data["frequency"].max()) if max_frequency is None else max_frequency
        age = oldest if max_recency is None else max_recency
        x, t_x = np.meshgrid(np.arange(busiest + 1), np.arange(age + 1))
        alive = self.conditional_probability_alive(x.ravel(), np.where(x == 0, 0, t_x).ravel(), age)
        return np.reshape(alive, x.shape)
