"""What a contact tells about whether somebody will buy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_analysis.calls.conversion import PURPOSES, STAGES
from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import difference, with_rates

INTERESTED = 2  # of 3, as a target is told (see `lifecycle.leads`)
KNOWN = ["interest", "interest_before"]
TOLD = ["rate_with", "rate_without", "adjusted", "adjusted_low", "adjusted_high"]
COLUMNS = ["purpose", "contacts", "recorded", *TOLD, "known_before", "added", "open"]


def before_buying(contacts: Table) -> pd.DataFrame:
    """Return the judged contacts of those who had not bought, counted by what was known of their interest.

    Parameters
    ----------
    contacts
        One row per contact (see `credited`).

    Returns
    -------
    pandas.DataFrame
        `purpose`, `stage`, `interest`, `interest_before` (-1: not recorded), `contacts`, `converted`.

    Raises
    ------
    Unanswerable
        There is no such contact, or none has an interest recorded.
    """
    table = as_table(contacts)
    table = table.filter("judged", table["stage"] != STAGES[4])
    keys = ["purpose", "stage", *KNOWN]
    table = table.mutate(**{name: table[name].fill_null(-1) for name in KNOWN})
    counted = table.group_by(keys).aggregate(contacts=table.count(), converted=table.count(where=table["converted"]))
    frame = counted.order_by(keys).to_pandas()
    if not (frame["interest"] >= 0).any():
        raise Unanswerable("No contact with somebody who had not bought has an interest recorded in this period.")
    return frame


def by_interest(known: pd.DataFrame) -> pd.DataFrame:
    """Return which share bought, by the purpose of the contact and the interest that it recorded.

    Parameters
    ----------
    known
        Contacts counted (see `before_buying`).

    Returns
    -------
    pandas.DataFrame
        One row per purpose and interest recorded, in order: `purpose`, `interest`, `contacts`, `converted`, `rate` with
        its 95 % interval, `low` and `high`.
    """
    recorded = known[known["interest"] >= 0]
    found = recorded.groupby(["purpose", "interest"], as_index=False)[["contacts", "converted"]].sum()
    return with_rates(_in_order(found), "converted", "contacts")


def qualification(known: pd.DataFrame) -> pd.DataFrame:
    """Return what each purpose of a contact contributes to knowing who will buy.

    Parameters
    ----------
    known
        Contacts counted (see `before_buying`).

    Returns
    -------
    pandas.DataFrame
        One row per purpose: `contacts` with people who had not bought; `recorded` (the share of them with an interest);
        `rate_with` and `rate_without`, the shares that converted of those who showed interest (2 or more of 3) and of
        those who did not; `adjusted`, how much more that is among people at the same stage, with its 95 % interval,
        `adjusted_low` and `adjusted_high` (see `rates.difference`); all five NaN where one of the two kinds is missing.
        In bits (see `mutual_information`): `known_before`, what the interest recorded at the contact before tells about
        whether this contact converts; `added`, what that recorded at this contact tells beyond it; `open`, all that
        there is to know. Not recorded is a value like any other.
    """
    rows = []
    for purpose, met in known.groupby("purpose"):
        recorded = met[met["interest"] >= 0]
        groups = recorded.rename(columns={"contacts": "customers", "converted": "returned"})
        groups = groups.assign(interested=groups["interest"] >= INTERESTED)
        tables = {
            "before": _table(met, ["interest_before"]),
            "both": _table(met, KNOWN),
        }
        bits = {name: mutual_information(table) for name, table in tables.items()}
        row = {
            "purpose": purpose,
            "contacts": int(met["contacts"].sum()),
            "recorded": recorded["contacts"].sum() / met["contacts"].sum(),
            "known_before": bits["before"],
            "added": max(bits["both"] - bits["before"], 0.0),
            "open": entropy(tables["before"].sum(axis=0)),
        }
        if groups["interested"].nunique() == 2:
            found = difference(groups, "interested", "stage")
            row |= {name: getattr(found, name) for name in TOLD}
        rows.append(row)
    return _in_order(pd.DataFrame(rows, columns=COLUMNS))


def mutual_information(table: np.ndarray) -> float:
    """Return how many bits one of two things tells about the other; 0 where they are independent.

    1 bit is the answer to a question with two answers that are equally likely. The estimate from counts is corrected
    for what chance adds in small samples (Miller and Madow), and not below 0.

    Parameters
    ----------
    table
        How often each value of the one (rows) occurred with each of the other (columns).
    """
    counts = np.asarray(table, float)
    told = entropy(counts.sum(axis=0)) + entropy(counts.sum(axis=1)) - entropy(counts.ravel())
    return max(float(told), 0.0)


def entropy(counts: np.ndarray) -> float:
    """Return the uncertainty of something that took each of its values so often, in bits, corrected for chance.

    Miller, G. A. (1955). Note on the bias of information estimates. In: Information theory in psychology.
    """
    counts = np.asarray(counts, float)
    counts, total = counts[counts > 0], counts.sum()
    if not total:
        return 0.0
    share = counts / total
    return float(-(share * np.log2(share)).sum() + (len(counts) - 1) / (2 * total * np.log(2)))


def _table(met: pd.DataFrame, by: list[str]) -> np.ndarray:
    """Return how many contacts converted, and how many did not, for each of what was known."""
    summed = met.groupby(by)[["contacts", "converted"]].sum()
    return np.column_stack([summed["converted"], summed["contacts"] - summed["converted"]])


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Put purposes into the order of a customer's life."""
    return frame.sort_values("purpose", key=lambda c: c.map(PURPOSES.index), kind="stable", ignore_index=True)
