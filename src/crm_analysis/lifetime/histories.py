"""The distinct purchase histories: all that a purchase process needs to know of the customers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.fitting import REPEATERS

HISTORY = ["frequency", "recency", "T"]


def histories(customers: Table, *attributes: str) -> pd.DataFrame:
    """Return the distinct purchase histories of customers who have purchased.

    Parameters
    ----------
    customers
        One row per customer (`customers.summary`).
    *attributes
        Further columns of customers to be told apart by.

    Returns
    -------
    pandas.DataFrame
        `frequency` (repeat purchases), `recency`, `T` (weeks), the attributes and `customers` (how many have this
        history). Those who never purchased, but only returned goods, have none.
    """
    table = as_table(customers)
    bought = table.filter(table["purchases"] > 0)
    key = [*HISTORY, *attributes]
    found = bought.group_by(key).aggregate(customers=bought.count()).order_by(key).to_pandas()
    for name in attributes:
        missing = found["customers"][found[name].isna()].sum()
        if missing:
            raise ValueError(f"{name} is missing of {missing:,} of {found['customers'].sum():,} customers")
    return found


def checked(frequency: Any, recency: Any, T: Any, weights: Any = None, covariates: Any = None) -> pd.DataFrame:
    """Return histories as a model takes them: sorted, distinct, none impossible.

    Returns
    -------
    pandas.DataFrame
        `frequency`, `recency`, `T`, the covariates and `weights`; histories of weight 0 are left out.

    Raises
    ------
    ValueError
        Columns differ in length, or a history cannot be; the message counts and names the rows (the first is 0).
    """
    given = {"frequency": frequency, "recency": recency, "T": T}
    if covariates is not None:
        frame = pd.DataFrame(covariates)
        taken = sorted({*given, "weights"} & {*map(str, frame)})
        if taken:
            raise ValueError(f"a covariate must not be called {' or '.join(taken)}")
        given |= {str(name): frame[name] for name in frame}
    arrays = numbers(given, weights)
    x, t_x, age, weight = (arrays[name] for name in ("frequency", "recency", "T", "weights"))
    refuse((x < 0) | (x != np.floor(x)), "frequency is not a whole number from 0 on")
    refuse(x > 1e6, "frequency is above a million")
    refuse(t_x < 0, "recency is negative")
    refuse(age < 0, "T is negative")
    refuse(t_x > age, "recency is above T")
    refuse((x == 0) & (t_x > 0), "frequency is 0, but recency is not")
    refuse((x > 0) & (age == 0), "T is 0, but frequency is not")
    frame = pd.DataFrame(arrays)
    key = [name for name in arrays if name != "weights"]
    if (weight == 0).any():
        frame = frame[weight > 0]
    if not _ascending(frame[["frequency", "recency", "T"]].to_numpy()) or len(key) > 3:
        frame = frame.groupby(key, as_index=False)["weights"].sum()
    return frame[[*key, "weights"]].reset_index(drop=True)


def numbers(given: dict[str, Any], weights: Any) -> dict[str, np.ndarray]:
    """Return columns of numbers with their `weights`, 1 where none are given; raises `ValueError` if one is none."""
    count = len(np.atleast_1d(next(iter(given.values()))))
    given = given | {"weights": np.ones(count) if weights is None else weights}
    arrays = {name: np.atleast_1d(np.asarray(column, dtype=float)) for name, column in given.items()}
    sizes = {name: len(column) for name, column in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"columns must be of one length, not {sizes}")
    for name, column in arrays.items():
        refuse(~np.isfinite(column), f"{name} is not a number")
    refuse(arrays["weights"] < 0, "weights is negative")
    return arrays


def columns(*values: Any) -> tuple[np.ndarray, ...]:
    """Return numbers and columns as columns of one length."""
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, dtype=float)) for value in values))
    return tuple(np.ascontiguousarray(column) for column in columns)


def possible(frequency: Any, recency: Any, T: Any) -> tuple[np.ndarray, ...]:
    """Return histories as columns of one length; raises `ValueError` if one cannot be."""
    found = columns(frequency, recency, T)
    for name, column in zip(HISTORY, found, strict=True):
        refuse(~(column >= 0) | np.isinf(column), f"{name} is not a number from 0 on")
    refuse(found[1] > found[2], "recency is above T")
    return found


def enough(repeaters: float, purpose: str, what: str = "had bought again") -> None:
    """Raise `Unanswerable` where too few customers did what the purpose takes."""
    if repeaters < REPEATERS:
        who = "1 customer" if repeaters == 1 else f"{numerals.count(repeaters)} customers"
        raise Unanswerable(f"Only {who} {what}; {REPEATERS} are needed to {purpose}.")


def refuse(bad: np.ndarray, what: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        named = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
        raise ValueError(f"{what} in {len(rows):,} of {len(bad):,} rows (row {named}, counted from 0)")


def _ascending(rows: np.ndarray) -> bool:
    """Whether each row comes strictly after the one before."""
    steps = np.diff(rows, axis=0)
    x, t_x, age = steps.T
    return bool(((x > 0) | ((x == 0) & ((t_x > 0) | ((t_x == 0) & (age > 0))))).all())
