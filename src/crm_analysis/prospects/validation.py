"""Whether the propensity can be relied on: what was foretold of leads at past dates, beside who of them bought."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.prospects.panel import features
from crm_analysis.prospects.propensity import Propensity
from crm_analysis.rates import Z, wilson

FOLDS = 4  # of a horizon each: with 90 days, the last year of decision dates, and so every season
BINS = 10
TOLD = ("propensity", "base", "converted")
BEST = 0.20  # share of the leads, judged best, whose purchases tell how good the judgement is
CERTAIN = 1e-6  # a probability nearer to 0 or 1 counts as this, because being wrong would cost without limit


@dataclass(frozen=True)
class Validation:
    """How well leads were judged at dates from which nothing had been learnt.

    Attributes
    ----------
    held
        Distinct leads: `leads`, `buyers`, `propensity` and `base` (the share of buyers among the leads learnt from).
    since, until
        The first and the last of these dates.
    repeated
        By how much more the errors vary than if every row were another lead, because the same person is there at
        several dates (design effect): so many rows tell as much as one.
    gain, gain_low
        By how much the log loss of a lead is below that of the base rate, and the lower end of its 95 % interval, in
        which a person counts once.
    """

    held: pd.DataFrame = field(repr=False)
    since: dt.date
    until: dt.date
    repeated: float
    gain: float
    gain_low: float

    @property
    def useful(self) -> bool:
        """Whether the model beats the base rate by more than chance explains."""
        return self.gain_low > 0


def validate(panel: Table, *, horizon_days: int = 90) -> Validation:
    """Return how well leads would have been judged at the last decision dates, up to four horizons of them.

    The leads of each horizon are judged by a model that has learnt only from dates whose own horizon had ended by its
    first date: nothing is known then that a report of that day would not have known.

    Parameters
    ----------
    panel
        Leads at past dates whose horizon has ended (see `panel`); cached, because it is read several times.
    horizon_days
        Days after a date in which they were to buy.

    Raises
    ------
    Unanswerable
        There are too few leads before the last dates to learn from.
    """
    table, names = as_table(panel), features(panel)
    found = table.aggregate(first=table["at"].min(), last=table["at"].max()).to_pandas().iloc[0]
    if pd.isna(found["last"]):
        raise Unanswerable("Nobody was a lead at a past date, so nothing tells who becomes a customer.")
    last, horizon = pd.Timestamp(found["last"]).date(), dt.timedelta(days=horizon_days)
    rows: list[pd.DataFrame] = []
    judged, since = [], last
    for fold in range(FOLDS):
        end = last - fold * horizon
        asked = table.filter(table["at"] > end - horizon, table["at"] <= end)
        begin = asked.aggregate(first=asked["at"].min()).to_pandas()["first"].iloc[0]
        if pd.isna(begin):
            continue
        begin = pd.Timestamp(begin).date()
        try:
            model = Propensity(names).fit(table.filter(table["at"] <= begin - horizon))
        except Unanswerable:
            if not rows:
                raise
            break
        distinct = model.distinct(asked)
        rows.append(distinct.assign(base=model.base_rate_))
        judged.append(model.joined(asked, rows[-1], "propensity", "base").select("customer_id", *TOLD))
        since = begin
    held = pd.concat(rows, ignore_index=True)
    return Validation(held, since, last, *_by_person(ibis.union(*judged) if len(judged) > 1 else judged[0]))


def _by_person(judged: ir.Table) -> tuple[float, float, float]:
    """Return the design effect, the gain in log loss for a lead and the lower end of its interval."""
    bought = judged["converted"].cast("float64")
    error = bought - judged["propensity"]
    gains = []
    for name in ("propensity", "base"):
        chance = ibis.greatest(ibis.least(judged[name], 1 - CERTAIN), CERTAIN)
        gains.append(judged["converted"].ifelse(chance, 1 - chance).ln())
    rows = judged.select("customer_id", error=error, squared=error * error, gain=gains[0] - gains[1])
    people = rows.group_by("customer_id").aggregate(
        rows=rows.count(), error=rows["error"].sum(), squared=rows["squared"].sum(), gain=rows["gain"].sum()
    )
    frame = people.aggregate(
        rows=people["rows"].sum(),
        between=(people["error"] * people["error"]).sum(),
        within=people["squared"].sum(),
        gain=people["gain"].sum(),
        gain_rows=(people["gain"] * people["rows"]).sum(),
        gain_squared=(people["gain"] * people["gain"]).sum(),
        rows_squared=(people["rows"] * people["rows"]).sum(),
    )
    told = frame.to_pandas().iloc[0].astype(float)
    gain = told["gain"] / told["rows"]
    spread = told["gain_squared"] - 2 * gain * told["gain_rows"] + gain**2 * told["rows_squared"]
    error = np.sqrt(max(spread, 0)) / told["rows"]
    repeated = told["between"] / told["within"] if told["within"] > 0 else 1.0
    return max(float(repeated), 1.0), float(gain), float(gain - Z * error)


def calibration(validation: Validation, bins: int = BINS) -> pd.DataFrame:
    """Return what was foretold and what happened, for bins of about as many leads each.

    Leads judged equal are in one bin, so there may be fewer bins.

    Returns
    -------
    pandas.DataFrame
        The least probable first: `bin`, `leads`, `buyers`, `predicted` (mean propensity), `rate` (share who bought) and
        its 95 % interval, `low` and `high` (Wilson, of as many leads as the rows tell as much as, see `Validation`).
    """
    if bins < 1:
        raise ValueError(f"there is at least 1 bin, not {bins}")
    equal = validation.held.assign(predicted=lambda t: t["propensity"] * t["leads"])
    equal = equal.groupby("propensity")[["leads", "buyers", "predicted"]].sum()
    middle = equal["leads"].cumsum() - equal["leads"] / 2
    found = equal.groupby((middle * bins // equal["leads"].sum()).astype(int)).sum().reset_index(drop=True)
    rate = found["buyers"] / found["leads"]
    low, high = wilson(rate, found["leads"] / validation.repeated)
    found = found.assign(predicted=found["predicted"] / found["leads"], rate=rate, low=low, high=high)
    return found.rename_axis("bin").reset_index().assign(bin=lambda t: t["bin"] + 1)


def calibration_error(bins: pd.DataFrame) -> float:
    """Return the expected calibration error (ECE): how far what was foretold lay off, for the average lead."""
    return float(((bins["predicted"] - bins["rate"]).abs() * bins["leads"]).sum() / bins["leads"].sum())


def error_by_chance(bins: pd.DataFrame, validation: Validation) -> float:
    """Return the calibration error that a perfectly calibrated model would have, because leads are few.

    In each bin the share who buy is about normal around what was foretold: its mean distance is √(2/π) of its
    standard deviation, with as many leads as the rows tell as much as.
    """
    spread = np.sqrt(bins["predicted"] * (1 - bins["predicted"]) * validation.repeated / bins["leads"])
    return float((np.sqrt(2 / np.pi) * spread * bins["leads"]).sum() / bins["leads"].sum())


def scores(validation: Validation) -> dict[str, float]:
    """Return how good the judgement was.

    Returns
    -------
    dict
        `leads`, `buyers`, `rate` (share who bought), `log_loss`, `log_loss_base`, `brier`, `brier_base` (those of the
        base rate learnt from), `auc` (probability that a buyer was judged better than one who did not buy) and `lift`
        (how many times as often as the average the 20 % judged best bought; equals at the edge count in part).
    """
    held = validation.held
    n, bought = held["leads"].to_numpy(float), held["buyers"].to_numpy(float)
    rate = bought.sum() / n.sum()
    found = {"leads": n.sum(), "buyers": bought.sum(), "rate": rate}
    for name, suffix in (("propensity", ""), ("base", "_base")):
        chance = held[name].to_numpy(float)
        sure = chance.clip(CERTAIN, 1 - CERTAIN)
        found["log_loss" + suffix] = -(bought @ np.log(sure) + (n - bought) @ np.log(1 - sure)) / n.sum()
        found["brier" + suffix] = (bought @ (1 - chance) ** 2 + (n - bought) @ chance**2) / n.sum()
    best = held.assign(others=n - bought).groupby(-held["propensity"])[["leads", "buyers", "others"]].sum()
    beaten = best["others"][::-1].cumsum()[::-1] - best["others"] / 2
    found["auc"] = (best["buyers"] * beaten).sum() / (bought.sum() * (n - bought).sum() or np.nan)
    up_to = best.cumsum()
    top = np.interp(BEST * n.sum(), np.append(0, up_to["leads"]), np.append(0, up_to["buyers"]))
    found["lift"] = top / (BEST * bought.sum() or np.nan)
    return {name: float(value) for name, value in found.items()}
