"""Which groups are clearly better or worse than all others, when many are compared at once."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import ibis
import numpy as np
import pandas as pd
from scipy.stats import t as student

from crm_analysis.customers import Table, as_table
from crm_analysis.rates import few

ERROR = 0.05  # the chance that any of the groups is called better or worse where none differs


def compared(
    groups: pd.DataFrame, of: str, alike: Sequence[str], *, part: str, whole: str, spread: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return how the rate of each group differs from that of all others in like circumstances.

    In each stratum, a group is expected to have the rate of the whole stratum. The difference is that of Mantel and
    Haenszel, which many small strata do not disturb. Its interval is as wide as chance spreads the difference where
    groups do not differ, so that it leaves out 0 when the test of Cochran, Mantel and Haenszel, corrected for
    continuity, rejects that; and it is wide enough for all groups at once (Bonferroni): of 100 comparisons in which no
    group differs, 95 call none of them clear. What differs need not be the group's doing: the strata are all that is
    alike.

    Parameters
    ----------
    groups
        What was counted.
    of
        The column of the groups; where it is not known is left out.
    alike
        The columns whose values together make a stratum; not known is a value of its own.
    part, whole
        The columns of how many of them this is so (converted), and of how many there were (judged).
    spread
        How far chance spreads groups where contacts with one customer go together (see `spread`); the wider interval
        counts.

    Returns
    -------
    pandas.DataFrame
        One row per group, in order: `of`, `part`, `whole`, `rate`; `adjusted`, the difference from all others in like
        circumstances, with `adjusted_low` and `adjusted_high` (NaN where it is not judged); `left_out` (of the whole:
        nothing else is in their strata); `few` (too few are left to judge); `clear` (the interval leaves out 0).

    Notes
    -----
    Mantel, N., Haenszel, W. (1959). Statistical aspects of the analysis of data from retrospective studies of disease.
    JNCI 22. Miettinen, O. (1976). Estimability and estimation in case-referent studies. Am. J. Epidemiology 103.
    """
    counted = groups[groups[of].notna() & (groups[whole] > 0)]
    named = {name: counted[name].astype(object).where(counted[name].notna(), "unknown") for name in alike}
    cells = counted.assign(**named).groupby([of, *alike], as_index=False)[[part, whole]].sum().astype({part: float})
    strata = cells.groupby([*alike])[[part, whole]].transform("sum")
    like = cells.assign(hits=strata[part], size=strata[whole])[strata[whole] > cells[whole]]
    n, hits, size = like[whole], like["hits"], like["size"]
    weight = n * (size - n) / size
    terms = like[[of]].assign(
        compared=n,
        excess=like[part] - n * hits / size,
        weight=weight,
        variance=weight * hits * (size - hits) / (size * (size - 1)),
    )
    found = cells.groupby(of)[[part, whole]].sum()
    sums = terms.groupby(of).sum().astype(float).reindex(found.index, fill_value=0.0)
    too_few = few(sums["compared"])
    sure = 1 - ERROR / 2 / max((~too_few).sum(), 1)
    reach = NormalDist().inv_cdf(sure) * np.sqrt(sums["variance"])
    if spread is not None:
        own = spread.reindex(sums.index).fillna({"spread": 0.0, "customers": 2})
        wide = student.ppf(sure, np.maximum(own["customers"] - 1, 1)) * np.sqrt(own["spread"])
        reach = np.maximum(reach, wide)
    weights = sums["weight"].where(~too_few)
    adjusted, reach = sums["excess"] / weights, (reach + 0.5) / weights
    return (
        found.astype(int)
        .reset_index()
        .assign(
            rate=(found[part] / found[whole]).to_numpy(),
            adjusted=adjusted.to_numpy(),
            adjusted_low=(adjusted - reach).to_numpy(),
            adjusted_high=(adjusted + reach).to_numpy(),
            left_out=(found[whole] - sums["compared"]).astype(int).to_numpy(),
            few=too_few.to_numpy(),
            clear=(adjusted.abs() > reach).to_numpy(),
        )
    )


def spread(contacts: Table, of: str, alike: Sequence[str]) -> pd.DataFrame:
    """Return how far chance spreads what a group has above its expectation, if customers, not contacts, are drawn.

    Contacts with one customer, often by one agent, are not independent: who buys often, does so after many of them.

    Parameters
    ----------
    contacts
        One row per contact (see `credited`); those judged count.
    of, alike
        As in `compared`.

    Returns
    -------
    pandas.DataFrame
        By group: `spread`, the sum over customers of the square of what each adds to the group's excess of converted
        contacts, and `customers` of its own.

    Notes
    -----
    Liang, K.-Y., Zeger, S. L. (1986). Longitudinal data analysis using generalized linear models. Biometrika 73.
    """
    table = as_table(contacts)
    table = table.filter(table["judged"], table[of].notnull())
    table = table.select(
        of, "customer_id", hit=table["converted"].cast("int64"), **{name: table[name].fill_null("") for name in alike}
    )
    whole = table.group_by([*alike]).aggregate(size=table.count(), hits=table["hit"].sum())
    mine = table.group_by([of, *alike]).aggregate(own=table.count()).inner_join(whole, [*alike])
    mine = mine.filter(mine["own"] < mine["size"]).select(of, *alike, "own", "size", rate=mine["hits"] / mine["size"])
    each = table.group_by(["customer_id", *alike]).aggregate(contacts=table.count(), hits=table["hit"].sum())
    # A customer's contacts add what they have above the rate of their stratum, less the group's share in all of it.
    theirs = table.inner_join(mine, [of, *alike])
    theirs = theirs.select(of, "customer_id", adds=theirs["hit"] - theirs["rate"], own=ibis.literal(1))
    every = mine.inner_join(each, [*alike])
    every = every.select(
        of,
        "customer_id",
        adds=(every["contacts"] * every["rate"] - every["hits"]) * every["own"] / every["size"],
        own=ibis.literal(0),
    )
    sums = (
        ibis.union(theirs, every)
        .group_by([of, "customer_id"])
        .aggregate(adds=lambda t: t["adds"].sum(), own=lambda t: t["own"].max())
    )
    found = sums.group_by(of).aggregate(spread=(sums["adds"] * sums["adds"]).sum(), customers=sums["own"].sum())
    return found.to_pandas().set_index(of)
