"""A sample company: an invented supplier of workshops and gardens, simulated from its opening in 2023 to 2025.

Persons and companies are approached, become customers, buy at random in seasons until they leave, pay, ask and
complain. Among them are some that an analysis should find, and what is true of the process is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crm_analysis.examples.sample import acquisition, care, goods, people, planting, selling
from crm_analysis.examples.sample.season import MONTHS, dates

SEED = 2023
TIMED = ("contacts", "cases")  # tables with times of day
COLUMNS = {
    "transactions": "customer_id date order_id product_id quantity list_amount amount salesperson_id channel promised"
    " delivered",
    "customers": "customer_id name kind status acquired_via acquisition_cost account_manager_id region birthday"
    " contact_person industry employees preferred_contact preference do_not_call",
    "products": "product_id name category list_price unit_cost",
    "contacts": "contact_id customer_id time purpose channel direction agent_id wait_seconds outcome interest",
    "payments": "order_id customer_id amount due paid",
    "quotes": "quote_id customer_id product_id date unit_price salesperson_id",
    "cases": "case_id customer_id opened cause first_response closed satisfaction reopened",
    "assignments": "customer_id account_manager_id start end",
    "service_costs": "customer_id date cost",
}
DAYS = ("date", "promised", "delivered", "time", "due", "paid", "opened", "first_response", "closed", "start", "end")


class Company(NamedTuple):
    """A simulated company.

    Attributes
    ----------
    tables
        Each table of the design, as its CSV has it.
    truth
        What is in them to be found: the ids of those planted (`bulk_buyers`, `unprofitable_big`, `rising_small`,
        `quiet_key_accounts`, `lost_with_manager`, `bad_payers`, `promising_new`, `high_margin_products`,
        `low_margin_products`: lists; `category_specialists`: by category; `inconsistent_quotes`: pairs of quotes),
        `leaving_manager` and `manager_left` (the last day, ISO), and the parameters of the process: `purchases`
        (r, alpha, s, beta in weeks, as in Pareto/NBD), `channels` (by what each multiplies rate and lifetime),
        `season` (twelve factors), `conversion` (log-odds that a contact ends in a purchase), `second_purchase` and
        `later_purchases` (by what trouble multiplies the chance that a customer stays after an order).
    """

    tables: dict[str, pd.DataFrame]
    truth: dict[str, Any]


def simulate() -> Company:
    """Return the company; it is the same each time."""
    products = goods.products()
    known, approached = acquisition.acquire(people.known(_random("people")), _random("acquisition"))
    known, planted = planting.plant(people.with_traits(known, _random("traits")), _random("planting"))
    orders = selling.orders(known, _random("orders"))
    lines = selling.lines(orders, known, products, _random("lines"))
    quotes, pairs = selling.quotes(lines, known, products, planted["inconsistent_quotes"], _random("quotes"))
    cases = care.cases(orders, _random("cases"))
    contacts = care.contacts(approached, orders, cases, known, _random("contacts"))
    assignments = care.assignments(contacts, known)
    now = assignments[assignments["end"].isna()].set_index("row")["account_manager_id"]
    tables = {
        "transactions": lines,
        "customers": known.assign(account_manager_id=now.reindex(known.index).fillna("")),
        "products": products,
        "contacts": contacts,
        "payments": selling.payments(lines, orders, known, _random("payments")),
        "quotes": quotes,
        "cases": cases,
        "assignments": assignments,
        "service_costs": care.service_costs(orders, cases, known, _random("service")),
    }
    found = {kind: known.loc[rows, "customer_id"].tolist() for kind, rows in planted.items()}
    truth = found | _truth(products) | {"inconsistent_quotes": pairs}
    truth["category_specialists"] = {
        category: known["customer_id"][rows[known.loc[rows, f"appetite_{category}"] == 1]].tolist()
        for category in goods.SMALL_CATEGORIES
        for rows in [planted["category_specialists"]]
    }
    ids = known["customer_id"].to_numpy()
    return Company({name: _published(table, ids)[COLUMNS[name].split()] for name, table in tables.items()}, truth)


def write(folder: Path) -> Path:
    """Write the company's tables as CSVs into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in simulate().tables.items():
        written = {"date_format": "%Y-%m-%d %H:%M" if name in TIMED else "%Y-%m-%d", "float_format": "%.2f"}
        table.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8", lineterminator="\n", **written)
    return folder


def _random(idea: str) -> np.random.Generator:
    """Return a generator for one idea of its own, so that a change to it leaves the others as they are."""
    return np.random.default_rng([SEED, *idea.encode()])


def _published(table: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    """Return a table with customers by their ids and days as dates."""
    if "row" in table:
        table = table.assign(customer_id=ids[table["row"]])
    table = table.rename(columns={"day": "date"}).reset_index(drop=True)
    return table.assign(**{day: dates(table[day]) for day in DAYS if day in table})


def _truth(products: pd.DataFrame) -> dict[str, Any]:
    """Return what is true whoever the customers are."""
    first, later = ({what: chances[place] for what, chances in selling.STAYS.items()} for place in (0, 1))
    return {
        "high_margin_products": products.loc[products["margin"] > goods.HIGH_MARGIN, "product_id"].tolist(),
        "low_margin_products": products.loc[products["margin"] < goods.LOW_MARGIN, "product_id"].tolist(),
        "leaving_manager": people.LEAVING_MANAGER,
        "manager_left": f"{dates([people.GONE_FROM - 1])[0]:%Y-%m-%d}",
        "purchases": {"r": people.R, "alpha": people.ALPHA, "s": people.S, "beta": people.BETA},
        "channels": people.CHANNELS[["rate", "lifetime"]].to_dict("index"),
        "season": list(MONTHS),
        "conversion": dict(acquisition.CONVERSION),
        "second_purchase": first,
        "later_purchases": later,
    }
