"""Whether quotes agree with each other: one customer told two prices, and salespeople who quote beside the others."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.intake import MONEY_TYPE

ROUNDING = 1e-9  # of a share: a price of 1.1 times another is not more than 10 % above it
LEAST_QUOTES = 3  # quotes of others that tell what a product usually costs at a time


def contradictions(quotes: Table, transactions: Table | None = None, *, quote_days: int, tolerance: float) -> ir.Table:
    """Return pairs of quotes that tell one customer different prices for one product within some days.

    How much is asked for is not in a quote, nor is what was agreed on between two: a larger quantity or a negotiation
    may be a good reason for a pair. Every pair is one, also those of a third quote.

    Parameters
    ----------
    quotes
        `quote_id`, `customer_id`, `product_id`, `date`, `unit_price`, and `salesperson_id` where it is known.
    transactions
        Clean transactions by the as-of date, with `product_id` and `quantity`, for the usual quantity: the median
        of the customer's purchases of the product, else that of all customers', else 1.
    quote_days
        Most days between the two quotes.
    tolerance
        The share of the lower price by which the higher one may exceed it.

    Returns
    -------
    ibis.Table
        Most money between the prices first: `customer_id`, `at_stake` (the difference times the usual quantity),
        `product_id`, `first_price`, `second_price`, `salespeople` (of the first and of the second; "unknown" where
        one is not recorded), `first_date`, `second_date`, `quantity`, `first_quote`, `second_quote`.
    """
    _refuse(quote_days, tolerance)
    table = _priced(quotes)
    one = table.rename(lambda name: f"first_{name}")
    two = table.rename(lambda name: f"second_{name}")
    same = [one[f"first_{key}"] == two[f"second_{key}"] for key in ("customer_id", "product_id")]
    pairs = one.inner_join(two, [*same, one["first_date"] <= two["second_date"]])
    later = (pairs["first_date"] < pairs["second_date"]) | (pairs["first_quote"] < pairs["second_quote"])
    near = pairs["second_date"].delta(pairs["first_date"], unit="day") <= quote_days
    high, low = (way(pairs["first_price"], pairs["second_price"]) for way in (ibis.greatest, ibis.least))
    pairs = pairs.filter(later & near & (high > low * (1 + tolerance + ROUNDING)))
    pairs = pairs.rename(customer_id="first_customer_id", product_id="first_product_id")
    pairs = _with_quantity(pairs, transactions)
    apart = (pairs["first_price"] - pairs["second_price"]).abs()
    found = pairs.select(
        "customer_id",
        "product_id",
        "first_price",
        "second_price",
        "first_date",
        "second_date",
        "quantity",
        "first_quote",
        "second_quote",
        at_stake=(apart * pairs["quantity"]).round(6),
        salespeople=pairs["first_salesperson"] + " / " + pairs["second_salesperson"],
    )
    found = found.relocate("at_stake", after="customer_id").relocate("salespeople", after="second_price")
    return found.order_by(ibis.desc("at_stake"), "customer_id", "first_quote", "second_quote")


def beside_others(quotes: Table, transactions: Table | None = None, *, near_days: int, tolerance: float) -> ir.Table:
    """Return how each quote lies beside what others were quoted for the product at about the same time.

    What is expected of a quote is the median of the quotes to other customers within `near_days`, taken down to what
    the customer pays for other products: who always buys 20 % below the list price may be quoted 20 % less as well.
    The discount that a customer has is not questioned here.

    Parameters
    ----------
    quotes
        See `contradictions`.
    transactions
        Clean transactions by the as-of date; with `product_id` and `list_amount` they tell customers' usual discounts.
    near_days
        Days before and after a quote in which others are quoted at the same time.
    tolerance
        The share of the expected price by which a quote may lie below or above it.

    Returns
    -------
    ibis.Table
        One row per quote with at least three quotes to others at the time: `quote_id`, `customer_id`, `product_id`,
        `salesperson_id` ("unknown" where it is not recorded), `date`, `price`, `median`, `pays` (share of the list
        price, 1 where it is not known, never more), `place` (`below`, `as expected`, `above`; above: of the median).
    """
    _refuse(near_days, tolerance)
    table = _priced(quotes)
    others = table.select(other_product="product_id", other_customer="customer_id", day="date", asked="price")
    near = table.inner_join(others, [table["product_id"] == others["other_product"]])
    apart = near["day"].delta(near["date"], unit="day")
    near = near.filter(apart.between(-near_days, near_days) & (near["customer_id"] != near["other_customer"]))
    keys = ["quote", "customer_id", "product_id", "salesperson", "date", "price"]
    found = near.group_by(keys).aggregate(n=near.count(), median=near["asked"].quantile(0.5))
    found = found.filter(found["n"] >= LEAST_QUOTES)
    found = _with_discount(found, transactions)
    least = found["median"] * found["pays"] * (1 - tolerance - ROUNDING)
    most = found["median"] * (1 + tolerance + ROUNDING)
    place = ibis.cases((found["price"] < least, "below"), (found["price"] > most, "above"), else_="as expected")
    return found.select(
        "customer_id",
        "product_id",
        "date",
        "price",
        "median",
        "pays",
        quote_id="quote",
        salesperson_id="salesperson",
        place=place,
    )


def by_salesperson(compared: Table) -> pd.DataFrame:
    """Return how many quotes of each salesperson, product by product, lie beside what is expected.

    Parameters
    ----------
    compared
        See `beside_others`.

    Returns
    -------
    pandas.DataFrame
        One row per `salesperson_id` and `product_id`: `quotes`, `below`, `above`, `beside` (both).

    Raises
    ------
    Unanswerable
        No quote can be compared.
    """
    table = as_table(compared)
    counted = table.group_by("salesperson_id", "product_id").aggregate(
        quotes=table.count(), **{place: table.count(where=table["place"] == place) for place in ("below", "above")}
    )
    frame = counted.order_by("salesperson_id", "product_id").to_pandas()
    if frame.empty:
        raise Unanswerable(
            f"No quote has {LEAST_QUOTES} quotes for the same product to other customers at about the same time."
        )
    return frame.assign(beside=frame["below"] + frame["above"])


def _priced(quotes: Table) -> ir.Table:
    """Return quotes with a price above 0, salespeople named."""
    table = as_table(quotes)
    named = table["salesperson_id"] if "salesperson_id" in table.columns else ibis.null("string")
    table = table.select(
        "customer_id",
        "product_id",
        quote="quote_id",
        date=table["date"].cast("date"),
        price=table["unit_price"].cast("float64"),
        salesperson=named.fill_null("unknown"),
    )
    return table.filter(table["price"] > 0)


def _with_quantity(pairs: ir.Table, transactions: Table | None) -> ir.Table:
    """Add the usual `quantity` of the product."""
    if transactions is None or not {"product_id", "quantity"} <= set(as_table(transactions).columns):
        return pairs.mutate(quantity=ibis.literal(1.0))
    sold = as_table(transactions)
    sold = sold.filter((sold["quantity"] > 0) & sold["product_id"].isin(pairs["product_id"]))
    own = sold.group_by(buyer="customer_id", bought="product_id").aggregate(own=sold["quantity"].quantile(0.5))
    usual = sold.group_by(sells="product_id").aggregate(usual=sold["quantity"].quantile(0.5))
    pairs = pairs.left_join(own, [pairs["customer_id"] == own["buyer"], pairs["product_id"] == own["bought"]])
    pairs = pairs.left_join(usual, pairs["product_id"] == usual["sells"])
    return pairs.mutate(quantity=ibis.coalesce(pairs["own"], pairs["usual"], 1.0))


def _with_discount(table: ir.Table, transactions: Table | None) -> ir.Table:
    """Add which share of the list price the customer `pays` for other products."""
    if transactions is None or not {"product_id", "list_amount"} <= set(as_table(transactions).columns):
        return table.mutate(pays=ibis.literal(1.0))
    sold = as_table(transactions)
    sold = sold.filter((sold["amount"] > 0) & (sold["list_amount"] > 0))
    money = {name: sold[name].cast(MONEY_TYPE).sum() for name in ("amount", "list_amount")}
    own = sold.group_by(part_of="customer_id", part="product_id").aggregate(**money)
    each = own.group_by(buyer="part_of").aggregate(paid=own["amount"].sum(), listed=own["list_amount"].sum())
    own = own.rename(own_paid="amount", own_listed="list_amount")
    table = table.left_join(each, table["customer_id"] == each["buyer"])
    table = table.left_join(own, [table["customer_id"] == own["part_of"], table["product_id"] == own["part"]])
    listed = (table["listed"] - table["own_listed"].fill_null(0)).cast("float64")
    paid = (table["paid"] - table["own_paid"].fill_null(0)).cast("float64")
    share = paid / (listed > 0).ifelse(listed, None)
    return table.mutate(pays=ibis.least(share.fill_null(1.0), 1.0))


def _refuse(days: int, tolerance: float) -> None:
    if days < 0 or not 0 <= tolerance < 1:
        raise ValueError(f"days are at least 0 and the tolerance is a share below 1, not {days} and {tolerance}")
