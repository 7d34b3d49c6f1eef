"""How sure a share is, and the difference of two shares: 95 % intervals that hold for small numbers as well."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

Z = 1.959963984540054  # the normal quantile of a 95 % interval
FEW = 30  # customers below which a group is not ranked or judged


class Difference(NamedTuple):
    """How the share of those who came back differs between customers with something and without it.

    Attributes
    ----------
    customers_with, rate_with, customers_without, rate_without
        The customers of both kinds, and the share of them who came back.
    difference, low, high
        `rate_with` - `rate_without`, and its 95 % interval after Newcombe.
    adjusted, adjusted_low, adjusted_high
        The same among customers who are alike (NaN where nobody has a counterpart).
    left_out
        Customers with it who have no counterpart without it, and so are not in the adjusted difference.
    """

    customers_with: int
    rate_with: float
    customers_without: int
    rate_without: float
    difference: float
    low: float
    high: float
    adjusted: float
    adjusted_low: float
    adjusted_high: float
    left_out: int

    @property
    def clear(self) -> bool:
        """Whether the adjusted interval leaves out 0, so that chance alone hardly explains the difference."""
        return self.adjusted_low > 0 or self.adjusted_high < 0


def wilson(rate: Any, size: Any) -> tuple[Any, Any]:
    """Return the 95 % interval of shares of so many customers; NaN for a share of none.

    Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference. JASA 22.
    """
    rate, size = np.asarray(rate, float), np.asarray(size, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle, reach = rate + Z**2 / (2 * size), Z * np.sqrt(rate * (1 - rate) / size + Z**2 / (4 * size**2))
        return (middle - reach) / (1 + Z**2 / size), (middle + reach) / (1 + Z**2 / size)


def newcombe(rate_with: float, size_with: float, rate_without: float, size_without: float) -> tuple[float, float]:
    """Return the 95 % interval of `rate_with` - `rate_without`.

    Newcombe, R. G. (1998). Interval estimation for the difference between independent proportions: comparison of
    eleven methods. Statistics in Medicine 17 (method 10).
    """
    (low, other_low), (high, other_high) = wilson([rate_with, rate_without], [size_with, size_without])
    apart = rate_with - rate_without
    down = np.hypot(rate_with - low, other_high - rate_without)
    up = np.hypot(high - rate_with, rate_without - other_low)
    return float(apart - down), float(apart + up)


def few(customers: pd.Series, least: int = FEW) -> pd.Series:
    """Return whether groups have too few customers to be ranked or judged."""
    return customers < least


def with_rates(frame: pd.DataFrame, part: str, whole: str) -> pd.DataFrame:
    """Add the `rate` of two columns and its 95 % interval, `low` and `high`; NaN where the whole is 0."""
    rate = frame[part] / frame[whole].where(frame[whole] > 0)
    low, high = wilson(rate, frame[whole])
    return frame.assign(rate=rate, low=low, high=high)


def difference(groups: pd.DataFrame, of: str, *alike: str) -> Difference:
    """Return how much more often those with something came back than those without it.

    The adjusted difference compares customers who are alike in other things (direct standardisation): in each stratum
    of these, the rate of those without it counts as much as there are customers with it. Its interval is Newcombe's,
    with the effective size of the sample so weighted (Kish). Not known is a stratum of its own.

    Parameters
    ----------
    groups
        Customers counted: whether they have it (`of`; those of whom that is not known are left out), the columns in
        which they are `alike`, `customers`, `returned` (of them). There are customers with it and without it.
    of
        The column of what is looked at.
    alike
        The columns of what they are to be alike in.
    """
    known = groups[groups[of].notna()]
    strata = [known[name].astype(object).where(known[name].notna(), "unknown").astype(str) for name in alike]
    stratum = pd.Series("", known.index).str.cat(strata, sep="|") if strata else pd.Series("", known.index)
    counted = known.groupby([known[of].astype(bool), stratum])[["customers", "returned"]].sum()
    yes, no = (counted.loc[counted.index.get_level_values(0) == has].droplevel(0) for has in (True, False))
    (n1, x1), (n0, x0) = yes.sum(), no.sum()
    both = yes.join(no.add_suffix("_without"), how="inner")
    with_it = both["customers"].sum()
    adjusted = low = high = float("nan")
    if with_it:
        weight = both["customers"] / with_it
        rate = both["returned"].sum() / with_it
        without = (weight * both["returned_without"] / both["customers_without"]).sum()
        size = 1 / (weight**2 / both["customers_without"]).sum()
        adjusted = float(rate - without)
        low, high = newcombe(rate, with_it, without, size)
    p1, p0 = float(x1 / n1), float(x0 / n0)
    crude = newcombe(p1, n1, p0, n0)
    return Difference(int(n1), p1, int(n0), p0, p1 - p0, *crude, adjusted, low, high, int(n1 - with_it))
