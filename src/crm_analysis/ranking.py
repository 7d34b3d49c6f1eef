"""Who the key customers are when more than money counts: by several criteria, and in each product category."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Mapping

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum, transaction_lines
from crm_analysis.errors import Unanswerable
from crm_analysis.pareto import ROUNDING, among_best, best

# What customers are compared by; the last purchase, the basic criterion, also decides between equal scores.
CRITERIA = ("last_purchase", "purchases", "purchased", "largest_purchase", "products")


def active(customers: Table, as_of: dt.date, *, days: int, purchases: int = 1, amount: float = 0.0) -> ir.Table:
    """Return the active list: the customers who meet the company's standard of an active customer.

    Parameters
    ----------
    customers
        One row per customer (see `customers.summary`).
    as_of
        The date of the analysis.
    days
        The last purchase is at most so many days ago.
    purchases, amount
        There are at least so many purchases so far, and they come to at least this amount together.

    Returns
    -------
    ibis.Table
        The customers' columns.
    """
    if days < 1 or purchases < 1 or not amount >= 0:
        raise ValueError(
            "an active customer bought within at least 1 day, at least once and for at least 0, "
            f"not {days} days, {purchases} purchases and {amount}"
        )
    table = as_table(customers)
    return table.filter(
        table["last_purchase"] >= ibis.literal(as_of - dt.timedelta(days=days)),
        table["purchases"] >= purchases,
        table["purchased"] >= amount,
    )


def active_share(customers: Table, listed: Table) -> dict[str, float]:
    """Return how many of all customers are on the active list and what they bring.

    Returns
    -------
    dict
        `customers` on the list, `of` how many, `customer_share`, `value`, `value_share` (NaN if the value of all
        customers is not above 0). Raises `Unanswerable` if nobody is on the list.
    """
    everyone, on_it = (
        table.aggregate(customers=table.count(), value=exact_sum(table["value"]).cast("float64")).to_pandas().iloc[0]
        for table in map(as_table, (customers, listed))
    )
    if not on_it["customers"]:
        raise Unanswerable("No customer meets the standard of the active list, so there is nobody to rank.")
    return {
        "customers": int(on_it["customers"]),
        "of": int(everyone["customers"]),
        "customer_share": float(on_it["customers"] / everyone["customers"]),
        "value": float(on_it["value"]),
        "value_share": float(on_it["value"] / everyone["value"]) if everyone["value"] > 0 else math.nan,
    }


def best_not_active(customers: Table, listed: Table, as_of: dt.date, share: float) -> ir.Table:
    """Return the best share of all customers as far as they are not on the active list, the most valuable first.

    Returns
    -------
    ibis.Table
        `customer_id`, `value`, `value_share` (of all), `purchases`, `purchased`, `last_purchase`, `silence` (days).
    """
    missed = best(customers, share).anti_join(as_table(listed), "customer_id")
    missed = missed.mutate(silence=ibis.literal(as_of).delta(missed["last_purchase"], unit="day"))
    columns = ["customer_id", "value", "value_share", "purchases", "purchased", "last_purchase", "silence"]
    return missed.order_by(ibis.desc("value"), "customer_id").select(columns)


def criteria(customers: Table, bought: Table, transactions: Table) -> ir.Table:
    """Return the customers with all that they are compared by.

    Parameters
    ----------
    customers
        One row per customer: those to be ranked.
    bought
        Every purchase (see `customers.purchases`).
    transactions
        Clean transactions up to the as-of date.

    Returns
    -------
    ibis.Table
        The customers' columns, `largest_purchase` (the largest amount at once) and, where the transactions name
        products, `products`: how many different ones the customer has bought; lines of returns do not count.
    """
    found, bought, lines = map(as_table, (customers, bought, transactions))
    known = [bought.group_by(buyer="customer_id").aggregate(largest_purchase=bought["amount"].max().cast("float64"))]
    if "product_id" in lines.columns:
        lines = lines.semi_join(found, "customer_id")
        breadth = lines["product_id"].nunique(where=lines["amount"] >= 0)
        known.append(lines.group_by(buyer="customer_id").aggregate(products=breadth))
    for table in known:
        found = found.left_join(table, found["customer_id"] == table["buyer"]).drop("buyer")
    return found


def proportions(
    weights: Mapping[str, float], there: Collection[str], criteria: Collection[str] = CRITERIA
) -> dict[str, float]:
    """Return what each criterion weighs where some are not there: the weights of the others, summing to 1.

    Parameters
    ----------
    weights
        What each of the criteria weighs, at least 0; only their proportions count.
    there
        The criteria that the data have, and perhaps other columns.
    criteria
        All that there are.

    Raises
    ------
    Unanswerable
        Only criteria that are not there have a weight.
    """
    if unknown := set(weights) - set(criteria):
        raise ValueError(f"the criteria are {', '.join(criteria)}, not {', '.join(sorted(unknown))}")
    if not all(0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
        raise ValueError(f"weights are at least 0, and one of them is above 0, not {dict(weights)}")
    used = {name: weights[name] for name in criteria if weights.get(name) and name in there}
    if not used:
        lacking = ", ".join(name.replace("_", " ") for name in criteria if weights.get(name))
        raise Unanswerable(f"Only what the data do not have ({lacking}) has a weight, so nobody can be ranked.")
    return {name: weight / sum(used.values()) for name, weight in used.items()}


def composite(customers: Table, weights: Mapping[str, float], share: float) -> ir.Table:
    """Return the customers ranked by all criteria together, beside their rank by value alone.

    A customer's score in one criterion is the share of the other customers who have strictly less of it: 0 for the
    least, 1 for the most. The `score` is the weighted mean of these. Of customers with one score, who bought later
    comes first; those equal in that too share a rank.

    Parameters
    ----------
    customers
        One row per customer with `value` and the criteria (see `criteria`).
    weights
        See `proportions`.
    share
        The share of these customers that are key customers.

    Returns
    -------
    ibis.Table
        The customers' columns, `score`, `rank`, `value_rank` (1 is the best; equals share a rank), `key` and
        `key_by_value` (whether among the best share by either), the best rank first.
    """
    table = as_table(customers)
    parts = [
        ibis.percent_rank().over(order_by=name) * weight for name, weight in proportions(weights, table.columns).items()
    ]
    # Equal scores are equal, whatever criteria they come from: 0.1 + 0.2 is 0.3.
    scored = table.mutate(score=sum(parts[1:], parts[0]).round(9))
    ranked = scored.mutate(
        rank=ibis.rank().over(order_by=[ibis.desc("score"), ibis.desc("last_purchase")]) + 1,
        value_rank=ibis.rank().over(order_by=ibis.desc("value")) + 1,
        _best=scored.count().over(ibis.window()) * share - ROUNDING,
    )
    keys = {"key_by_value": "value_rank", "key": "rank"}
    ranked = ranked.mutate(**{key: ranked[rank] - 1 < ranked["_best"] for key, rank in keys.items()})
    return ranked.drop("_best").order_by("rank", "customer_id")


def movers(ranked: Table, count: int) -> pd.DataFrame:
    """Return who gains and who loses most when more than value counts.

    Returns
    -------
    pandas.DataFrame
        `customer_id`, `value`, `value_rank`, `rank`: up to `count` key customers by all criteria who rise most by
        them, then as many key customers by value who fall most; in the order of `value_rank`.
    """
    if count < 1:
        raise ValueError(f"at least one customer must be looked at, not {count}")
    table = as_table(ranked)
    rise = table["value_rank"] - table["rank"]
    gained = table.filter(table["key"], rise > 0).order_by(ibis.desc(rise), "customer_id").limit(count)
    lost = table.filter(table["key_by_value"], rise < 0).order_by(rise, "customer_id").limit(count)
    columns = ["customer_id", "value", "value_rank", "rank"]
    frame = pd.concat([side.select(columns).to_pandas() for side in (gained, lost)])
    return frame.sort_values(["value_rank", "customer_id"], ignore_index=True)


def by_category(transactions: Table, products: Table) -> ir.Table:
    """Return what each customer is worth in each product category.

    Parameters
    ----------
    transactions
        Clean transactions up to the as-of date, with `product_id`.
    products
        One row per product, with `category`.

    Returns
    -------
    ibis.Table
        `customer_id`, `category`, `value` (amount - cost where costs are known, else amount). Lines without a known
        category are left out. What it cost to serve a customer belongs to no category.
    """
    lines, products = transaction_lines(transactions, products), as_table(products)
    sorted_in = products.filter(products["category"].notnull()).select("category", listed="product_id")
    lines = lines.inner_join(sorted_in, lines["product_id"] == sorted_in["listed"])
    return lines.group_by("customer_id", "category").aggregate(value=exact_sum(lines["value"]).cast("float64"))


def key_in_category(worth: Table, customers: Table, share: float) -> ir.Table:
    """Return the key customers of each category: its best share, of those who earn something there.

    Parameters
    ----------
    worth
        One row per customer and category (see `by_category`).
    customers
        One row per customer, with the `value` of all categories.
    share
        The share of a category's customers, and of all customers, that are key customers.

    Returns
    -------
    ibis.Table
        `customer_id`, `category`, `value` and `rank` in it, `value_share` of it, `second_screening` (whether among the
        best share of these key customers again), `overall_value`, `overall_rank`, `overall_key`; the most valuable
        in a category first.
    """
    table, everyone = as_table(worth), as_table(customers)
    overall = everyone.select(
        buyer="customer_id",
        overall_value="value",
        overall_rank=ibis.rank().over(order_by=ibis.desc("value")) + 1,
        overall_key=among_best(everyone, everyone["value"], share),
    )
    key = best(table, share, by="category")
    in_category = ibis.rank().over(group_by="category", order_by=ibis.desc("value")) + 1
    key = key.mutate(rank=in_category, second_screening=among_best(key, key["value"], share, by="category"))
    key = key.filter(key["value"] > 0)
    joined = key.inner_join(overall, key["customer_id"] == overall["buyer"]).drop("buyer")
    return joined.order_by(ibis.desc("value"), "category", "customer_id")


def categories(worth: Table, key: Table) -> pd.DataFrame:
    """Return how each category rests on its key customers, the category of most value first.

    Parameters
    ----------
    worth
        One row per customer and category (see `by_category`).
    key
        The key customers of each category (see `key_in_category`).

    Returns
    -------
    pandas.DataFrame
        `category`, `customers`, `value` of all of them, `key_customers`, `key_value` and its share `value_share`,
        `only_here` (key customers of the category who are not overall), `second_screening` (customers),
        `second_screening_share` (of the value). The shares are NaN where the value is not above 0.

    Raises
    ------
    Unanswerable
        No line of the transactions has a known category.
    """
    table, key = as_table(worth), as_table(key)
    everyone = table.group_by("category").aggregate(
        customers=table["customer_id"].count(), value=exact_sum(table["value"]).cast("float64")
    )
    screened = key["second_screening"]
    counted = key.group_by("category").aggregate(
        key_customers=key.count(),
        key_value=exact_sum(key["value"]).cast("float64"),
        only_here=key["customer_id"].count(where=~key["overall_key"]),
        second_screening=key["customer_id"].count(where=screened),
        screened_value=exact_sum(screened.ifelse(key["value"], 0.0)).cast("float64"),
    )
    frame = everyone.to_pandas().merge(counted.to_pandas(), on="category", how="left")
    if frame.empty:
        raise Unanswerable("No transaction line is of a product whose category is known.")
    counts = ["key_customers", "only_here", "second_screening"]
    frame = frame.fillna(dict.fromkeys(counts, 0) | {"key_value": 0.0, "screened_value": 0.0})
    frame = frame.astype(dict.fromkeys(counts, int))
    whole = frame["value"].where(frame["value"] > 0)
    frame.insert(5, "value_share", frame["key_value"] / whole)
    frame["second_screening_share"] = frame.pop("screened_value") / whole
    return frame.sort_values(["value", "category"], ascending=[False, True], ignore_index=True)


def main_category(key: Table) -> ir.Table:
    """Return key customers of categories with one row each, for the category in which the customer is worth most.

    Parameters
    ----------
    key
        Key customers of categories (see `key_in_category`), or those of them that are looked for.

    Returns
    -------
    ibis.Table
        Its columns, and `categories`: of how many the customer is one; the most valuable in a category first.
    """
    table = as_table(key)
    most_first = [ibis.desc("value"), ibis.asc("category")]
    ranked = table.mutate(
        categories=table.count().over(group_by="customer_id"),
        _place=ibis.row_number().over(group_by="customer_id", order_by=most_first),
    )
    first = ranked.filter(ranked["_place"] == 0).drop("_place")
    return first.order_by(ibis.desc("value"), "customer_id")
