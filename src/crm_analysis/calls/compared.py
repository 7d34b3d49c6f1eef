"""Which groups are clearly better or worse than all others, when many are compared at once."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from crm_analysis.rates import few

ERROR = 0.05  # the chance that any of the groups is called better or worse where none differs


def compared(groups: pd.DataFrame, of: str, alike: Sequence[str], *, part: str, whole: str) -> pd.DataFrame:
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
        The columns of how many there were (calls), and of how many of them this is so (converted).

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
    z = NormalDist().inv_cdf(1 - ERROR / 2 / max((~too_few).sum(), 1))
    weights = sums["weight"].where(~too_few)
    adjusted, reach = sums["excess"] / weights, (z * np.sqrt(sums["variance"]) + 0.5) / weights
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
