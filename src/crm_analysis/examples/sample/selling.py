"""What is bought: a purchase-and-dropout process, and from its orders the lines, returns, payments and quotes."""

from __future__ import annotations

from itertools import count

import numpy as np
import pandas as pd

from crm_analysis.examples.sample.goods import RANGE
from crm_analysis.examples.sample.people import MANAGERS, SELLERS, manager_at
from crm_analysis.examples.sample.season import END, later, month, past_sunday

# Shares of first orders, and of others, that are delivered late, that a complaint follows, and of late ones for which
# the complaint is of that.
LATE = (0.08, 0.05)
COMPLAINTS = {"damaged goods": (0.040, 0.018), "wrong item": (0.034, 0.014), "invoice": (0.026, 0.012)}
LATE_COMPLAINTS = 0.30
WELCOME = 0.25  # share of first orders with a discount to win the customer
# By what each multiplies the chance that a customer stays after the first order, and after another.
STAYS = {"late": (0.62, 0.97), "complaint": (0.38, 0.85), "discount": (0.88, 1.0)}
DISCOUNTS = [0.10, 0.15, 0.20]  # to win a customer
PROMOTED, PROMOTION = 0.12, 0.08  # share of other orders with a passing discount, and how large it is


def orders(people: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return every order: purchases come at random until the customer leaves, and trouble drives some away earlier.

    Each round of the loop is the next order of all who are still customers.

    Returns
    -------
    pandas.DataFrame
        `order_id`, `row` (of the customer in `people`), `number` (1: the customer's first), `day`, `late` (days),
        `complaint` (its cause, or ""), `welcome` (with a discount to win the customer), `channel`, `salesperson_id`,
        `promised`, `delivered`.
    """
    rounds = []
    rows = np.flatnonzero(people["joined"].notna())
    day = people["joined"].to_numpy()[rows]
    for number in count(1):
        n, who, place = len(rows), people.iloc[rows], min(number, 2) - 1
        late = np.where(rng.random(n) < LATE[place], rng.integers(1, 10, n), 0)
        chances = np.cumsum([shares[place] for shares in COMPLAINTS.values()])
        cause = np.array([*COMPLAINTS, ""])[np.searchsorted(chances, rng.random(n), side="right")]
        cause = np.where((late > 0) & (rng.random(n) < LATE_COMPLAINTS), "late delivery", cause)
        welcome = (number == 1) & (rng.random(n) < WELCOME) & ~who["steadfast"].to_numpy()
        order = {"row": rows, "number": number, "day": day, "late": late, "complaint": cause, "welcome": welcome}
        rounds.append(pd.DataFrame(order))
        trouble = {"late": late > 0, "complaint": cause != "", "discount": welcome}
        stays = np.prod([np.where(trouble[what], chance[place], 1.0) for what, chance in STAYS.items()], axis=0)
        stays = (rng.random(n) < stays) | who["steadfast"].to_numpy()
        regularity = who["regularity"].to_numpy()
        wait = rng.gamma(regularity) / regularity / who["rate"].to_numpy()
        day = later(day, wait, who["seasonal"].to_numpy())
        goes_on = stays & (day <= np.minimum(who["leaves"].to_numpy(), END))
        rows, day = rows[goes_on], day[goes_on]
        if not len(rows):
            break
    return _handled(pd.concat(rounds, ignore_index=True), people, rng)


def _handled(orders: pd.DataFrame, people: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Add how each order came, who took it, and when it was promised and delivered; number them by day."""
    n, rows = len(orders), orders["row"].to_numpy()
    managed = people["manager"].to_numpy()[rows] != ""
    companies, persons = np.array([0.30, 0.55, 0.95]), np.array([0.60, 0.78, 0.78])
    pick = (rng.random(n)[:, None] > np.where(managed[:, None], companies, persons)).sum(axis=1)
    channel = np.array(["web", "telephone", "visit", "shop"])[pick]
    day = orders["day"].to_numpy()
    day = np.where(channel == "web", day, past_sunday(day)).astype(int)
    seller = np.where(managed & (rng.random(n) < 0.85), manager_at(people, rows, day), rng.choice(SELLERS, n))
    promised = day + rng.integers(2, 7, n) + 2 * (month(day) == 5)
    late = orders["late"].to_numpy()
    orders = orders.assign(
        day=day,
        channel=channel,
        salesperson_id=np.where(channel == "web", "", seller),
        promised=promised,
        delivered=promised + np.where(late > 0, late, -rng.integers(0, 2, n)),
    ).sort_values(["day", "row", "number"], ignore_index=True)
    return orders.assign(order_id=[f"O{number:05}" for number in range(1, n + 1)])


def lines(orders: pd.DataFrame, people: pd.DataFrame, products: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the lines of all orders and of their returns.

    Returns
    -------
    pandas.DataFrame
        The columns of the orders (those of the order that a return belongs to, but with its own `day`, and without
        `promised` and `delivered`), `product_id`, `quantity`, `list_amount`, `amount` (negative for returns).
    """
    target, discount = _wanted(orders, people, rng)
    sold = _picked(target, orders, people, products, rng)
    back = sold[rng.random(len(sold)) < people["returns"].to_numpy()[orders["row"]][sold["order"]]]
    some = np.ceil(back["quantity"] * rng.uniform(0.3, 1, len(back)))
    sold = pd.concat([sold, back.assign(quantity=-some.astype(int))], ignore_index=True)
    returned = (sold["quantity"] < 0).to_numpy()
    order = orders.iloc[sold["order"]].reset_index(drop=True)
    list_amount = products["list_price"].to_numpy()[sold["product"]] * sold["quantity"]
    found = order.assign(
        day=np.where(returned, past_sunday(order["day"] + rng.integers(8, 22, len(order))), order["day"]),
        promised=order["promised"].where(~returned),
        delivered=order["delivered"].where(~returned & (order["delivered"] <= END)),
        product_id=products["product_id"].to_numpy()[sold["product"]],
        quantity=sold["quantity"],
        list_amount=list_amount.round(2),
        amount=(list_amount * (1 - discount[sold["order"]])).round(2),
    )
    return found[found["day"] <= END].sort_values(["day", "order_id", "product_id", "quantity"], ignore_index=True)


def _wanted(orders: pd.DataFrame, people: pd.DataFrame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return what each order is about worth at list prices, and its discount (a share)."""
    n, who = len(orders), people.iloc[orders["row"]].reset_index(drop=True)
    quarter = ((orders["day"] - (END - 364)) // 91.25).clip(-1, 3) + 1  # 1 to 4 in the last year, before that 0
    bulk = orders["number"] == who["bulk_number"]
    target = who["level"] * who["growth"] ** quarter * who["bulk_factor"].where(bulk, 1.0)
    passing = np.where((rng.random(n) < PROMOTED) & (orders["number"] > 1) & ~who["steadfast"], PROMOTION, 0.0)
    passing = np.where(orders["welcome"], rng.choice(DISCOUNTS, n), passing)
    standing = who["discount"].where(orders["number"] > 1, 0.0)
    discount = np.where(bulk, 0.10, np.maximum(standing, passing))
    return (target * np.exp(rng.normal(0, who["spread"]))).to_numpy(), discount


def _picked(
    target: np.ndarray, orders: pd.DataFrame, people: pd.DataFrame, products: pd.DataFrame, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the products in each order: `order` and `product` (their places), `quantity`."""
    number = np.minimum(1 + rng.poisson(1.25, len(orders)), 1 + target // 20)  # small purchases have few lines
    order = np.repeat(np.arange(len(orders)), number.astype(int))
    share = rng.gamma(2.0, 1, len(order))
    share /= np.bincount(order, share)[order]
    price = products["list_price"].to_numpy()
    appetite = people[[f"appetite_{category}" for category in RANGE]].to_numpy()
    wants = appetite[:, products["category"].map(list(RANGE).index)] * rng.uniform(0.6, 1.6, len(products))
    wants = wants[orders["row"].to_numpy()[order]]
    wants = wants / (1 + (price / target[order, None] / 0.6) ** 6)  # one piece is seldom most of a purchase
    wants = np.cumsum(wants / wants.sum(axis=1, keepdims=True), axis=1)
    product = (rng.random(len(order))[:, None] > wants[:, :-1]).sum(axis=1)
    quantity = np.round(target[order] * share / price[product]).clip(1).astype(int)
    picked = pd.DataFrame({"order": order, "product": product, "quantity": quantity})
    return picked.groupby(["order", "product"], as_index=False)["quantity"].sum()


def payments(lines: pd.DataFrame, orders: pd.DataFrame, people: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return one payment for each order: `order_id`, `row`, `amount` (less returns), `due`, `paid` (days)."""
    n, who = len(orders), people.iloc[orders["row"]].reset_index(drop=True)
    due = orders["day"] + np.where(who["kind"] == "company", 30, 14)
    usual = np.where(rng.random(n) < 0.08, rng.integers(8, 40, n), rng.normal(-1, 4, n).round().clip(-12, 12))
    usual = np.where(rng.random(n) < 0.002, np.nan, usual)
    overdue = np.where(rng.random(n) < 0.45, np.nan, rng.integers(65, 140, n))
    paid = np.maximum(due + np.where(who["overdue"], overdue, usual), orders["day"])
    amount = orders["order_id"].map(lines.groupby("order_id")["amount"].sum().round(2))
    bills = orders.assign(amount=amount, due=due, paid=paid.where(paid <= END))
    return bills.loc[bills["amount"] > 0, ["order_id", "row", "amount", "due", "paid"]]


def quotes(
    lines: pd.DataFrame, people: pd.DataFrame, products: pd.DataFrame, rows: pd.Index, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Return the quotes given to companies; some of these (`rows`) get two that contradict each other.

    Returns
    -------
    tuple
        `quote_id`, `row`, `product_id`, `day`, `unit_price`, `salesperson_id`; and the pairs of `quote_id` for one
        product within days, at different prices and by different salespeople.
    """
    price = products.set_index("product_id")["list_price"]
    managed = people["manager"].to_numpy()[lines["row"]] != ""
    sold = lines[managed & (lines["quantity"] > 0) & (lines["salesperson_id"] != "")]
    won = sold[rng.random(len(sold)) < 0.20]
    lost = won[rng.random(len(won)) < 0.35]  # for another product, which was not ordered
    lost = lost.assign(product_id=rng.choice(products["product_id"], len(lost)))
    given = pd.concat([won, lost]).drop_duplicates(["row", "product_id"])
    asked = given["product_id"].map(price) * given["amount"] / given["list_amount"]
    given = given.assign(
        day=given["day"] - rng.integers(2, 15, len(given)),
        unit_price=(asked * rng.normal(1.0, 0.01, len(given))).round(2),
    )
    given = given[given["day"] > 0].assign(pair=-1)

    n = len(rows)
    taken = set(zip(given["row"], given["product_id"], strict=True))
    first = pd.DataFrame(
        {
            "row": rows,
            "product_id": [next(p for p in rng.permutation(price.index) if (row, p) not in taken) for row in rows],
            "day": people["joined"].to_numpy()[rows] + rng.integers(20, 240, n),
            "salesperson_id": rng.choice(MANAGERS[:4], n),
            "pair": range(n),
        }
    )
    first = first.assign(unit_price=(first["product_id"].map(price) * rng.uniform(0.72, 0.80, n)).round(2))
    second = first.assign(
        day=first["day"] + rng.integers(1, 8, n),
        unit_price=(first["unit_price"] * rng.uniform(1.17, 1.36, n)).round(2),
        salesperson_id=rng.choice(SELLERS, n),
    )
    columns = ["row", "product_id", "day", "unit_price", "salesperson_id", "pair"]
    every = pd.concat([table[columns] for table in (given, first, second)])
    every = every.sort_values(["day", "row", "product_id"], ignore_index=True)
    every = every.assign(quote_id=[f"Q{number:05}" for number in range(1, len(every) + 1)])
    return every, list(every[every["pair"] >= 0].groupby("pair")["quote_id"].agg(tuple))
