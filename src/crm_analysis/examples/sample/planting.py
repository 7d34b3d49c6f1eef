"""Customers to be found: their hidden traits differ from everybody's, and all they do follows from these."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from crm_analysis.examples.sample.goods import RANGE, SMALL_CATEGORIES
from crm_analysis.examples.sample.people import GONE_FROM, LEAVING_MANAGER
from crm_analysis.examples.sample.season import END

# They buy in nearly equal intervals and amounts, whatever the season, and nothing drives them away.
STEADY: dict[str, Any] = {"regularity": 4.0, "seasonal": False, "steadfast": True, "leaves": np.inf, "spread": 0.18}
MODEST: dict[str, Any] = STEADY | {"discount": 0.0, "returns": 0.0, "visits": 0.0}


def plant(people: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, pd.Index]]:
    """Give some customers the traits of those who are to be found; nobody is of two kinds.

    Returns
    -------
    tuple
        The people, and the rows of each kind.
    """
    people, planted = people.copy(), {}
    free = people["joined"].notna()
    joined, company = people["joined"], people["kind"] == "company"

    def choose(kind: str, count: int, among: pd.Series, traits: dict[str, Any]) -> pd.Index:
        """Take so many; a trait is one value, or the limits between which it lies."""
        rows = pd.Index(np.sort(rng.choice(people.index[free & among], count, replace=False)))
        free[rows], planted[kind] = False, rows
        for trait, value in traits.items():
            people.loc[rows, trait] = rng.uniform(value[0], value[1], count) if isinstance(value, tuple) else value
        return rows

    # A few small purchases, and one as large as what a key customer buys in a year.
    rows = choose(
        *("bulk_buyers", 8, joined < 600),
        MODEST | {"rate": (1 / 80, 1 / 55), "level": (110, 170), "bulk_factor": (34, 40)},
    )
    people.loc[rows, "bulk_number"] = rng.integers(3, 5, len(rows))
    people.loc[rows, "leaves"] = joined[rows] + rng.uniform(440, 480, len(rows))
    # Much revenue, but discounts, returns and visits cost more than it earns.
    choose(
        *("unprofitable_big", 8, company & (joined < 350)),
        STEADY
        | {"rate": (1 / 21, 1 / 14), "level": (700, 1000), "discount": (0.28, 0.33), "returns": 0.14}
        | {"visits": (2.5, 3.5)},
    )
    # Joined a year or two ago with small purchases, which nearly double from quarter to quarter.
    choose(
        *("rising_small", 12, joined.between(END - 640, END - 430)),
        MODEST | {"rate": 1 / 20.3, "regularity": 150.0, "level": (7, 8), "growth": (2.05, 2.15), "spread": 0.05},
    )
    # Bought every two weeks for years, then stopped three or four months before the end.
    choose(
        *("quiet_key_accounts", 10, company & (joined < 300)),
        STEADY
        | {"rate": (1 / 14, 1 / 12), "regularity": 45.0, "level": (1000, 1600), "visits": 0.5}
        | {"leaves": (END - 128, END - 96)},
    )
    choose(
        *("lost_with_manager", 25, (people["manager"] == LEAVING_MANAGER) & (joined < GONE_FROM - 150)),
        STEADY | {"rate": (1 / 28, 1 / 20), "leaves": (GONE_FROM - 8, GONE_FROM + 8)},
    )
    choose(
        *("bad_payers", 15, company & (joined < 700)),
        STEADY | {"rate": (1 / 45, 1 / 25), "level": (600, 1100), "overdue": True},
    )
    rows = choose(
        *("category_specialists", 8, joined < 300),
        MODEST | {"rate": (1 / 66, 1 / 58), "level": (80, 95)},
    )
    for number, row in enumerate(rows):
        people.loc[row, [f"appetite_{category}" for category in RANGE]] = 0.002
        people.loc[row, f"appetite_{SMALL_CATEGORIES[number % len(SMALL_CATEGORIES)]}"] = 1.0
    choose(
        *("promising_new", 8, joined.between(END - 320, END - 75)),
        STEADY | {"rate": (1 / 10, 1 / 7), "level": (550, 850)},
    )
    choose("inconsistent_quotes", 12, company & (joined < 800), {})  # they buy as everybody does
    return people, planted
