"""How many will be in each stage: the moves of the last year go on."""

from __future__ import annotations

from typing import TypeAlias

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.lifecycle.moves import moves_between
from crm_analysis.lifecycle.stages import LEADS, STAGES

NAMES = (*LEADS, *STAGES)
GROUPS = (2, 4, 8, 16, 32)  # purchases from which a customer belongs to the next group
LONGEST = 12  # steps of silence after which one more makes no difference
WARM_UP = 3  # months at the start of a log, when old customers seem new: nothing is learnt from them
WEIGHT = 10  # customers' worth of the average step that is mixed into each step's moves
GONE = len(NAMES) * (len(GROUPS) + 1) * (LONGEST + 1)  # beyond all states: neither customer nor lead
DRAWS, SEED = 400, 20
BOUNDS = (0.05, 0.95)
Counts: TypeAlias = NDArray[np.int64]
_TOO_SHORT = (
    f"The history is too short for a forecast of the stages: it is learnt from a whole year that begins {WARM_UP}"
    " months after the log does, and checked on what came after."
)


def forecast(staged: Table, *, steps: int = 12, recent_steps: int = 12) -> pd.DataFrame:
    """Return how many will be in each stage at the next dates, with bounds that hold with 90 % if nothing changes.

    Where somebody goes next depends on the stage, on the purchases so far and on how long ago the last one was. Each
    step to come repeats one of the recent steps, the one a year before it or a neighbour of that, so that the season
    stays; who comes anew is drawn from the same step. A change of the company or its market is not foreseen.

    Parameters
    ----------
    staged
        The stages at consecutive ends of months (see `stages` and `month_ends`).
    steps
        How many steps to look ahead.
    recent_steps
        The steps up to the last date from which the moves are learnt, a year of them at least.

    Returns
    -------
    pandas.DataFrame
        `date`, `stage`, `expected`, `low`, `high` (customers); the first date is the last known one.

    Raises
    ------
    Unanswerable
        There is less than a year of steps after the first three months, when a log takes old customers for new ones.

    Notes
    -----
    A Markov chain on stage, purchases and silence, simulated. The probabilities of each recent step have a Dirichlet
    posterior whose prior is the average of all, worth 10 customers. The same stages give the same numbers.
    """
    table, dates = as_table(staged), _dates(staged)
    spare, months = _spare(dates)
    if steps < 1 or recent_steps * months < 12:
        raise ValueError(f"steps must be at least 1 and recent_steps a year, not {steps} and {recent_steps}")
    if spare < 0:
        raise Unanswerable(_TOO_SHORT)
    first = dates[max(len(dates) - recent_steps - 1, -(-WARM_UP // months))]
    placed = placed_in_states(table.filter(table["date"] >= first.date()), months * 365.25 / 12)
    states, now, moves, arrivals = _arrays(moves_between(placed, GONE))
    left = moves.sum(axis=0)
    prior = WEIGHT * left / np.maximum(left.sum(axis=1, keepdims=True), 1)
    prior[left.sum(axis=1) == 0] = np.eye(len(states))[left.sum(axis=1) == 0]  # nobody ever left: all stay
    rng = np.random.default_rng(SEED)
    people = np.tile(now, (DRAWS, 1))
    in_stage = states[:, None] // (LONGEST + 1) // (len(GROUPS) + 1) == range(len(NAMES))
    at_each = [people @ in_stage]
    for ahead in range(1, steps + 1):
        like = rng.choice(_alike(len(moves), max(1, 12 // months), ahead), size=DRAWS)
        chances = rng.standard_gamma(moves[like] + prior)
        moved = rng.multinomial(people, chances / chances.sum(axis=2, keepdims=True))
        people = moved.sum(axis=1) + rng.poisson(rng.standard_gamma(arrivals[like]))
        at_each.append(people @ in_stage)
    drawn = np.array(at_each).transpose(0, 2, 1)  # date, stage, draw
    ends = pd.date_range(dates[-1], periods=steps + 1, freq=f"{months}ME")
    found = pd.DataFrame(index=pd.MultiIndex.from_product([ends, NAMES], names=["date", "stage"])).reset_index()
    found["expected"] = drawn.mean(axis=2).ravel()
    found["low"], found["high"] = (np.quantile(drawn, bound, axis=2).ravel() for bound in BOUNDS)
    return found[found.groupby("stage")["high"].transform("max") > 0].reset_index(drop=True)


def backtest(staged: Table, *, steps: int = 12, recent_steps: int = 12) -> pd.DataFrame:
    """Return what `forecast` would have said some steps ago beside what came.

    Parameters
    ----------
    staged, steps, recent_steps
        See `forecast`; where less than a year is known before the last `steps`, fewer are foretold.

    Returns
    -------
    pandas.DataFrame
        `date`, `stage`, `actual`, `expected`, `low`, `high`, `within` (whether the actual number lies in the bounds).

    Raises
    ------
    Unanswerable
        There is not a step more than `forecast` needs.
    """
    table, dates = as_table(staged), _dates(staged)
    held = min(steps, _spare(dates)[0])
    if held < 1:
        raise Unanswerable(_TOO_SHORT)
    seen = table.filter(table["date"] <= dates[-held - 1].date())
    told = forecast(seen, steps=held, recent_steps=recent_steps).set_index(["date", "stage"])
    came = table.group_by("date", "stage").aggregate(actual=table.count()).to_pandas()
    came = came.assign(date=pd.to_datetime(came["date"])).set_index(["date", "stage"])["actual"]
    told = told[told.index.get_level_values("date") > dates[-held - 1]]
    told.insert(0, "actual", came.reindex(told.index, fill_value=0))
    return told.assign(within=told["actual"].between(told["low"], told["high"])).reset_index()


def _spare(dates: list[pd.Timestamp]) -> tuple[int, int]:
    """Return how many dates there are beyond those that a forecast needs, and the months from one to the next."""
    months = max(1, round((dates[-1] - dates[0]).days / max(len(dates) - 1, 1) / (365.25 / 12)))
    return len(dates) - 1 - -(-WARM_UP // months) - -(-12 // months), months


def _dates(staged: Table) -> list[pd.Timestamp]:
    found = as_table(staged).select("date").distinct().to_pandas()["date"]
    return sorted(pd.to_datetime(found))


def placed_in_states(staged: ir.Table, days: float) -> ir.Table:
    """Return `customer_id`, `date`, `now`: a number made of the stage, the group of purchases and steps of silence."""
    stage = ibis.cases(*((staged["stage"] == name, at) for at, name in enumerate(NAMES)), else_=0)
    group = ibis.cases(*((staged["purchases"] < limit, at) for at, limit in enumerate(GROUPS)), else_=len(GROUPS))
    silence = ibis.least((staged["silence"] / days).floor().cast("int64"), LONGEST).fill_null(0)
    return staged.select("customer_id", "date", now=(stage * (len(GROUPS) + 1) + group) * (LONGEST + 1) + silence)


def _arrays(moved: pd.DataFrame) -> tuple[Counts, Counts, Counts, Counts]:
    """Return the states, the last of them being nowhere; how many are in each at the last date; for each step, how
    many went from each to each; and how many came from nowhere to each.
    """
    dates, at = np.unique(moved["date"], return_inverse=True)
    states = np.unique([*moved["before"], *moved["now"], GONE])
    counts = np.zeros((len(dates), len(states), len(states)), dtype=np.int64)
    counts[at, *(np.searchsorted(states, moved[place]) for place in ("before", "now"))] = moved["customers"]
    arrivals, counts[:, -1] = counts[:, -1].copy(), 0  # whoever has gone stays away: who returns is counted as new
    now = counts[-1].sum(axis=0) + arrivals[-1]
    now[-1] = 0
    return states, now, counts, arrivals


def _alike(recent: int, per_year: int, ahead: int) -> list[int]:
    """Return which of the recent steps a step to come may repeat: those of its time of the year."""
    apart = [(recent - 1 + ahead - step) % per_year for step in range(recent)]
    near = per_year // 12  # of steps of a month, the neighbours too
    return [step for step, steps in enumerate(apart) if min(steps, per_year - steps) <= near]
