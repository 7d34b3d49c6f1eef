"""What each customer will probably buy, and what that is worth today: over a horizon, and after it."""

from __future__ import annotations

import copy
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis import numerals
from crm_analysis.customers import Table, as_table, exact_sum, total_value
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.fitting import REPEATERS
from crm_analysis.lifetime.histories import HISTORY, histories
from crm_analysis.lifetime.process import PurchaseProcess
from crm_analysis.lifetime.spend import GammaGammaFitter, spend_histories

VALUED = ["p_alive", "expected_purchases", "expected_spend", "margin", "lifetime_value", "residual_value"]
FARTHEST = 4  # times as long as the history that a horizon may be
LOST = 0.05  # probability of being alive below which a customer is lost rather than at risk
WEEKS_A_YEAR = 365.25 / 7
HORIZON, AFTER = (((x + 1) / 2, w / 2) for x, w in map(np.polynomial.legendre.leggauss, (8, 12)))  # places, weights


def value(
    customers: Table,
    purchase_model: PurchaseProcess,
    spend_model: GammaGammaFitter,
    *,
    months: int = 12,
    annual_discount: float = 0.10,
) -> ir.Table:
    """Return, for each customer who has purchased, the expected future over a horizon and its value.

    Parameters
    ----------
    customers
        One row per customer (`customers.summary`, in weeks).
    purchase_model, spend_model
        Fitted on the histories of these customers, in weeks and units of money; customers have any covariates.
    months
        The horizon; a month is a twelfth of 365.25 days.
    annual_discount
        The rate a year at which money to come loses worth: a purchase after u years counts (1 + rate)^-u.

    Returns
    -------
    ibis.Table
        The customers' columns and `p_alive` (probability of still being a customer), `expected_purchases` (over the
        horizon), `expected_spend` (amount of one), `margin` (share of it left after returns and, where known, costs),
        `lifetime_value` (purchases times spend times margin over the horizon, discounted) and `residual_value` (that
        of all time after it, as of today; NULL unless the discount is above 0). Spend and values are in units of money.
        A customer who loses money has a margin and values below 0; nothing is clipped. The residual value rests on
        what the purchase model says of decades to come.

    Raises `Unanswerable` if expectations are not finite, or nothing was purchased of which a margin could be told.

    Notes
    -----
    Few customers have bought so much that their own margin can be told from chance. To what each has bought are added
    k further purchases at the margin M of all customers together,

        margin = (value + d M) / (purchased + d),    d = k (purchased / purchases + S) / 2,

    of an amount midway between the customer's average and that of all, S, so that nobody's margin is told from cents.
    k is estimated by moments: of n purchases, r = (value - M purchased) / (purchased + n S) has the variance
    y^2 (t + s / n), where y = purchased / (purchased + n S), t is the variance of margins between customers and s that
    between purchases. The means of r^2 and n r^2 give both, and k = s / t. If t is not above 0, or all bought equally
    often, all have the margin M.
    """
    table = as_table(customers)
    table = table.drop(*(name for name in VALUED if name in table.columns))
    bought = table.filter(table["purchases"] > 0)
    weeks, delta = _horizon(months, annual_discount)
    distinct = histories(bought, *purchase_model.attributes).drop(columns="customers")
    history = purchase_model.known(distinct)
    expected, discounted, residual = _present(purchase_model, history, weeks, delta)
    future = distinct.assign(
        p_alive=purchase_model.conditional_probability_alive(**history),
        expected_purchases=expected,
        discounted=discounted,
        residual=residual,
    )
    p, q, v = (float(spend_model.params_[name]) for name in ("p", "q", "v"))
    # Gamma-Gamma, equation 5: the customer's own average and everyone's, weighted by what is known of the customer.
    spend = (p * (v + bought["frequency"] * bought["monetary_value"])) / (p * bought["frequency"] + q - 1)
    joined = bought.mutate(expected_spend=spend, margin=_margin(bought, average_margin(table)))
    joined = joined.inner_join(ibis.memtable(future), list(distinct))
    each = joined["expected_spend"] * joined["margin"]
    return joined.mutate(
        lifetime_value=joined["discounted"] * each,
        residual_value=joined["residual"] * each if delta > 0 else ibis.null("float64"),
    ).drop("discounted", "residual")


def refuse_far_horizon(customers: Table, months: int) -> None:
    """Raise `Unanswerable` if the horizon is more than four times as long as the customers have been known."""
    table = as_table(customers)
    known = float(table["T"].max().fill_null(0).execute())
    if months * WEEKS_A_YEAR / 12 > FARTHEST * known:
        raise Unanswerable(
            f"The first purchase was {numerals.count(7 * known)} days ago: too short a time to foretell {months} "
            "months from it."
        )


def _horizon(months: int, annual_discount: float) -> tuple[float, float]:
    """Return the horizon in weeks and the discount rate a week, compounded continuously."""
    if months < 1 or annual_discount <= -1 or not np.isfinite(annual_discount):
        raise ValueError(f"months must be at least 1 and annual_discount above -1, not {months} and {annual_discount}")
    return months * WEEKS_A_YEAR / 12, float(np.log1p(annual_discount)) / WEEKS_A_YEAR


def _present(model: PurchaseProcess, history: dict[str, Any], weeks: float, delta: float) -> tuple[np.ndarray, ...]:
    """Return the purchases expected over the horizon, these discounted, and those after it (0 without a discount).

    With E(u) purchases up to u these are, by parts,

        e^(-delta t) E(t) + delta integral 0..t e^(-delta u) E(u) du
        e^(-delta t) delta integral 0..oo e^(-delta w) [E(t + w) - E(t)] dw

    by Gauss-Legendre rules in z, u = t z^3 and w = 2 log(1 - z)^2 / delta, whose places are dense where E bends. With
    lifetimes of a Pareto/NBD (beta + T from a day to two years, s from 0.1 to 5, discounts from 5 to 30 %, up to 10
    years) they are off by less than 5e-5 of the first and 1.5e-4 of the second, mostly by far less.
    """

    def purchases(until: Any) -> Any:
        times = np.atleast_1d(until)[:, None]
        return model.conditional_expected_number_of_purchases_up_to_time(times, **history)

    expected = purchases(weeks)[0]
    left = np.exp(-delta * weeks)
    discounted, residual = left * expected, np.zeros_like(expected)
    if delta:
        z, weight = HORIZON
        u, step = weeks * z**3, 3 * weeks * z**2 * weight
        if model.season is not None:  # whose rates a rule over a quarter of a year follows
            quarters = np.ceil(weeks / 13)
            u = (weeks / quarters * (np.arange(quarters)[:, None] + z)).ravel()
            step = np.tile(weeks / quarters * weight, int(quarters))
        discounted = discounted + delta * (step * np.exp(-delta * u)) @ purchases(u)
    if delta > 0:
        z, weight = AFTER
        y, step = 2 * np.log1p(-z) ** 2, -4 * np.log1p(-z) / (1 - z) * weight  # y = delta w
        residual = left * (step * np.exp(-y)) @ (purchases(weeks + y / delta) - expected)
    lost = ~np.isfinite(discounted + residual)
    if lost.any():
        raise Unanswerable(f"What {numerals.count(lost.sum())} purchase histories lead to cannot be computed.")
    return expected, discounted, residual


def _margin(bought: ir.Table, average: float) -> ir.FloatingValue:
    """Return each customer's margin, drawn towards the average (see `value`)."""
    amount, count = bought["purchased"], bought["purchases"].cast("float64")
    usual = float((exact_sum(amount).cast("float64") / count.sum()).execute())
    whole = amount + usual * count
    share, excess = amount / whole, (bought["value"] - average * amount) / whole
    r, y = excess * excess, share * share
    terms = {"r0": r, "r1": count * r, "y0": y, "y1": count * y, "y2": y / count}
    exact = {name: term.cast("decimal(38, 12)").sum().cast("float64") for name, term in terms.items()}
    r0, r1, y0, y1, y2 = bought.aggregate(**exact).to_pandas().iloc[0]
    between, within = r1 * y2 - r0 * y0, r0 * y1 - r1 * y0
    if between <= 0 or y1 * y2 - y0**2 < 1e-9 * y0**2:
        return ibis.literal(average)
    added = max(within, 0.0) / between * (amount / count + usual) / 2
    return ((bought["value"] + added * average) / (amount + added).nullif(0)).fill_null(average)


def average_margin(customers: Table) -> float:
    """Return what is left of an amount purchased after returns and, where they are known, costs: of all together."""
    table = as_table(customers)
    sums = table.aggregate(**{name: exact_sum(table[name]).cast("float64") for name in ("value", "purchased")})
    value, purchased = sums.to_pandas().iloc[0]
    return float(value / total_value(purchased))


def new_customer_value(
    purchase_model: PurchaseProcess,
    spend_model: GammaGammaFitter,
    margin: float,
    *,
    months: int = 12,
    annual_discount: float = 0.10,
) -> dict[str, float]:
    """Return what a new customer who comes at the end of the data is worth at the first purchase, which is counted.

    Of a model with covariates it is one of whom they are 0. Arguments are those of `value`; `margin` is what
    is left of an amount purchased (see `average_margin`).

    Returns
    -------
    dict
        `expected_purchases` (the first and those of the horizon), `expected_spend` (of each; the first counts as a
        repeat purchase does), `lifetime_value` (over the horizon, discounted) and `value_without_end` (of all time;
        NaN unless the discount is above 0), all three in units of money.
    """
    weeks, delta = _horizon(months, annual_discount)
    nothing = pd.DataFrame(0.0, [0], [*HISTORY, *purchase_model.attributes])
    expected, discounted, residual = _present(purchase_model, purchase_model.known(nothing), weeks, delta)
    spend = float(spend_model.conditional_expected_average_profit(0, 0))
    horizon = 1 + float(discounted[0])
    return {
        "expected_purchases": 1 + float(expected[0]),
        "expected_spend": spend,
        "lifetime_value": horizon * spend * margin,
        "value_without_end": (horizon + float(residual[0])) * spend * margin if delta > 0 else float("nan"),
    }


def by_channel(
    customers: Table, attributes: Table, purchase_model: PurchaseProcess, spend_model: GammaGammaFitter, **horizon: Any
) -> pd.DataFrame:
    """Return what a new customer is worth by the channel through which customers were acquired, and what they cost.

    The models are fitted anew to the customers of each channel; channels of which too few customers (`REPEATERS`)
    bought again and paid are taken together as "other channels". Who is in no channel is in "unknown".

    Parameters
    ----------
    customers
        One row per customer (`customers.summary`, in weeks).
    attributes
        The table `customers` of the dataset: `customer_id`, `acquired_via` and, if known, `acquisition_cost`.
    purchase_model, spend_model
        Which models to fit; they are left as they are.
    **horizon
        `months` and `annual_discount`, as of `value`.

    Returns
    -------
    pandas.DataFrame
        One row per channel, best first: `channel`, `customers` (who have purchased), what `new_customer_value` returns
        of its models and its own `margin`, `acquisition_cost` (mean of those of whom it is known, in units of money)
        and `value_minus_cost` (over the horizon). What cannot be told of a channel is NaN.

    Raises `Unanswerable` if there is no column `acquired_via`.
    """
    attributes = as_table(attributes)
    if "acquired_via" not in attributes.columns:
        raise Unanswerable("This needs the column 'acquired_via' in the table 'customers'.")
    cost = attributes["acquisition_cost"] if "acquisition_cost" in attributes.columns else ibis.null("float64")
    known = attributes.select(known_id="customer_id", channel="acquired_via", acquisition_cost=cost.cast("float64"))
    table = as_table(customers)
    table = table.filter(table["purchases"] > 0)
    joined = table.left_join(known, table["customer_id"] == known["known_id"])
    joined = joined.mutate(channel=joined["channel"].nullif("").fill_null("unknown"))
    paid = ((joined["frequency"] > 0) & (joined["monetary_value"] > 0)).sum()
    sums = {name: exact_sum(joined[name]).cast("float64") for name in ("value", "purchased", "acquisition_cost")}
    sums["costs_known"] = joined["acquisition_cost"].count()
    found = joined.group_by("channel").aggregate(customers=joined.count(), paid=paid, **sums)
    counted = found.order_by("channel").to_pandas().fillna(0.0)
    small = set(counted["channel"][counted["paid"] < REPEATERS])
    pooled, bought, spent = (
        frame.assign(channel=frame["channel"].where(~frame["channel"].isin(small), "other channels"))
        for frame in (counted, histories(joined, "channel"), spend_histories(joined, "channel"))
    )
    rows = []
    for channel, sums in pooled.groupby("channel").sum().iterrows():
        row = {"channel": channel, "customers": int(sums["customers"])}
        row["acquisition_cost"] = sums["acquisition_cost"] / sums["costs_known"] if sums["costs_known"] else np.nan
        try:
            row["margin"] = sums["value"] / total_value(sums["purchased"])
            own = (rows[rows["channel"] == channel].drop(columns="channel") for rows in (bought, spent))
            purchases = copy.copy(purchase_model).fit_histories(next(own))
            spend = copy.copy(spend_model).fit_histories(next(own))
            row |= new_customer_value(purchases, spend, row["margin"], **horizon)
        except Unanswerable:
            pass  # too few even together, or they do not tell: the row has no value
        rows.append(row)
    names = ["channel", "customers", "expected_purchases", "expected_spend", "margin", "lifetime_value"]
    frame = pd.DataFrame(rows, columns=[*names, "value_without_end", "acquisition_cost"])
    frame = frame.assign(value_minus_cost=frame["lifetime_value"] - frame["acquisition_cost"])
    return frame.sort_values(["lifetime_value", "channel"], ascending=[False, True], ignore_index=True)


def growth(before: Table, now: Table) -> float:
    """Return the value that the customers of an earlier date have added since."""
    earlier = as_table(before)
    known = as_table(now).semi_join(earlier, "customer_id")
    then, since = (exact_sum(customers["value"]).fill_null(0).execute() for customers in (earlier, known))
    return float(since - then)


def at_risk(valued: Table, below: float = 0.5) -> ir.Table:
    """Return the customers who are alive with a probability of 5 % to `below`, those first of whom most is expected.

    They have the columns of `valued` (see `value`) and `value_if_alive`: the lifetime value, in units of money, of one
    who has certainly not left.
    """
    table = as_table(valued)
    risky = table.filter((table["p_alive"] < below) & (table["p_alive"] >= LOST))
    risky = risky.mutate(value_if_alive=risky["lifetime_value"] / risky["p_alive"])
    return risky.order_by(ibis.desc("lifetime_value"), ibis.asc("customer_id"))


def totals(valued: Table) -> dict[str, float]:
    """Return the sums over all customers.

    Returns
    -------
    dict
        `customers`, `expected_purchases`, `lifetime_value` and `residual_value` (units of money; the latter NaN
        without a discount), `p_alive` (the expected number of customers alive), and of those with a repeat purchase
        `repeaters` and `repeaters_alive`.
    """
    table = as_table(valued)
    repeats = table["frequency"] > 0
    sums = {name: table[name] for name in ("expected_purchases", "lifetime_value", "residual_value", "p_alive")}
    sums |= {"repeaters": repeats.cast("int8"), "repeaters_alive": repeats.ifelse(table["p_alive"], 0.0)}
    exact = {name: exact_sum(column).cast("float64") for name, column in sums.items()}
    return table.aggregate(customers=table.count(), **exact).to_pandas().iloc[0].astype(float).to_dict()
