"""What happens around the sales: cases, calls and visits, account managers, and what service costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_analysis.examples.sample.people import SELLERS, manager_at
from crm_analysis.examples.sample.season import END, month, past_sunday

AGENTS = [f"A{number:02}" for number in range(1, 7)]  # of the service centre, who take the calls
INQUIRIES = {"order status": (0.025, 1), "payment question": (0.02, 26)}  # share of orders; days after the order
OPENS, CLOSES = 8 / 24, 17 / 24
PATIENCE = 260  # seconds, on average, after which a caller hangs up
HARDLY_HANGS_UP = ["order", "case", "follow up", "declined"]


def cases(orders: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return complaints and inquiries.

    Returns
    -------
    pandas.DataFrame
        `case_id`, `row`, `cause`, `day`, `opened`, `first_response`, `closed` (days with their times), `satisfaction`,
        `reopened`; what lies after the end is empty.
    """
    complaints = orders[orders["complaint"] != ""]
    noticed = np.where(complaints["complaint"] == "late delivery", complaints["promised"] + 1, complaints["delivered"])
    noticed = noticed + np.where(complaints["complaint"] == "invoice", 6, 0) + rng.integers(0, 4, len(complaints))
    parts = [pd.DataFrame({"row": complaints["row"], "cause": complaints["complaint"], "day": noticed})]
    for cause, (share, after) in INQUIRIES.items():
        asked = orders[(rng.random(len(orders)) < share) & (orders["complaint"] == "") & (orders["number"] > 1)]
        day = asked["day"] + after + rng.integers(0, 3, len(asked))
        parts.append(pd.DataFrame({"row": asked["row"], "cause": cause, "day": day}))
    every = pd.concat(parts, ignore_index=True)
    every = every.assign(day=past_sunday(every["day"]))
    every = every[every["day"] <= END].sort_values(["day", "row", "cause"], ignore_index=True)

    n, simple = len(every), every["cause"].isin(list(INQUIRIES)).to_numpy()
    opened = every["day"] + rng.beta(1.6, 1.8, n)  # a day is one of work until `_in_office` says what time it is
    response = opened + np.exp(rng.normal(-0.9, 0.9, n))
    closed = response + np.exp(rng.normal(np.where(simple, -1.2, 0.7), 0.8, n))
    reopened = rng.random(n) < np.where(simple, 0.02, 0.09)
    pleased = 4.6 - 0.3 * ~simple - 0.45 * np.log1p(closed - opened) - 1.0 * reopened + rng.normal(0, 0.8, n)
    done = (closed < END + 1).to_numpy()
    answered = done & (rng.random(n) < 0.6)
    return every.assign(
        case_id=[f"K{number:04}" for number in range(1, n + 1)],
        opened=_in_office(opened),
        first_response=_in_office(response.where(response < END + 1)),
        closed=_in_office(closed.where(done)),
        satisfaction=pd.array(np.where(answered, pleased.round().clip(1, 5), np.nan), "Int64"),
        reopened=np.where(done, np.where(reopened, "yes", "no"), ""),
    )


def contacts(
    approached: pd.DataFrame, orders: pd.DataFrame, cases: pd.DataFrame, people: pd.DataFrame, rng: np.random.Generator
) -> pd.DataFrame:
    """Return all contacts: those before the first purchase, calls with an order, a case or a question, and visits.

    Returns
    -------
    pandas.DataFrame
        `contact_id`, `row`, `time` (the day with its time), `purpose`, `channel`, `direction`, `agent_id`,
        `wait_seconds` (of calls that come in), `outcome`, `interest` (before the first purchase).
    """
    every = pd.concat(
        [_before(approached, people, rng), _calls(orders, cases, rng), _visits(orders, people, rng)], ignore_index=True
    )
    every = every.assign(day=past_sunday(np.floor(every["day"])))
    every = every[every["day"] <= END].reset_index(drop=True)
    n, day = len(every), every["day"]
    moment = rng.beta(1.6, 1.8, n)
    called = ((every["direction"] == "in") & (every["channel"] == "telephone")).to_numpy()
    crowd = np.where((moment > 0.2) & (moment < 0.45), 2.2, 1.0) * np.where(day % 7 == 1, 1.5, 1.0)
    crowd = crowd * np.where(np.isin(month(day), [4, 5]), 1.4, 1.0)  # before noon, on Mondays, in spring
    waited = np.round(28 * crowd * np.exp(rng.normal(0, 0.8, n)))
    hangs_up = called & ~every["outcome"].isin(HARDLY_HANGS_UP) & (waited > rng.exponential(PATIENCE, n))
    manager = manager_at(people, every["row"], day)
    outside = np.where(manager == "", rng.choice(SELLERS, n), manager)
    every = every.assign(
        time=_in_office(day + moment),
        agent_id=np.where(called, rng.choice(AGENTS, n), outside),
        wait_seconds=pd.array(np.where(called, waited, np.nan), "Int64"),
        outcome=np.where(hangs_up, "hung up", every["outcome"]),
        interest=every["interest"].astype("Int64"),
    ).sort_values(["time", "row", "purpose"], ignore_index=True)
    return every.assign(contact_id=[f"T{number:05}" for number in range(1, n + 1)])


def _before(approached: pd.DataFrame, people: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the contacts before the first purchase; the first one is by the channel that people came by."""
    n, first = len(approached), approached["number"] == 1
    via = people["acquired_via"].to_numpy()[approached["row"]]
    by_itself = np.where(via == "referral", "telephone", via)
    return approached.assign(
        purpose=np.select([first, approached["number"] == 2], ["market", "prospecting"], "sales"),
        channel=np.where(first, by_itself, rng.choice(["telephone", "e-mail", "visit"], n, p=[0.55, 0.25, 0.20])),
        direction=np.where(first & np.isin(via, ["web", "telephone", "referral"]), "in", "out"),
        interest=approached["interest"].where(~first),
    )


def _calls(orders: pd.DataFrame, cases: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the calls of customers: with an order, with a case, or with a question that is answered at once."""
    ordered = orders[(orders["channel"] == "telephone") & (rng.random(len(orders)) < 0.55)]
    opened = cases[rng.random(len(cases)) < 0.7]
    asked = orders[rng.random(len(orders)) < 0.06]
    asked = asked.assign(
        day=asked["day"] + rng.integers(0, 40, len(asked)),
        purpose=rng.choice(["service", "sales"], len(asked), p=[0.7, 0.3]),
        outcome=rng.choice(["solved", "call back", "no interest"], len(asked), p=[0.75, 0.15, 0.10]),
    )
    calls = [ordered.assign(purpose="sales", outcome="order"), opened.assign(purpose="service", outcome="case"), asked]
    columns = ["row", "day", "purpose", "outcome"]
    return pd.concat([call[columns] for call in calls]).assign(channel="telephone", direction="in")


def _visits(orders: pd.DataFrame, people: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the account managers' visits and calls to customers who have bought more than twice."""
    span = orders.groupby("row")["day"].agg(["min", "max", "size"])
    span = span[(people["manager"].to_numpy()[span.index] != "") & (span["size"] > 2)]
    seen = span.loc[np.repeat(span.index, rng.poisson((span["max"] - span["min"]) / 220))]
    return pd.DataFrame(
        {
            "row": seen.index,
            "day": rng.integers(seen["min"], seen["max"] + 1),
            "purpose": "sales",
            "outcome": rng.choice(["quote", "no interest", "follow up"], len(seen)),
            "channel": rng.choice(["visit", "telephone"], len(seen)),
            "direction": "out",
        }
    )


def assignments(contacts: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Return who looks after whom from the first contact on that is more than an introduction, or the first purchase.

    Returns
    -------
    pandas.DataFrame
        `row`, `account_manager_id`, `start`, `end` (the last day; empty: still so).
    """
    met = contacts[contacts["purpose"] != "market"].groupby("row")["time"].min()
    managed = people[people["manager"] != ""]
    start = np.floor(np.fmin(met.reindex(managed.index), managed["joined"])).dropna()
    managed = managed.loc[start.index]
    changes = managed["changes"]
    stays = [
        pd.DataFrame({"start": start, "account_manager_id": managed["manager"], "end": changes - 1})[start < changes],
        pd.DataFrame({"start": np.maximum(start, changes), "account_manager_id": managed["successor"]}),
    ]
    every = pd.concat(stays).rename_axis("row").reset_index()
    every = every.assign(end=every["end"].where(every["end"] < END))
    return every[every["start"] <= END].sort_values(["row", "start"], ignore_index=True)


def service_costs(
    orders: pd.DataFrame, cases: pd.DataFrame, people: pd.DataFrame, rng: np.random.Generator
) -> pd.DataFrame:
    """Return what it cost to serve customers: visits while they bought, and work on cases: `row`, `day`, `cost`."""
    span = orders.groupby("row")["day"].agg(["min", "max"])
    visits = rng.poisson(people["visits"].to_numpy()[span.index] * (span["max"] - span["min"]) / 30.4)
    seen = span.loc[np.repeat(span.index, visits)]
    day = rng.integers(seen["min"], seen["max"] + 1)
    visited = pd.DataFrame({"row": seen.index, "day": day, "cost": rng.uniform(70, 140, len(seen))})
    worked = cases.dropna(subset="closed")
    work = rng.uniform(6, 22, len(worked)) * np.where(worked["cause"].isin(list(INQUIRIES)), 0.6, 1.3)
    handled = pd.DataFrame({"row": worked["row"], "day": np.floor(worked["closed"]), "cost": work})
    every = pd.concat([visited, handled], ignore_index=True).round({"cost": 2})
    return every.sort_values(["day", "row", "cost"], ignore_index=True)


def _in_office(moments: pd.Series) -> pd.Series:
    """Return moments counted in days of work as days with their time of day, within office hours."""
    day = np.floor(moments)
    return day + OPENS + (moments - day) * (CLOSES - OPENS)
