"""How pleased customers were with the way their cases were handled, and what goes with that."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import Z, difference, wilson, with_rates
from crm_analysis.service.cases import SATISFIED
from crm_analysis.service.repurchase import at_once

LEAST_RATED = 30  # rated cases from which on it is judged what goes with the rating


def pleased(cases: Table, *by: str) -> pd.DataFrame:
    """Return how closed cases ended: rated by the customer or not, satisfied or not, reopened or not.

    Parameters
    ----------
    cases
        See `cases.handled`; open ones are left out.
    by
        The columns whose values are told apart.

    Returns
    -------
    pandas.DataFrame
        One row per group: `by`, `closed`, `rated`, `share_rated`, `average` (rating), `satisfied` (rated 4 or 5),
        `rate` (of the rated) with its 95 % interval `low` and `high`; `known` (cases of which it is known whether they
        were reopened), `reopened` (of these), `share_reopened`, `reopened_low`, `reopened_high`.

    Raises
    ------
    Unanswerable
        No case is closed.
    """
    table = as_table(cases)
    table = table.filter(table["resolved"])
    rating = table["satisfaction"]
    found = table.group_by(*by).aggregate(
        closed=table.count(),
        rated=rating.count(),
        average=rating.cast("float64").mean(),
        satisfied=table.count(where=(rating >= SATISFIED).fill_null(False)),
        known=table["reopened"].count(),
        reopened=table.count(where=table["reopened"].fill_null(False)),
    )
    frame = with_rates(found.order_by([*by]).to_pandas(), "satisfied", "rated")
    if frame.empty:
        raise Unanswerable("None of the cases is closed, so none could be rated.")
    share = frame["reopened"] / frame["known"].where(frame["known"] > 0)
    low, high = wilson(share, frame["known"])
    return frame.assign(
        share_rated=frame["rated"] / frame["closed"], share_reopened=share, reopened_low=low, reopened_high=high
    )


def changes(cases: Table) -> dict[str, str]:
    """Return whether customers are more often satisfied, and cases more often reopened, than in the period before.

    Compared among cases of the same causes, with intervals wide enough for both (see `repurchase.at_once`).

    Parameters
    ----------
    cases
        Of two periods (see `cases.in_periods`).

    Returns
    -------
    dict
        `satisfied` and `reopened`: `more`, `fewer`, or `chance` (which could explain the difference, or too few are
        known to judge); without what cannot be compared.
    """
    frame, found = pleased(cases, "now", "cause"), {}
    for part, whole in (("satisfied", "rated"), ("reopened", "known")):
        groups = frame[["now", "cause", whole, part]].set_axis(["now", "cause", "customers", "returned"], axis=1)
        groups = groups[groups["customers"] > 0]
        if groups["now"].nunique() == 2 and groups.groupby("cause")["now"].nunique().max() == 2:
            found[part] = difference(groups, "now", "cause")
    judged = at_once(found)
    way = np.where(judged["adjusted"] > 0, "more", "fewer")
    return dict(zip(judged["name"], np.where(judged["clear"], way, "chance").tolist(), strict=True))


def rating_effects(cases: Table) -> pd.DataFrame:
    """Return how much lower ratings are of cases that took long, and of reopened ones, among cases of one cause.

    Least squares on ln(1 + days to resolution) and on whether the case was reopened, with a level for each cause. An
    association: hard cases may take long and displease for reasons of their own. Only answered ratings are known.

    Parameters
    ----------
    cases
        See `cases.handled`.

    Returns
    -------
    pandas.DataFrame
        Rows `resolution` (points of rating for each unit of ln(1 + days)) and `reopened` (points), where they vary:
        `of`, `effect`, `low`, `high` (95 %), `rated` (cases).

    Raises
    ------
    Unanswerable
        Fewer than 30 cases are rated, or neither varies among cases of one cause.
    """
    table = as_table(cases)
    table = table.filter(table["resolved"] & table["satisfaction"].notnull())
    values = {
        "y": table["satisfaction"].cast("float64"),
        "x": (table["resolution"] + 1).ln(),
        "r": table["reopened"].fill_null(False).cast("int64").cast("float64"),
    }
    names = list(values)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place:]]
    sums = {name: exact_sum(value).cast("float64") for name, value in values.items()}
    sums |= {a + b: exact_sum(values[a] * values[b]).cast("float64") for a, b in pairs}
    frame = table.group_by("cause").aggregate(n=table.count(), **sums).to_pandas().sort_values("cause")
    rated = int(frame["n"].sum())
    if rated < LEAST_RATED:
        raise Unanswerable(f"Fewer than {LEAST_RATED} cases are rated ({rated}): too few to tell what goes with it.")
    within = {a + b: float((frame[a + b] - frame[a] * frame[b] / frame["n"]).sum()) for a, b in pairs}
    varies = [name for name in "xr" if within[2 * name] > 1e-6 * rated]
    square = np.array([[within["".join(sorted(a + b, reverse=True))] if a != b else within[2 * a] for b in varies]
                       for a in varies])  # fmt: skip
    if not varies or np.linalg.cond(square) > 1e8:
        raise Unanswerable("Rated cases of one cause do not differ in the time they took, nor in being reopened.")
    effect = np.linalg.solve(square, [within["y" + name] for name in varies])
    left = max(within["yy"] - effect @ [within["y" + name] for name in varies], 0.0)
    freedom = max(rated - len(frame) - len(varies), 1)
    reach = Z * np.sqrt(np.diag(np.linalg.inv(square)) * left / freedom)
    return pd.DataFrame(
        {
            "of": [{"x": "resolution", "r": "reopened"}[name] for name in varies],
            "effect": effect,
            "low": effect - reach,
            "high": effect + reach,
            "rated": rated,
        }
    )
