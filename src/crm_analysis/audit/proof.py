"""The proof of the customer bridge: every period of it adds up to the last unit."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd

from crm_analysis.audit.bridge import GROUPS, IN_BASE, MEASURES
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.lifecycle import counts

FLOATS = Decimal("1e-15")  # how exact the money of a customer is: a millionth of sums up to a billion is told


def check(bridged: pd.DataFrame, staged: Table, worth: Table, customers: Table | None = None) -> int:
    """Make sure that every period of the bridge adds up to the last unit; return how many periods there are.

    In each measure, the opening and what the groups changed is the closing, and the next opening. The customers are as
    many as the stages tell; revenue and value are what the periods brought.

    Parameters
    ----------
    bridged
        See `bridge`.
    staged, worth
        See `movements`.
    customers
        Where the periods are the whole log (see `months`): one row per customer, to whose `revenue` and `value` they
        must sum (see `customers.summary`), as exactly as floats hold them.

    Raises
    ------
    ArithmeticError
        Something does not add up; the message says when and what.
    """
    table = as_table(worth)
    sums = {name: exact_sum(table[name]) for name in MEASURES[1:]}
    sizes = {f"size_of_{name}": exact_sum(table[name].abs()) for name in sums}
    sums = table.group_by("period").aggregate(**sums, **sizes)
    told = sums.to_pandas().assign(period=lambda f: pd.to_datetime(f["period"])).set_index("period")
    standing = counts(staged)
    based = standing[standing["stage"].isin(IN_BASE)].groupby("date")["customers"].sum()
    told = told.join(based, how="outer").rename_axis("period")
    for measure, rows in bridged.set_index("period").groupby("measure"):
        expected = told[measure].reindex(rows.index).astype(object)
        expected = expected.where(expected.notna(), 0)
        _same(rows["opening"] + rows[[*GROUPS]].sum(axis=1), rows["closing"], f"opening and changes of {measure}")
        _same(rows["closing"].shift(1).iloc[1:], rows["opening"].iloc[1:], f"the {measure} of the period before")
        _same(expected, rows["closing"], f"the {measure} that the data tell")
    if customers is not None:
        everyone = as_table(customers)
        sums = {name: exact_sum(everyone[name]) for name in MEASURES[1:]}
        total = everyone.aggregate(**sums).to_pandas().iloc[0]
        for name in sums:
            closing = bridged[bridged["measure"] == name].groupby("measure")["closing"].sum()
            slack = told[f"size_of_{name}"].sum() * FLOATS
            _same(pd.Series({name: total[name]}), closing, f"the {name} of all customers", slack)
    return bridged["period"].nunique()


def _same(ours: pd.Series, theirs: pd.Series, what: str, slack: Decimal | int = 0) -> None:
    wrong = abs(ours.to_numpy() - theirs.to_numpy()) > slack
    if wrong.any():
        place = wrong.argmax()
        at = theirs.index[place]
        when = f"{at:%Y-%m-%d}" if isinstance(at, pd.Timestamp) else "the end"
        raise ArithmeticError(
            f"the customer bridge does not add up at {when}: {theirs.iloc[place]}, but {what}: {ours.iloc[place]}"
        )
