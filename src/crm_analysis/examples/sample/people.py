"""Who the company knows: persons and companies, and the hidden traits from which all they do follows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_analysis.examples.sample import names
from crm_analysis.examples.sample.goods import RANGE
from crm_analysis.examples.sample.season import END

KNOWN = 2500
COMPANIES = 0.55  # share of the known
MANAGERS = [f"S{number:02}" for number in range(1, 9)]  # account managers, of companies only
SELLERS = [f"S{number:02}" for number in range(9, 13)]  # salespeople in the shop and on the telephone
LEAVING_MANAGER, GONE_FROM = "S05", 547  # the first day without: 2024-07-01
CHANGED = 0.12  # share of companies whose account manager changes for other reasons

# How people come to the company: share, cost, what it adds to their readiness to buy, and by how much it multiplies
# how often they buy and how long they stay.
CHANNELS = pd.DataFrame(
    [
        ("visit", 0.14, 180.0, 0.3, 1.20, 1.3),
        ("meeting", 0.10, 120.0, 0.3, 1.10, 1.2),
        ("referral", 0.18, 25.0, 1.0, 1.40, 1.8),
        ("fair", 0.13, 90.0, -0.1, 1.00, 1.0),
        ("telephone", 0.15, 40.0, -0.3, 0.85, 0.8),
        ("web", 0.30, 15.0, 0.1, 0.75, 0.6),
    ],
    columns=["channel", "share", "cost", "readiness", "rate", "lifetime"],
).set_index("channel")

# Purchases a week ~ Gamma(R, ALPHA), lifetime in weeks ~ exponential with a rate ~ Gamma(S, BETA), as in Pareto/NBD.
R, ALPHA, S, BETA = 1.0, 13.0, 1.0, 130.0


def known(rng: np.random.Generator) -> pd.DataFrame:
    """Return whom the company knows, as the customers table has it, but for what follows from contacts and purchases.

    Further columns are the account `manager`, the `successor`, the day from which it is that one (`changes`), and
    the `size` (employees, known to the company or not; 1 for a person).
    """
    n = KNOWN
    company = rng.random(n) < COMPANIES
    channel = rng.choice(CHANNELS.index.to_numpy(), n, p=CHANNELS["share"])
    industry = np.where(company, rng.choice(list(names.COMPANIES), n), "")
    first_names, surnames = (np.array(text.split(), dtype=object) for text in (names.GIVEN, names.SURNAMES))
    pairs = rng.choice(len(first_names) * len(surnames), n, replace=False)  # no two have one name
    given, surname = first_names[pairs % len(first_names)], surnames[pairs // len(first_names)]
    other, town, pattern = rng.choice(surnames, n), rng.choice(names.TOWNS.split(), n), rng.integers(3, size=n)
    person = np.where(rng.random(n) < 0.93, given + " " + surname, surname + ", " + given)
    called = [
        names.COMPANIES[field][which].format(given=first, name=last, other=second, town=place) if field else who
        for field, which, first, last, second, place, who in zip(
            industry, pattern, given, surname, other, town, person, strict=True
        )
    ]
    employees = np.where(company, np.ceil(np.exp(rng.normal(2.2, 1.1, n))), 1)
    cost = CHANNELS["cost"].reindex(channel).to_numpy() * np.exp(rng.normal(0, 0.3, n))
    born = rng.normal(1976, 12, n).clip(1941, 2005).astype(int)
    birthday = pd.to_datetime({"year": born, "month": rng.integers(1, 13, n), "day": rng.integers(1, 29, n)})
    wishes = ["", "delivery before 9", "invoice by e-mail", "call in the afternoon only", "no part deliveries"]
    manager = rng.choice(MANAGERS, n)
    leaves = manager == LEAVING_MANAGER
    staying = [other for other in MANAGERS if other != LEAVING_MANAGER]
    place = pd.Index(staying).get_indexer(manager)
    successor = np.array(staying)[(place + rng.integers(1, len(staying), n)) % len(staying)]  # somebody else
    elsewhen = np.where(rng.random(n) < CHANGED, rng.integers(120, END - 60, n), END + 1)
    return pd.DataFrame(
        {
            "customer_id": [f"C{number:04}" for number in range(1, n + 1)],
            "name": called,
            "kind": np.where(company, "company", "person"),
            "acquired_via": channel,
            "acquisition_cost": np.where(rng.random(n) < 0.92, cost.round(2), np.nan),
            "region": rng.choice(["North", "East", "South", "West", "Coast"], n, p=[0.3, 0.15, 0.2, 0.2, 0.15]),
            "birthday": birthday.where(rng.random(n) < np.where(company, 0.45, 0.75)),
            "contact_person": np.where(company & (rng.random(n) < 0.9), person, ""),
            "industry": np.where(rng.random(n) < 0.95, industry, ""),
            "employees": pd.array(np.where(company & (rng.random(n) < 0.8), employees, np.nan), "Int64"),
            "preferred_contact": rng.choice(["telephone", "e-mail", "visit", ""], n, p=[0.3, 0.35, 0.15, 0.2]),
            "preference": rng.choice(wishes, n, p=[0.78, 0.06, 0.08, 0.04, 0.04]),
            "do_not_call": np.where(rng.random(n) < 0.04, "yes", ""),
            "manager": np.where(company, manager, ""),
            "successor": np.where(company, successor, ""),
            "changes": np.where(leaves, GONE_FROM, elsewhen),
            "size": employees,
        }
    )


def manager_at(people: pd.DataFrame, rows: np.ndarray | pd.Series, days: np.ndarray | pd.Series) -> np.ndarray:
    """Return who looks after these customers on these days; "" for persons."""
    who = people.iloc[rows]
    return np.where(np.asarray(days) < who["changes"], who["manager"], who["successor"])


def with_traits(people: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Add the hidden traits of each of them: what purchases, payments and service are simulated from.

    When they buy: `rate` (purchases a day in an average season), `regularity` (1: at random; more: in ever more equal
    intervals), `seasonal`, `leaves` (the day from which nothing is bought any more), `steadfast` (no trouble drives
    them away). What they buy: `level` (of a purchase, at list prices), its `spread`, its `growth` from quarter to
    quarter in the last year, `bulk_number` and `bulk_factor` (which purchase is how many times the usual; 0: none),
    `discount` (a standing one), `returns` (share of lines), `appetite_<category>`. What else they do: `visits` (that
    they need each month), `overdue` (pay late or never).
    """
    n, company = len(people), (people["kind"] == "company").to_numpy()
    via = CHANNELS.loc[people["acquired_via"]]
    rate = rng.gamma(R, 1 / ALPHA, n) * via["rate"].to_numpy() / 7
    lifetime = rng.exponential(1, n) / rng.gamma(S, 1 / BETA, n) * via["lifetime"].to_numpy() * 7
    larger = 0.35 * (np.log(people["size"].to_numpy()) - 2.2)
    level = np.where(company, 480 * np.exp(larger + rng.normal(0, 0.75, n)), 120 * np.exp(rng.normal(0, 0.55, n)))
    level = level.clip(20, 12_000)
    usual = np.array([[persons, companies] for persons, companies, _ in RANGE.values()])
    appetite = rng.gamma(0.8 * np.where(company[:, None], usual[:, 1], usual[:, 0]))
    appetite[np.arange(n), rng.integers(4, size=n)] += 0.05  # nobody wants nothing
    traits = {
        "rate": rate,
        "regularity": 1.0,
        "seasonal": True,
        "leaves": people["joined"] + lifetime,
        "steadfast": False,
        "level": level,
        "spread": 0.35,
        "growth": 1.0,
        "bulk_number": 0,
        "bulk_factor": 1.0,
        "discount": np.where(company & (level > 900) & (rng.random(n) < 0.5), 0.06, 0.0),
        "returns": 0.018,
        "visits": np.where(company, (rate * level / 60).clip(0, 0.8), 0.0),
        "overdue": False,
    }
    wants = {f"appetite_{category}": appetite[:, column] for column, category in enumerate(RANGE)}
    return people.assign(**traits, **wants)
