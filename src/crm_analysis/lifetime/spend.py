"""What customers spend per purchase: the Gamma-Gamma model.

A customer's purchases are gamma-distributed with shape p around an average of their own; the rates are
gamma-distributed with shape q and scale v between customers. The total of x purchases, as a share of itself plus v, is
then Beta(p x, q), and after x purchases of total S the total Y of N further ones, Y / (Y + v + S), is
Beta(p N, q + p x).

P. S. Fader and B. G. S. Hardie, "The Gamma-Gamma model of monetary value" (2013), brucehardie.com/notes/025.
"""

from __future__ import annotations

from typing import Any, Self

import ibis
import ibis.expr.types as ir
import lifetimes  # the package imports it before, without its warning filters
import numpy as np
import pandas as pd
from scipy.special import betainc, betainccinv, betaincinv, gammaln, ndtr, psi

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.fitting import Estimates
from crm_analysis.lifetime.histories import enough, numbers, refuse

EXACT = 1e-6  # where p or q come near its inverse, amounts that differ by rounding only would be told apart
FROM = 10.0  # Stirling's series is exact to the last digit from here on
LAST_GROUP = 7  # repeat purchases from which customers are in one group


class GammaGammaFitter(Estimates, lifetimes.GammaGammaFitter):  # type: ignore[misc]
    """Each customer has an average spend per purchase, whatever their frequency, and these averages differ.

    Attributes
    ----------
    params_ : pandas.Series
        p (how little one customer's purchases differ), q (how little customers differ) and v (in units of money).
    log_likelihood_ : float
        Of the observed averages (the note's equation 1a), in units of money.
    """

    label = "Gamma-Gamma"
    names = ("p", "q", "v")
    powers = (0, 0, 1)
    starts = ((6.0, 4.0, 0.5), (1.0, 3.0, 2.0), (2.0, 40.0, 20.0), (60.0, 3.0, 0.03), (100.0, 100.0, 1.0))

    def __init__(self) -> None:
        """Nothing can be set."""

    def fit(self, frequency: Any, monetary_value: Any, weights: Any = None) -> Self:
        """Fit to spend histories of which `weights` customers each have one.

        Parameters
        ----------
        frequency
            Repeat purchases, at least 1.
        monetary_value
            Their average amount, above 0.
        weights
            How many customers have the history; 1 without it.

        Raises
        ------
        ValueError
            A history cannot be; the message counts and names the rows.
        Unanswerable
            Too few customers bought again, no maximum was found, or the fitted average spend is infinite (q up to 1).
        """
        data = _checked(frequency, monetary_value, weights)
        count = data["weights"]
        enough(count.sum(), f"fit the {self.label} model", "had bought again and paid")
        scale = float(np.average(data["monetary_value"], weights=count))
        scaled = data.assign(monetary_value=data["monetary_value"] / scale)
        self._estimate(_log_likelihood, [np.log(start) for start in self.starts], scaled, scale)
        self.data = data
        wall = ((EXACT * self.params_[["p", "q"]]) ** 4).sum()
        self.log_likelihood_ += float(count.sum()) * (wall - np.log(scale))
        if self.params_["q"] <= 1:
            raise Unanswerable(
                "The spend per purchase differs so much between customers (Gamma-Gamma q = "
                f"{numerals.number(self.params_['q'], 2)})"
                " that it has no finite average, so no value can be told."
            )
        return self

    def fit_histories(self, histories: pd.DataFrame) -> Self:
        """Fit to the distinct spend histories of customers (see `spend_histories`)."""
        return self.fit(*(histories[name].to_numpy() for name in ("frequency", "monetary_value", "customers")))

    def total_cdf(self, total: Any, purchases: Any, frequency: Any, monetary_value: Any) -> Any:
        """Return the probability that a number of further purchases bring up to a total.

        Parameters
        ----------
        total
            In units of money.
        purchases
            How many further ones; of 0 the total is 0.
        frequency, monetary_value
            The customers' histories; both 0 of one who is new. All four are arrays that broadcast, or numbers.
        """
        a, b, scale = self._total(purchases, frequency, monetary_value)
        total = np.asarray(total, float)
        paid = np.maximum(total, 0.0)
        found = betainc(np.where(a > 0, a, 1.0), b, paid / (paid + scale))
        return np.where(a > 0, found, 1.0) * (total >= 0)

    def total_quantile(self, share: Any, purchases: Any, frequency: Any, monetary_value: Any) -> Any:
        """Return the total, in units of money, that further purchases do not exceed with a probability of `share`.

        The inverse of `total_cdf`.
        """
        a, b, scale = self._total(purchases, frequency, monetary_value)
        some = np.where(a > 0, a, 1.0)
        return np.where(a > 0, scale * betaincinv(some, b, share) / betainccinv(b, some, share), 0.0)

    def total_moments(self, purchases: Any, frequency: Any, monetary_value: Any) -> tuple[Any, Any]:
        """Return mean (units of money) and variance (their square) of the total of a number of further purchases.

        Arguments as in `total_cdf`. The variance is infinite where q + p frequency is not above 2.
        """
        a, b, scale = self._total(purchases, frequency, monetary_value)
        mean = scale * a / (b - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = mean * scale * (a + b - 1) / ((b - 1) * (b - 2))
        return mean, np.where(a == 0, 0.0, np.where(b > 2, variance, np.inf))

    def _total(self, purchases: Any, frequency: Any, monetary_value: Any) -> tuple[Any, Any, Any]:
        """Return the two shapes and the scale of the beta-prime distribution of a total."""
        p, q, v = self._unload_params("p", "q", "v")
        purchases, x, money = (np.asarray(value, float) for value in (purchases, frequency, monetary_value))
        a, b, scale = np.broadcast_arrays(p * purchases, q + p * x, v + x * money)
        return a, b, scale


def spend_histories(customers: Table, *attributes: str) -> pd.DataFrame:
    """Return the distinct spend histories of those who bought again and paid for it.

    Parameters
    ----------
    customers
        One row per customer (`customers.summary`).
    *attributes
        Further columns of customers to be told apart by.

    Returns
    -------
    pandas.DataFrame
        `frequency`, `monetary_value` (average amount of the repeat purchases, above 0), the attributes and `customers`.
    """
    paid = _paid(as_table(customers))
    key = ["frequency", "monetary_value", *attributes]
    return paid.group_by(key).aggregate(customers=paid.count()).order_by(key).to_pandas()


def spend_by_frequency(valued: Table, spend_model: GammaGammaFitter) -> pd.DataFrame:
    """Return what customers spend per purchase by how often they bought; the model takes it to be the same for all.

    Parameters
    ----------
    valued, spend_model
        See `value`.

    Returns
    -------
    pandas.DataFrame
        `frequency` (0, 1, … `7+`), `customers`, `actual` (mean of the customers' averages, in units of money; of those
        who bought once, all customers' average times what their first purchase brought as a share of the first
        purchases of the others) and `expected` (by the model).
    """
    return _by_frequency(valued, spend_model)[["frequency", "customers", "actual", "expected"]]


def independence(valued: Table, spend_model: GammaGammaFitter) -> dict[str, float]:
    """Return whether customers spend the same per purchase however often they buy, as the Gamma-Gamma model takes it.

    The correlation is that of average spend and the logarithm of frequency. The logarithm of spend would not do:
    averages of few purchases scatter more, so their logarithms are lower even if the model holds. For the same reason
    errors and test do not take the scatter to be equal.

    Parameters
    ----------
    valued, spend_model
        See `value`.

    Returns
    -------
    dict
        `customers` (who bought again and paid), `correlation`, `low` and `high` (its 95 % interval), `p_value` (how
        probable a correlation so far from 0 is if there is none; NaN if all bought equally often), `change` (by which
        share more, or less if below 0, all customers together would be expected to spend over the horizon if those who
        bought equally often were expected to be like each other instead of like all; see `spend_by_frequency`).
    """
    paid = _paid(as_table(valued)).select(x=ibis._["frequency"].cast("float64").ln(), z="monetary_value")
    means = {name: exact_sum(paid[name]).cast("float64") / paid.count() for name in ("x", "z")}
    x, z = paid.aggregate(**means).to_pandas().iloc[0]
    g, e = paid["x"] - x, paid["z"] - z
    terms = {"gg": g * g, "ee": e * e, "ge": g * e, "both": g * g * e * e}
    sums = {name: exact_sum(term).cast("float64") for name, term in terms.items()}
    count, gg, ee, ge, both = paid.aggregate(count=paid.count(), **sums).to_pandas().iloc[0].astype(float)
    size = np.sqrt(gg * ee)
    r, error = (ge / size, np.sqrt(both) / size) if size > 0 else (np.nan, np.nan)
    groups = _by_frequency(valued, spend_model)
    change = ((groups["actual"] - groups["expected"]) * groups["borrowed"]).sum() / groups["spend"].sum()
    return {
        "customers": float(count),
        "correlation": float(r),
        "low": float(r - 1.959964 * error),
        "high": float(r + 1.959964 * error),
        "p_value": float(2 * ndtr(-abs(r) / error)),
        "change": float(change),
    }


def _paid(customers: ir.Table) -> ir.Table:
    return customers.filter((customers["frequency"] > 0) & (customers["monetary_value"] > 0))


def _by_frequency(valued: Table, spend_model: GammaGammaFitter) -> pd.DataFrame:
    """Return `spend_by_frequency` and, of each group, all expected `spend` and how many purchases are `borrowed`.

    Of a purchase that is expected of a customer, a share of (q - 1) / (p x + q - 1) is taken to be like all customers'.
    """
    p, q, v = (float(spend_model.params_[name]) for name in ("p", "q", "v"))
    average = p * v / (q - 1)
    table = as_table(valued)
    x, money, future = table["frequency"], table["monetary_value"], table["expected_purchases"]
    sums = {
        "paid": ((x > 0) & (money > 0)).cast("int8"),
        "money": (x > 0).ifelse(money, 0.0),
        "first": table["purchased"] - x * money,
        "spend": future * table["expected_spend"],
        "borrowed": future * (q - 1) / (p * x + q - 1),
    }
    exact = {name: exact_sum(column).cast("float64") for name, column in sums.items()}
    grouped = table.group_by(group=ibis.least(x, LAST_GROUP)).aggregate(customers=table.count(), **exact)
    frame = grouped.order_by("group").to_pandas()
    again = frame["group"] > 0
    actual = frame["money"] / frame["paid"].where(frame["paid"] > 0)
    first = [frame["first"][rows].sum() / max(frame["customers"][rows].sum(), 1) for rows in (~again, again)]
    if first[1] > 0:
        actual = actual.where(again, average * first[0] / first[1])
    labels = [f"{LAST_GROUP}+" if group == LAST_GROUP else str(group) for group in frame["group"]]
    return frame.assign(frequency=labels, expected=average, actual=actual.fillna(average))


def _log_likelihood(at: np.ndarray, x: Any, money: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return each history's log-likelihood and its slopes by the logarithms of p, q and v.

    With a = p x, n = a + q and w = x money / (x money + v), the logarithm of w^a (1 - w)^q / B(a, q) is taken as what
    it lacks to its maximum plus Stirling's formula (C. Loader's saddle-point form): no digits are lost where p or q is
    large.
    """
    p, q, v = np.exp(at)
    a, total = p * x, x * money
    n, w, rest = a + q, total / (total + v), v / (total + v)
    excess = a * rest - q * w  # a - n w
    log_a, log_q = np.log1p(excess / (n * w)), np.log1p(-excess / (n * rest))
    (of_a, slope_a), (of_q, slope_q), (of_n, slope_n) = _stirling(a), _stirling(q), _stirling(n)
    height = 0.5 * np.log(a * q / (2 * np.pi * n)) + of_n - of_a - of_q
    wall = (EXACT * np.array([p, q])) ** 4
    values = height - a * log_a - q * log_q - np.log(money) - wall.sum()
    by_n = slope_n - 0.5 / n
    by_p = a * (0.5 / a + by_n - slope_a - log_a) - 4 * wall[0]
    by_q = q * (0.5 / q + by_n - slope_q - log_q) - 4 * wall[1]
    return values, np.stack([by_p, by_q, -excess])


def _stirling(z: Any) -> tuple[Any, Any]:
    """Return what Stirling's formula lacks of log Gamma(z), and the slope of that."""
    low, high = np.minimum(z, FROM), np.maximum(z, FROM)
    s = high**-2.0
    lack = (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188)))) / high
    slope = -s * (1 / 12 - s * (3 / 360 - s * (5 / 1260 - s * (7 / 1680 - s * 9 / 1188))))
    exact = gammaln(low) - (low - 0.5) * np.log(low) + low - 0.5 * np.log(2 * np.pi)
    return np.where(z < FROM, exact, lack), np.where(z < FROM, psi(low) - np.log(low) + 0.5 / low, slope)


def _checked(frequency: Any, monetary_value: Any, weights: Any) -> pd.DataFrame:
    """Return spend histories as the model takes them: sorted, distinct, none impossible."""
    arrays = numbers({"frequency": frequency, "monetary_value": monetary_value}, weights)
    x, money, weight = arrays.values()
    refuse((x < 1) | (x != np.floor(x)), "frequency is not a whole number from 1 on")
    refuse(money <= 0, "monetary_value is not above 0")
    frame = pd.DataFrame(arrays)[weight > 0]
    return frame.groupby(["frequency", "monetary_value"], as_index=False)["weights"].sum()
