"""What is known of one customer; each function answers one question of the page."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis import call_list, lifetime, pyramid
from crm_analysis.customer.company import YEAR, Company
from crm_analysis.customers import exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.lifetime.value import WEEKS_A_YEAR

LAST = 10  # rows of a table: the latest quotes, contacts and cases, the products of most money
UNDATED = ("customer_id", "status", "account_manager_id")  # not shown, or only as it is known of the as-of date


def _of(table: ir.Table, customer_id: str) -> ir.Table:
    return table.filter(table["customer_id"] == customer_id)


def _row(table: ir.Table, customer_id: str) -> dict[str, Any]:
    """Return the customer's only row; nothing where there is none."""
    rows = _of(table, customer_id).limit(1).to_pandas().to_dict("records")
    return {name: _plain(value) for row in rows for name, value in row.items()}


def _plain(value: Any) -> Any:
    """Return nothing for what is not known, and a float for a decimal number."""
    return None if pd.isna(value) else float(value) if isinstance(value, Decimal) else value


def record(company: Company, customer_id: str) -> dict[str, Any]:
    """Return all that is on record: the filled columns of the customers table, and the `account_manager`.

    It tells who looks after the customer today, and who did before.
    """
    found = {}
    people = company.optional("customers")
    if people is not None:
        row = _row(people.drop(*(name for name in UNDATED[1:] if name in people.columns)), customer_id)
        found = {name: value for name, value in row.items() if value not in (None, "") and name != "customer_id"}
    manager = _manager(company, customer_id)
    return found | ({"account_manager": manager} if manager else {})


def _manager(company: Company, customer_id: str) -> str:
    """Say who looks after a customer, and who did before: `S03; before: S06 until 2024-07-18`; empty if unknown."""
    try:
        now = _row(company.managers, customer_id).get("account_manager_id", "")
    except Unanswerable:
        return ""
    assigned = company.optional("assignments", "end")
    if assigned is None:
        return now
    past = _of(assigned, customer_id).filter(ibis._["end"].notnull())
    if now:
        past = past.filter(past["account_manager_id"] != now)
    before = past.order_by(ibis.desc("end"), "account_manager_id").limit(3).to_pandas()
    earlier = ", ".join(f"{row.account_manager_id} until {row.end:%Y-%m-%d}" for row in before.itertuples())
    return f"{now or 'nobody'}; before: {earlier}" if earlier else now


def standing(company: Company, customer_id: str) -> dict[str, Any]:
    """Return where a customer stands among all (see `Company.everyone`); nothing of who has no transaction."""
    return _row(company.everyone, customer_id)


def rhythm(company: Company, customer_id: str) -> dict[str, Any]:
    """Return how often a customer buys, in days (see `rfm.habits`); nothing of who never purchased."""
    return _row(company.habits, customer_id)


def purchases(company: Company, customer_id: str) -> pd.DataFrame:
    """Return every purchase, the oldest first: `date`, `amount`, `value`."""
    found = _of(company.bought, customer_id).order_by("date").select("date", "amount", "value").to_pandas()
    return found.assign(date=pd.to_datetime(found["date"]), **found[["amount", "value"]].astype(float))


def years(company: Company, customer_id: str) -> pd.DataFrame:
    """Return what a customer was worth in each of the last years: `until`, `purchases`, `revenue`, `value`, `tier`.

    All of the years since the first transaction are there; `tier` is empty in those without a purchase.
    """
    found = _of(company.by_year, customer_id).to_pandas().set_index("period")
    found.index = pd.to_datetime(found.index)
    found = found.reindex(pd.to_datetime(company.ends[1:])).rename_axis("until").reset_index()
    numbers = found[["purchases", "revenue", "value"]].fillna(0).astype({"purchases": int})
    tier = found["tier"].where(found["tier"].isin(pyramid.TIERS), None)
    found = pd.DataFrame({"until": found["until"].dt.date}).join(numbers).assign(tier=tier)
    begun = found["purchases"].cumsum() + found["revenue"].ne(0).cumsum() > 0
    return found[begun].reset_index(drop=True)


def products(company: Company, customer_id: str) -> pd.DataFrame:
    """Return the products bought for most: `product`, `category`, `quantity`, `amount`, `last_bought`, as known."""
    lines = _of(company.table("transactions", "product_id"), customer_id)
    lines = lines.filter(lines["product_id"].notnull())
    quantity = {"quantity": lines["quantity"].sum()} if "quantity" in lines.columns else {}
    found = lines.group_by("product_id").aggregate(
        **quantity,
        amount=exact_sum(lines["amount"]).cast("float64"),
        last_bought=lines["date"].max(where=lines["amount"] >= 0),
    )
    told = company.optional("products")
    named = ["product_id"]
    if told is not None:
        named += [name for name in ("name", "category") if name in told.columns]
        found = found.left_join(told.select(*named), "product_id").drop("product_id_right")
    found = (
        found.order_by(ibis.desc("amount"), "product_id").limit(LAST).select(*named, *quantity, "amount", "last_bought")
    )
    return found.to_pandas().rename(columns={"name": "product"})


def stages(company: Company, customer_id: str) -> pd.DataFrame:
    """Return the stages gone through, at ends of quarters and now: `stage`, `since`, the latest first.

    `since` is the first of these dates on which the customer was found in the stage. There is none of who neither
    purchased nor was asked about a purchase; raises `Unanswerable` if the stages cannot be told apart.
    """
    found = _of(company.staged, customer_id).order_by(ibis.desc("since")).select("stage", "since")
    return found.to_pandas()


def future(company: Company, customer_id: str) -> dict[str, Any]:
    """Return what is to be expected of a customer within a year.

    Returns
    -------
    dict
        `p_alive` (probability of still being a customer), `expected_purchases` with `low` and `high` (bounds that hold
        with a probability of 90 %), `lifetime_value` (expected, discounted).

    Raises
    ------
    Unanswerable
        The models cannot be fitted, or the customer never purchased.
    """
    valued, model, _ = company.valued
    row = _row(valued, customer_id)
    if not row:
        raise Unanswerable("Nothing can be expected from purchases, because there was none.")
    history = pd.DataFrame({name: [row[name]] for name in ("frequency", "recency", "T", *model.attributes)})
    bounds = lifetime.purchase_intervals(model, history, YEAR * WEEKS_A_YEAR / 12).iloc[0]
    return {name: row[name] for name in ("p_alive", "expected_purchases", "lifetime_value")} | {
        "low": int(bounds["low"]),
        "high": int(bounds["high"]),
    }


def quotes(company: Company, customer_id: str) -> pd.DataFrame:
    """Return the last quotes: `date`, `product_id`, `unit_price`, `salesperson_id`, and when it was `ordered`.

    `ordered` is the first day from the quote on; empty if there is none, or products are not recorded.
    """
    asked = _of(company.table("quotes"), customer_id)
    if "unit_price" in asked.columns:
        asked = asked.mutate(unit_price=asked["unit_price"].cast("float64"))
    columns = [name for name in ("date", "product_id", "unit_price", "salesperson_id") if name in asked.columns]
    asked = asked.order_by(ibis.desc("date"), ibis.desc("quote_id")).limit(LAST)
    lines = company.optional("transactions", "product_id")
    if lines is None:
        return asked.select(*columns).to_pandas()
    sold = _of(lines, customer_id)
    sold = sold.filter(sold["amount"] > 0).select(product="product_id", sold="date")
    both = asked.left_join(sold, [asked["product_id"] == sold["product"], sold["sold"] >= asked["date"]])
    each = both.group_by("quote_id", *columns).aggregate(ordered=both["sold"].min())
    return each.order_by(ibis.desc("date"), ibis.desc("quote_id")).select(*columns, "ordered").to_pandas()


def contacts(company: Company, customer_id: str) -> pd.DataFrame:
    """Return the last contacts, the latest first: `date`, `purpose` and what else is recorded of them."""
    met = _of(company.table("contacts"), customer_id)
    told = ("purpose", "channel", "direction", "agent_id", "outcome", "interest")
    met = met.order_by(ibis.desc("time"), ibis.desc("contact_id")).limit(LAST)
    return met.select(date=met["time"].cast("date"), **{name: name for name in told if name in met.columns}).to_pandas()


def cases(company: Company, customer_id: str) -> pd.DataFrame:
    """Return the last cases, the latest first: `opened`, `cause`, `closed` and what else is recorded of them."""
    asked = _of(company.table("cases"), customer_id)
    told = ("cause", "satisfaction", "reopened")
    asked = asked.order_by(ibis.desc("opened"), ibis.desc("case_id")).limit(LAST)
    closed = {"closed": asked["closed"].cast("date")} if "closed" in asked.columns else {}
    others = {name: name for name in told if name in asked.columns}
    found = asked.select(opened=asked["opened"].cast("date"), **closed, **others).to_pandas()
    return found.assign(reopened=found["reopened"].map({True: "yes", False: "no"})) if "reopened" in found else found


def interest(company: Company, customer_id: str) -> dict[str, Any]:
    """Return how someone was met: how many `contacts`, the `last` one, and the most `interest` shown (0 to 3)."""
    met = _of(company.table("contacts"), customer_id)
    shown = {"interest": met["interest"].max()} if "interest" in met.columns else {}
    row = met.aggregate(contacts=met.count(), last=met["time"].max().cast("date"), **shown).to_pandas().iloc[0]
    return {name: _plain(value) for name, value in row.items()}


def payments(company: Company, customer_id: str) -> dict[str, Any]:
    """Return what a customer owes and how they pay (see `receivables.by_customer`); nothing of who had no invoice."""
    return _row(company.owed, customer_id)


def barred(company: Company, customer_id: str) -> bool:
    """Return whether a customer does not want to be called (see `call_list.barred`)."""
    people = company.optional("customers")
    listed = None if people is None else call_list.barred(people)
    return listed is not None and bool(_row(listed, customer_id))


def next_action(company: Company, customer_id: str) -> dict[str, Any]:
    """Return the reason to get in touch: `reason`, `purpose` and more (see `call_list.candidates`).

    Nothing where there is none. Of who never bought it is the chance that they do (`propensity`), with its `reasons`.
    """
    found = _row(company.reasons, customer_id)
    if found or standing(company, customer_id):
        return found
    try:
        return _row(company.scored, customer_id)
    except Unanswerable:
        return {}
