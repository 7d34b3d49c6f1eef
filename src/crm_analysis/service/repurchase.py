"""Whether customers buy again after a complaint, and after how it was settled: compared with customers alike."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from statistics import NormalDist

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import FEW, Difference, Z, difference
from crm_analysis.service.cases import DISSATISFIED, SATISFIED

ALIKE = ("order", "kind", "size", "rhythm")  # what orders are alike in, as far as the data tell
NAMED = {
    "complaint": "a complaint",
    "inquiry": "a question",
    "slow": "a slow resolution",
    "dissatisfied": "a low rating",
    "reopened": "a case opened again",
}
ERROR = 0.05  # the chance that any of the differences is called clear where there is none


def orders(bought: Table, cases: Table, customers: Table | None = None, *, case_days: int) -> ir.Table:
    """Return every purchase with what followed it, and what others are to be alike in.

    A case belongs to the customer's last purchase on or before the day on which it was opened, if that was at most
    `case_days` before.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    cases
        See `cases.handled`.
    customers
        `customer_id` and `kind` (person or company).
    case_days
        Days after a purchase in which a case is put down to it.

    Returns
    -------
    ibis.Table
        One row per purchase: `customer_id`, `date`, `next_date`, `complaint` and `inquiry` (whether such a case
        followed), `order` (1, 2–3, 4+: the number of the purchase), `size` (larger or smaller than half of all
        purchases), `rhythm` (after a pause longer or shorter than half of all pauses; `first`), `kind` ("" where it is
        not known).
    """
    if case_days < 0:
        raise ValueError(f"case_days must be at least 0, not {case_days}")
    table, opened = as_table(bought), as_table(cases)
    pause = table["date"].delta(
        table["date"].lag().over(ibis.window(group_by="customer_id", order_by="date")), unit="day"
    )
    table = table.mutate(pause=pause, amount=table["amount"].cast("float64"))
    halves = table.aggregate(usual=table["amount"].quantile(0.5), between=table["pause"].quantile(0.5))
    days = opened.select(case_of="customer_id", opened="opened", about="kind")
    log = as_table(bought).select("customer_id", "date", "next_date")
    linked = days.inner_join(log, [days["case_of"] == log["customer_id"], days["opened"] >= log["date"]])
    since, following = linked["opened"].delta(linked["date"], unit="day"), linked["next_date"]
    linked = linked.filter((since <= case_days) & (following.isnull() | (linked["opened"] < following)))
    flags = linked.group_by(flag_id="customer_id", day="date").aggregate(
        **{kind: (linked["about"] == kind).any() for kind in ("complaint", "inquiry")}
    )
    table = table.left_join(flags, [table["customer_id"] == flags["flag_id"], table["date"] == flags["day"]])
    table, kind = _with_kind(table.cross_join(halves), customers)
    return table.select(
        "customer_id",
        "date",
        "next_date",
        complaint=table["complaint"].fill_null(False),
        inquiry=table["inquiry"].fill_null(False),
        order=_numbered(table["number"]),
        size=(table["amount"] > table["usual"]).ifelse("larger", "smaller"),
        rhythm=ibis.cases(
            (table["pause"].isnull(), "first"), (table["pause"] > table["between"], "slow"), else_="quick"
        ),
        kind=kind,
    )


def after_orders(followed: Table, of: str, *, as_of: dt.date, within_days: int, case_days: int) -> pd.DataFrame:
    """Return how many orders with and without a case of a kind were followed by another, by what they are alike in.

    Whoever buys again at once has had little time to complain before. Therefore only orders are compared after which
    nothing was bought for `case_days`, until when it is known for all of them whether there was a case; and only
    those of which the whole time to buy again has passed by the as-of date.

    Parameters
    ----------
    followed
        See `orders`.
    of
        `complaint`; or `inquiry`, among orders without a complaint.
    as_of
        The date of the analysis.
    within_days
        Days after the order in which another counts.
    case_days
        Days after an order in which a case is put down to it.

    Returns
    -------
    pandas.DataFrame
        `of` (true or false), the columns of `ALIKE`, `customers` (orders of them), `returned` (followed by another),
        `spread` (see `clustered`).
    """
    if within_days <= case_days:
        raise ValueError(f"there must be more days to buy again ({within_days}) than for a case ({case_days})")
    table = as_table(followed)
    wait = table["next_date"].delta(table["date"], unit="day")
    seen = (table["date"] <= as_of - dt.timedelta(days=within_days)) & (wait.isnull() | (wait > case_days))
    table = table.filter(seen if of == "complaint" else seen & ~table["complaint"])
    wait = table["next_date"].delta(table["date"], unit="day")
    return _counted(table.mutate(back=(wait <= within_days).fill_null(False)), of, ALIKE)


def settled(
    cases: Table, bought: Table, customers: Table | None = None, *, as_of: dt.date, within_days: int, quick_days: float
) -> ir.Table:
    """Return closed complaints, how they were settled, and whether the customer bought again after that.

    How a complaint was settled is known from the day on which it was closed: what was bought by then does not count.
    Complaints closed less than `within_days` before the as-of date are left out, and those of people who had not
    bought anything before.

    Parameters
    ----------
    cases, bought, customers
        See `orders`.
    as_of
        The date of the analysis.
    within_days
        Days after the closing in which a purchase counts.
    quick_days
        Days to the resolution up to which it was quick.

    Returns
    -------
    ibis.Table
        One row per complaint: `case_id`, `customer_id`, `closed`, `slow`, `dissatisfied` (rated 1 or 2, not 4 or 5;
        NULL: 3 or not rated), `reopened`, `back` (bought again), `order` and `kind` (see `orders`).
    """
    if within_days < 1:
        raise ValueError(f"within_days must be at least 1 day, not {within_days}")
    table, log = as_table(cases), as_table(bought)
    known = table["closed"] <= as_of - dt.timedelta(days=within_days)
    table = table.filter((table["kind"] == "complaint") & known)
    log = log.select(buyer="customer_id", date="date")
    lives = table.inner_join(log, table["customer_id"] == log["buyer"])
    since = lives["date"].delta(lives["closed"], unit="day")
    each = lives.group_by("case_id").aggregate(
        number=lives.count(where=since <= 0), back=(since > 0).ifelse(since <= within_days, False).any()
    )
    rating = table["satisfaction"]
    table = table.mutate(
        slow=table["resolution"] > quick_days,
        dissatisfied=ibis.cases((rating <= DISSATISFIED, True), (rating >= SATISFIED, False)),
    ).drop("kind")
    table = table.inner_join(each, "case_id").filter(lambda t: t["number"] > 0)
    table, kind = _with_kind(table, customers)
    columns = ["case_id", "customer_id", "closed", "slow", "dissatisfied", "reopened", "back"]
    return table.select(*columns, order=_numbered(table["number"]), kind=kind)


def after_settling(complaints: Table, of: str) -> pd.DataFrame:
    """Return after how many complaints with and without something (`of`) the customer bought again (see `settled`)."""
    table = as_table(complaints)
    return _counted(table.filter(table[of].notnull()), of, ("order", "kind"))


def clustered(groups: pd.DataFrame, of: str) -> Difference:
    """Return how much more often those with something bought again than those without it who are alike.

    The same customer may be in it with many orders, which resemble each other and so say less than as many orders of
    different customers. The intervals are those of a sample smaller by the design effect (Rao and Scott, 1992: A
    simple method for the analysis of clustered binary data, Biometrics 48).

    Parameters
    ----------
    groups
        Orders or complaints counted, by whether they have it (see `after_orders`, `after_settling`); `spread` is the
        sum over customers of the square of (their `returned` less what the rate of the stratum leads to).
    of
        The column of what is looked at.

    Raises
    ------
    Unanswerable
        All of them have it or none has, or nobody with it has a counterpart who is alike.
    """
    alike = [name for name in ALIKE if name in groups.columns]
    if groups[of].nunique() < 2:
        raise Unanswerable(
            f"Of what was long enough ago to be compared, there is nothing {'without' if groups[of].any() else 'with'}"
            f" {NAMED[of]}."
        )
    plain = difference(groups, of, *alike)
    if math.isnan(plain.adjusted):
        raise Unanswerable(f"Nothing with {NAMED[of]} has a counterpart without it that is alike.")
    with_it = groups.loc[groups[of].astype(bool), [*alike, "customers"]]
    strata = groups.merge(with_it, how="inner", on=alike, suffixes=("", "_with"))
    share, weight = strata["returned"] / strata["customers"], (strata["customers_with"] / strata["customers"]) ** 2
    spread = (
        strata.assign(spread=weight * strata["spread"], binomial=weight * strata["customers"] * share * (1 - share))
        .groupby(of)[["spread", "binomial"]]
        .sum()
    )
    factor = (spread["spread"] / spread["binomial"].where(spread["binomial"] > 0)).fillna(1.0).clip(lower=1.0)
    smaller = groups.assign(
        customers=groups["customers"] / groups[of].map(factor), returned=groups["returned"] / groups[of].map(factor)
    )
    found = difference(smaller, of, *alike)
    intervals = ("low", "high", "adjusted_low", "adjusted_high")
    return plain._replace(**{name: getattr(found, name) for name in intervals})


def at_once(differences: dict[str, Difference]) -> pd.DataFrame:
    """Return differences with intervals that are wide enough for all of them at once.

    Where nothing differs, 95 of 100 such sets of differences show none as clear (Bonferroni): each 95 % interval is
    stretched as normal quantiles are.

    Returns
    -------
    pandas.DataFrame
        One row per difference: `name`, the fields of `rates.Difference`, `few` (fewer than 30 with it, or without it,
        to be judged), `clear` (judged, and the adjusted interval leaves out 0).
    """
    frame = pd.DataFrame(differences.values(), columns=Difference._fields).assign(name=list(differences))
    with_counterpart = frame["customers_with"] - frame["left_out"]
    few = (with_counterpart < FEW) | (frame["customers_without"] < FEW)
    stretch = NormalDist().inv_cdf(1 - ERROR / 2 / max((~few).sum(), 1)) / Z
    low, high = (
        (frame["adjusted"] + stretch * (frame[f"adjusted_{side}"] - frame["adjusted"])).clip(-1, 1)
        for side in ("low", "high")
    )
    frame = frame.assign(adjusted_low=low, adjusted_high=high, few=few, clear=~few & ((low > 0) | (high < 0)))
    return frame[["name", *Difference._fields, "few", "clear"]]


def refuse_missing(names: Sequence[str]) -> None:
    """Raise `Unanswerable` that says what could not be compared, if there is something."""
    if names:
        raise Unanswerable(f"Not known, or not yet long enough ago, to be compared: {', '.join(names)}.")


def _numbered(number: ir.IntegerValue) -> ir.StringValue:
    return ibis.cases((number <= 1, "1"), (number <= 3, "2–3"), else_="4+")


def _with_kind(table: ir.Table, customers: Table | None) -> tuple[ir.Table, ir.StringValue]:
    """Join whether a customer is a person or a company; "" where nothing tells."""
    if customers is None or "kind" not in as_table(customers).columns:
        return table, ibis.literal("")
    kinds = as_table(customers).select(known_as="customer_id", person_or_company="kind")
    table = table.left_join(kinds, table["customer_id"] == kinds["known_as"])
    return table, table["person_or_company"].fill_null("")


def _counted(table: ir.Table, of: str, alike: tuple[str, ...]) -> pd.DataFrame:
    """Count rows by stratum, with the spread of customers around the stratum's rate."""
    keys = [of, *alike]
    each = table.group_by([*keys, "customer_id"]).aggregate(n=table.count(), x=table.count(where=table["back"]))
    found = each.group_by(keys).aggregate(
        customers=each["n"].sum(),
        returned=each["x"].sum(),
        xx=(each["x"] * each["x"]).sum(),
        xn=(each["x"] * each["n"]).sum(),
        nn=(each["n"] * each["n"]).sum(),
    )
    frame = found.order_by(keys).to_pandas()
    share = frame["returned"] / frame["customers"]
    spread = (frame["xx"] - 2 * share * frame["xn"] + share**2 * frame["nn"]).clip(lower=0.0)
    return frame[[*keys, "customers", "returned"]].assign(spread=spread)
