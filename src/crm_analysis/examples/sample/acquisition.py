"""From the first contact to the first purchase: who becomes a customer, when, and after which contacts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_analysis.examples.sample.people import CHANNELS
from crm_analysis.examples.sample.season import END

BEFORE = 90  # days before the opening from which on people were approached
EARLY = 0.20  # share of people who were approached by the second month
MOST_CONTACTS = 8
CONVERSION = {"constant": -3.5, "interest": 1.15, "contact": 0.2}  # log-odds to buy after a contact; and the channel's
DECLINES = np.array([0.22, 0.07, 0.02, 0.01])  # by interest


def acquire(people: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Approach everybody until they buy, decline or have been asked often enough.

    Each round of the loop is the next contact of all with whom the company is still in touch.

    Returns
    -------
    tuple
        The people with their `status` and the day of the first purchase, `joined`; and the contacts: `row` (in
        people), `number` (1: the first), `day`, `interest` (0 to 3), `outcome`.
    """
    n = len(people)
    # They are numbered by their first contact.
    day = np.sort(np.where(rng.random(n) < EARLY, rng.uniform(-BEFORE, 60, n), rng.uniform(0, END, n)))
    liking = rng.normal(size=n)
    readiness = CHANNELS["readiness"].reindex(people["acquired_via"]).to_numpy()
    joined, status, interested = np.full(n, np.nan), np.full(n, "prospect", dtype=object), np.zeros(n, bool)
    rounds, who = [], np.arange(n)
    for number in range(1, MOST_CONTACTS + 1):
        interest = (1.1 + 0.9 * liking[who] + 0.25 * (number - 2) + rng.normal(0, 0.5, len(who))).round().clip(0, 3)
        interested[who] |= (interest >= 2) & (number > 1)  # nobody asks at the first contact
        status[who] = np.where(interested[who], "target", "prospect")
        odds = CONVERSION["constant"] + CONVERSION["interest"] * interest + CONVERSION["contact"] * (number - 1)
        buys = rng.random(len(who)) < 1 / (1 + np.exp(-odds - readiness[who]))
        declines = ~buys & (number > 1) & (rng.random(len(who)) < DECLINES[interest.astype(int)])
        outcome = np.select([buys, declines], ["order", "declined"], "follow up")
        contact = {"row": who, "number": number, "day": day[who], "interest": interest, "outcome": outcome}
        rounds.append(pd.DataFrame(contact))
        status[who[declines]] = "none"
        # Who would buy before the opening comes in its first weeks.
        opening = np.where(day[who] < 0, rng.integers(1, 30, len(who)), 0)
        first = np.floor(np.maximum(day[who] + rng.integers(0, 7, len(who)), opening))
        bought = buys & (first <= END)
        joined[who[bought]], status[who[bought]] = first[bought], "customer"
        day[who] += 7 + rng.exponential(26, len(who))
        who = who[~buys & ~declines & (day[who] <= END)]
    status[who] = "none"  # asked often enough
    return people.assign(status=status, joined=joined), pd.concat(rounds, ignore_index=True)
