"""Which contacts were followed by a purchase, and what it was worth."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import with_rates

PURPOSES = ["market", "prospecting", "sales", "service"]  # in the order of a customer's life
STAGES = ["first contact", "second contact", "third contact", "later contact", "customer"]
OPTIONAL = {
    "channel": "string",
    "direction": "string",
    "agent_id": "string",
    "wait_seconds": "float64",
    "outcome": "string",
    "interest": "int64",
}


def credited(contacts: Table, bought: Table, *, as_of: dt.date, since: dt.date, within_days: int) -> ir.Table:
    """Return every contact with the purchases that followed it.

    A purchase is credited to the customer's last contact on its day or before, if that was at most `within_days` days
    ago: so each is counted once. A contact with such a purchase has converted. That a purchase follows does not prove
    that the contact is its reason.

    Parameters
    ----------
    contacts
        Contacts up to the as-of date; columns that are not there are empty.
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    as_of
        The date of the analysis.
    since
        The first date of which purchases are known.
    within_days
        Days after a contact in which a purchase is credited to it; the last day counts.

    Returns
    -------
    ibis.Table
        One row per contact: `contact_id`, `customer_id`, `date`, `hour`, `purpose`, `channel`, `direction`, `agent_id`,
        `outcome`, `interest`; `interest_before` (recorded at the contact before), `stage` (which contact it is of
        somebody who has not bought before that day, or `customer`); `judged` (not before `since`, and `within_days` are
        over by the as-of date); and of those judged `converted`, `purchases` and `value` credited to it (else false, 0
        and 0).
    """
    if within_days < 0:
        raise ValueError(f"purchases are credited for at least 0 days, not {within_days}")
    calls, bought = with_all_columns(contacts), as_table(bought)
    calls = calls.mutate(date=calls["time"].cast("date"), hour=calls["time"].hour())
    in_order = ibis.window(group_by="customer_id", order_by=["time", "contact_id"])
    calls = calls.mutate(
        number=ibis.row_number().over(in_order) + 1,
        next_date=calls["date"].lead().over(in_order),
        interest_before=calls["interest"].lag().over(in_order),
        judged=calls["date"].between(since, as_of - dt.timedelta(days=within_days)),
    )
    sold = calls.filter("judged").select("contact_id", "next_date", caller_id="customer_id", called="date")
    sold = sold.inner_join(bought, [sold["caller_id"] == bought["customer_id"], sold["called"] <= bought["date"]])
    sold = sold.filter(
        sold["date"] <= sold["called"] + ibis.interval(days=within_days),
        sold["next_date"].isnull() | (sold["date"] < sold["next_date"]),
    )
    won = sold.group_by(won_id="contact_id").aggregate(
        purchases=sold.count(), value=exact_sum(sold["value"]).cast("float64")
    )
    firsts = bought.filter(bought["number"] == 1).select(buyer_id="customer_id", first="date")
    found = calls.left_join(won, [("contact_id", "won_id")]).left_join(firsts, [("customer_id", "buyer_id")])
    number = found["number"]
    return found.select(
        *("contact_id", "customer_id", "date", "hour", "purpose", "channel", "direction", "agent_id", "outcome"),
        *("interest", "interest_before", "judged"),
        stage=ibis.cases(
            (found["first"] < found["date"], STAGES[4]),
            *((number == n + 1, STAGES[n]) for n in range(3)),
            else_=STAGES[3],
        ),
        converted=found["purchases"].notnull(),
        purchases=found["purchases"].fill_null(0),
        value=found["value"].fill_null(0.0),
    )


def counts(contacts: ir.Table, *by: str) -> pd.DataFrame:
    """Return how many contacts of each kind there were, and what they led to.

    Parameters
    ----------
    contacts
        One row per contact (see `credited`).
    by
        The columns of what makes a kind.

    Returns
    -------
    pandas.DataFrame
        `by` in order, `contacts`, `judged` (of them), `converted` (of these), `purchases` and `value` credited to them.
    """
    table = as_table(contacts)
    found = table.group_by([*by]).aggregate(
        contacts=table.count(),
        judged=table.count(where=table["judged"]),
        converted=table.count(where=table["converted"]),
        purchases=table["purchases"].sum(),
        value=exact_sum(table["value"]).cast("float64"),
    )
    return found.order_by([*by]).to_pandas()


def conversions(counted: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Return which share of the contacts converted, and what a contact brought.

    Parameters
    ----------
    counted
        Contacts counted (see `counts`), by these columns and perhaps others.
    by
        `purpose`, and more.

    Returns
    -------
    pandas.DataFrame
        By purpose, in the order of a customer's life, then by the others: `by`, `contacts`, `judged`, `converted`,
        `purchases`, `value`, `rate` (of those judged) with its 95 % interval, `low` and `high`, and
        `value_per_contact` judged; NaN where none is judged.

    Raises
    ------
    Unanswerable
        There is no contact.
    """
    if counted.empty:
        raise Unanswerable("There is no contact in this period.")
    summed = counted.assign(**{name: counted[name].fillna("unknown") for name in by if counted[name].isna().any()})
    summed = summed.groupby([*by], as_index=False)[["contacts", "judged", "converted", "purchases", "value"]].sum()
    summed = summed.sort_values([*by], key=lambda c: c.map(PURPOSES.index) if c.name == "purpose" else c)
    found = with_rates(summed.reset_index(drop=True), "converted", "judged")
    return found.assign(value_per_contact=found["value"] / found["judged"].where(found["judged"] > 0))


def by_month(contacts: ir.Table, *, since: dt.date, as_of: dt.date) -> pd.DataFrame:
    """Return how many contacts of each purpose there were in each whole calendar month after a date.

    Parameters
    ----------
    contacts
        One row per contact (see `credited`).
    since, as_of
        The day before the first month, and the date of the analysis.

    Returns
    -------
    pandas.DataFrame
        One row per month and purpose that occurs, in order: `month` (its first day), `purpose`, `contacts`.
    """
    table = as_table(contacts)
    table = table.filter(table["date"] > since, table["date"] <= as_of)
    found = table.group_by(month=table["date"].truncate("M"), purpose="purpose").aggregate(contacts=table.count())
    frame = found.to_pandas()
    first, last = pd.Timestamp(since) + pd.Timedelta(days=1), pd.Timestamp(as_of)
    months = pd.date_range(first, last, freq="MS")
    months = months[months + pd.offsets.MonthEnd() <= last]
    purposes = [name for name in PURPOSES if name in set(frame["purpose"])]
    every = pd.MultiIndex.from_product([months, purposes], names=["month", "purpose"])
    counted = frame.assign(month=pd.to_datetime(frame["month"])).set_index(["month", "purpose"])["contacts"]
    return counted.reindex(every, fill_value=0).astype(int).reset_index()


def outcomes(contacts: ir.Table, most: int = 9) -> pd.DataFrame:
    """Return in which share of the contacts of each purpose which outcome was recorded.

    Parameters
    ----------
    contacts
        One row per contact (see `credited`).
    most
        How many outcomes have a row of their own; the others share one.

    Returns
    -------
    pandas.DataFrame
        `outcome`, the most frequent first, then `others` and `not recorded`; a column of shares per purpose, each of
        which sums to 1.

    Raises
    ------
    Unanswerable
        No outcome is recorded.
    """
    table = as_table(contacts)
    frame = table.group_by("outcome", "purpose").aggregate(contacts=table.count()).to_pandas()
    known = frame.dropna(subset="outcome").groupby("outcome")["contacts"].sum()
    if known.empty:
        raise Unanswerable("No contact in this period has an outcome recorded.")
    order = known.reset_index().sort_values(["contacts", "outcome"], ascending=[False, True])["outcome"].to_list()
    own = {name: name for name in order[:most]}
    named = frame["outcome"].map(own).fillna(frame["outcome"].notna().map({True: "others", False: "not recorded"}))
    table = frame.assign(outcome=named).pivot_table(
        index="outcome", columns="purpose", values="contacts", aggfunc="sum", fill_value=0
    )
    rows = [name for name in [*own, "others", "not recorded"] if name in table.index]
    table = table.loc[rows, [name for name in PURPOSES if name in table.columns]]
    return (table / table.sum()).rename_axis(columns=None).reset_index()


def first_date(contacts: Table) -> dt.date:
    """Return the date of the first contact; raises `Unanswerable` if there is none."""
    time = as_table(contacts)["time"]
    first = time.as_table().aggregate(first=time.min()).to_pandas()["first"].iloc[0]
    if pd.isna(first):
        raise Unanswerable("There is no contact by the as-of date.")
    return pd.Timestamp(first).date()


def with_all_columns(contacts: Table) -> ir.Table:
    """Return contacts with every column that they may have; those that are not there are empty."""
    table = as_table(contacts)
    return table.mutate(**{c: ibis.null(kind) for c, kind in OPTIONAL.items() if c not in table.columns})
