"""Who gives a reason to be called, which, and what a year with them is worth."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

import ibis
import ibis.expr.types as ir

from crm_analysis import pyramid, rfm, treatment
from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable

# Each kind of reason with the purpose of the contact. Of a customer's reasons the first one here counts.
KINDS = {
    "open case": "service",
    "bad experience": "service",
    "quote": "sales",
    "slipping away": "sales",
    "silent": "sales",
    "visit due": "sales",
    "order agreed": "service",
    "target": "sales",
    "prospect": "prospecting",
}
NEEDS = {
    "contacts": "who was contacted when: no interval between contacts is kept, nobody is overdue, and no lead is known",
    "quotes": "quotes",
    "cases": "cases",
    "barred": "who does not want to be called",
    "agents": "who makes calls",
}
BAD = 2  # the satisfaction, of 1 to 5, up to which an experience was bad


class Rules(NamedTuple):
    """What counts as a reason.

    Attributes
    ----------
    open_days
        Days after which a case that is still open is a reason.
    quote_days
        Days after a quote in which it is one, unless the product has been bought.
    cadence
        The most days between two contacts with each tier of customers, best first; 0 where none is asked for.
    target_days, prospect_days
        Days after which a target, and a prospect, is to be contacted again.
    ordered
        The outcomes of a contact that mean that an order was agreed, in any case of letters. A lead whose last contact
        ended so needs no sales call, but the order is not yet in the transactions.
    """

    open_days: int = 7
    quote_days: int = 30
    cadence: tuple[int, ...] = treatment.CADENCE
    target_days: int = 14
    prospect_days: int = 30
    ordered: tuple[str, ...] = ("order",)


RULES = Rules()


def candidates(
    tiered: Table,
    bought: Table,
    *,
    as_of: dt.date,
    leads: Table | None = None,
    contacts: Table | None = None,
    quotes: Table | None = None,
    lines: Table | None = None,
    cases: Table | None = None,
    slipping: Table | None = None,
    rules: Rules = RULES,
    currency: str = "",
) -> ir.Table:
    """Return everybody who gives a reason to be called, with the reason in words.

    Whether they may be called, and who does, is not looked at here (see `placed`). A table that is not given brings no
    reasons. Without any, silence out of the customer's own rhythm is still known.

    Parameters
    ----------
    tiered
        Customers with `first_purchase`, `tier`, and `value` of the last year (see `treatment.tiered`).
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    as_of
        The date of the analysis; all tables hold what was known on it.
    leads
        Who is no customer yet: `customer_id`, `stage` (`prospect` or `target`), `last_contact`, `expected_value` and
        `reasons` (words, or ""). Those who have bought are left out.
    contacts
        All contacts; they tell the last one, and who is overdue (see `treatment.visits_due`).
    quotes, lines
        Quotes, and the transaction lines that tell whether the product was bought; without a column `product_id`
        any purchase counts.
    cases
        Cases with `opened` and, if it is known, `closed` and `satisfaction`.
    slipping
        First-time customers about to slip away (see `retention.slipping_away`).
    rules
        What counts as a reason.
    currency
        Stands before sums of money in the reasons.

    Returns
    -------
    ibis.Table
        One row per customer or lead, the most valuable first: `customer_id`; `kind` of the strongest reason (a name of
        `KINDS`, in that order); `reason` (in words with its numbers, the strongest first, then the others); `purpose`
        of a contact; `worth` (a year's value: that of the last year, of leads the one to be expected; 0 or less where
        nothing was earned); `last_contact` (either way, whatever about; NULL: never, or not known); `again_after` (days
        after a contact in which the next one is due; NULL where the tier asks for none).
    """
    customers = as_table(tiered).select("customer_id", "first_purchase", "tier", "value")
    found = {"silent": _silent(as_table(bought), customers, as_of)}
    if cases is not None:
        found |= _troubled(as_table(cases), as_table(bought), as_of, rules.open_days)
    if quotes is not None and lines is not None:
        found["quote"] = _quoted(as_table(quotes), as_table(lines), as_of, rules.quote_days, currency)
    if slipping is not None:
        found["slipping away"] = _slipping(as_table(slipping))
    if contacts is not None:
        found["visit due"] = _overdue(treatment.visits_due(customers, contacts, rules.cadence, as_of=as_of))
    kinds = [kind for kind in KINDS if kind in found]
    table = customers
    for place, kind in enumerate(kinds):
        said = found[kind].select(**{f"id_{place}": "customer_id", f"said_{place}": "said"})
        table = table.left_join(said, table["customer_id"] == said[f"id_{place}"]).drop(f"id_{place}")
    said = [table[f"said_{place}"] for place in range(len(kinds))]
    words = ibis.literal("").concat(*(text.concat("; ").fill_null("") for text in said))
    asked = [(table["tier"] == tier, days) for tier, days in zip(pyramid.TIERS, rules.cadence, strict=True) if days]
    every = table.mutate(kind=ibis.cases(*((text.notnull(), kind) for text, kind in zip(said, kinds, strict=True))))
    every = every.filter(every["kind"].notnull()).select(
        "customer_id",
        "kind",
        reason=words.left(ibis.greatest(words.length() - 2, 0)),
        worth=table["value"].cast("float64"),
        lead_contact=ibis.null("date"),
        again_after=ibis.cases(*asked).cast("int64") if asked else ibis.null("int64"),
    )
    if leads is not None:
        strangers = as_table(leads).anti_join(customers, "customer_id")
        every = every.union(_leads(strangers, None if contacts is None else as_table(contacts), as_of, rules))
    purpose = ibis.cases(*((every["kind"] == kind, purpose) for kind, purpose in KINDS.items()))
    last = every["lead_contact"]
    if contacts is not None:
        met = as_table(contacts).group_by(met_id="customer_id").aggregate(met=lambda t: t["time"].cast("date").max())
        every = every.left_join(met, every["customer_id"] == met["met_id"])
        last = ibis.coalesce(every["met"], every["lead_contact"])
    every = every.select("customer_id", "kind", "reason", "again_after", "worth", purpose=purpose, last_contact=last)
    every = every.select("customer_id", "kind", "reason", "purpose", "worth", "last_contact", "again_after")
    return every.order_by(ibis.desc("worth"), ibis.asc("customer_id"))


def refuse_missing(**tables: Table | list[str] | None) -> None:
    """Raise `Unanswerable` if some of what the list rests on (names of `NEEDS`) is not there; it names these."""
    lacking = [
        NEEDS[name] for name, table in tables.items() if table is None or (isinstance(table, list) and not table)
    ]
    if lacking:
        raise Unanswerable(f"The data do not tell of: {'; '.join(lacking)}. The list goes without.")


def _leads(leads: ir.Table, contacts: ir.Table | None, as_of: dt.date, rules: Rules) -> ir.Table:
    """Return who is no customer yet; of those with whom an order was agreed last, that is the reason."""
    target = leads["stage"] == "target"
    agreed, why = ibis.literal(False), ibis.literal("")
    if contacts is not None and {"outcome", "contact_id"} <= {*contacts.columns}:
        latest = ibis.window(group_by="customer_id", order_by=[ibis.desc("time"), ibis.desc("contact_id")])
        ends = contacts.mutate(place=ibis.row_number().over(latest), day=contacts["time"].cast("date"))
        ends = ends.filter(ends["place"] == 0, ends["outcome"].lower().isin([word.lower() for word in rules.ordered]))
        leads = leads.left_join(ends.select(agreed_id="customer_id", day="day"), [("customer_id", "agreed_id")])
        agreed = leads["day"].notnull()
        ago = _days(ibis.literal(as_of).delta(leads["day"], unit="day"))
        why = ibis.literal("order agreed ").concat(ago, " ago, not yet booked")
    told = leads["stage"].concat(": ", leads["reasons"].nullif("")).fill_null(leads["stage"])
    return leads.select(
        "customer_id",
        kind=agreed.ifelse("order agreed", leads["stage"]),
        reason=agreed.ifelse(why, told),
        worth=leads["expected_value"].cast("float64"),
        lead_contact=leads["last_contact"].cast("date"),
        again_after=target.ifelse(rules.target_days, rules.prospect_days).cast("int64"),
    )


def _troubled(cases: ir.Table, bought: ir.Table, as_of: dt.date, open_days: int) -> dict[str, ir.Table]:
    """Return who waits for a case to be settled, and who was not content and has not bought since."""
    found, opened = {}, cases["opened"].cast("date")
    if "closed" in cases.columns:
        waits = cases.mutate(days=ibis.literal(as_of).delta(opened, unit="day"))
        waits = waits.filter(waits["closed"].isnull() & (waits["days"] > open_days))
        waits = waits.group_by("customer_id").aggregate(days=waits["days"].max())
        found["open case"] = waits.select(
            "customer_id", said=ibis.literal("case open for ").concat(_days(waits["days"]))
        )
    if "satisfaction" in cases.columns:
        closed = cases["closed"].cast("date") if "closed" in cases.columns else opened
        rated = cases.mutate(day=ibis.coalesce(closed, opened)).filter(cases["satisfaction"] <= BAD)
        last = bought.group_by(buyer="customer_id").aggregate(bought=bought["date"].max())
        rated = rated.left_join(last, rated["customer_id"] == last["buyer"])
        rated = rated.filter(rated["bought"].isnull() | (rated["bought"] <= rated["day"]))
        worst = rated.group_by("customer_id").aggregate(
            rating=rated["satisfaction"].min().cast("int64"), day=rated["day"].max()
        )
        said = ibis.literal("rated us ").concat(worst["rating"].cast("string"), " of 5, bought nothing in ")
        said = said.concat(_days(ibis.literal(as_of).delta(worst["day"], unit="day")), " since")
        found["bad experience"] = worst.select("customer_id", said=said)
    return found


def _quoted(quotes: ir.Table, lines: ir.Table, as_of: dt.date, days: int, currency: str) -> ir.Table:
    """Return who had a quote and has not bought that product since."""
    if days < 1:
        raise ValueError(f"a quote is a reason for a call for at least 1 day, not {days}")
    asked = quotes.mutate(day=quotes["date"].cast("date"))
    asked = asked.filter(asked["day"] > as_of - dt.timedelta(days=days))
    known = "product_id" in lines.columns
    sold = lines.filter(lines["amount"] > 0)
    product = {"product": sold["product_id"]} if known else {}
    sold = sold.group_by(buyer="customer_id", **product).aggregate(sold=sold["date"].cast("date").max())
    same = [asked["customer_id"] == sold["buyer"], *([asked["product_id"] == sold["product"]] if known else [])]
    asked = asked.left_join(sold, same)
    asked = asked.filter(asked["sold"].isnull() | (asked["sold"] < asked["day"]))
    each = asked.group_by("customer_id").aggregate(
        quotes=asked.count(), total=exact_sum(asked["unit_price"]).round().cast("int64"), day=asked["day"].max()
    )
    ago = ibis.literal(as_of).delta(each["day"], unit="day")
    said = (each["quotes"] > 1).ifelse(each["quotes"].cast("string").concat(" quotes, the last "), "quote ")
    price = (each["quotes"] > 1).ifelse(" (unit prices together ", " (unit price ")
    price = price.concat(f"{currency} ".lstrip(), each["total"].cast("string"), ")")
    return each.select("customer_id", said=said.concat(_days(ago), " ago, not ordered", price))


def _slipping(slipping: ir.Table) -> ir.Table:
    said = ibis.literal("only purchase ").concat(_days(slipping["silence"]), " ago, dormant in ")
    return slipping.select("customer_id", said=said.concat((slipping["days_left"] + 1).cast("string")))


def _silent(bought: ir.Table, customers: ir.Table, as_of: dt.date) -> ir.Table:
    habits = rfm.habits(bought, customers, as_of=as_of, dormant_after=1)
    quiet = habits.filter(habits["quiet"])
    usual = quiet["usual_gap"].round().cast("int64")
    said = ibis.literal("silent for ").concat(_days(quiet["silence"]), ", usual pause ", usual.cast("string"))
    return quiet.select("customer_id", said=said)


def _overdue(visits: ir.Table) -> ir.Table:
    due = visits.filter(visits["due"])
    never, since = due["last_contact"].isnull(), _days(due["days_since"])
    said = never.ifelse(ibis.literal("never contacted in ").concat(since), since.concat(" since our last contact"))
    said = said.concat(", due every ", due["cadence"].cast("string"))
    return due.select("customer_id", said=said)


def _days(number: ir.IntegerValue) -> ir.StringValue:
    return number.cast("string").concat((number == 1).ifelse(" day", " days"))
