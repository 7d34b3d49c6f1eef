"""How customers whose account manager changed went on, beside customers alike who kept theirs."""

from __future__ import annotations

import datetime as dt
import math
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_analysis.customers import Table, as_table, exact_sum
from crm_analysis.errors import Unanswerable
from crm_analysis.rates import Difference, difference

KINDS = {"departure": "manager left", "single": "hand-over"}
ALIKE = ("month", "recency", "frequency", "value")
YEAR = 365
RECENT, FREQUENT = (30, 90), (2, 5, 11)  # last days since the last purchase, and purchases in a year, of each band
THIRDS = 3
MONTH = 31  # days after which every month is over


class Worth(NamedTuple):
    """What customers whose account manager changed brought.

    Attributes
    ----------
    before, after
        Their value in the year before the month of the change, and in the days after it.
    expected
        What they would have brought after it, had their value changed as that of customers alike who kept theirs.
    """

    before: float
    after: float
    expected: float

    @property
    def missing(self) -> float:
        """How much less they brought than could be expected; below 0: more."""
        return self.expected - self.after


def alike(bought: Table, spells: Table, changes: Table, *, as_of: dt.date, after_days: int) -> pd.DataFrame:
    """Return customers counted by whether their account manager changed, by what they were before, and what followed.

    Customers are compared month by month, in each month in which a manager changed: those who had a manager on the day
    before the month and bought in the year up to it. Who changed in the month is set beside who kept the same manager
    until the end of the days looked at; who changed later in that time is neither. What they did in the month itself
    counts for nobody. Only months are told after which all days have passed.

    Parameters
    ----------
    bought
        Every purchase by the as-of date (see `customers.purchases`).
    spells, changes
        Who looked after whom (see `spells`, `changes`).
    as_of
        The date of the analysis.
    after_days
        Days after the month in which purchases count (months of less than 31 days have as many days more).

    Returns
    -------
    pandas.DataFrame
        One row for each group that occurs: `month` (its first day), `kind` (`departure`, `single` or `kept`), `manager`
        (who left; empty if nobody did), bands of `recency` (days since the last purchase), `frequency` (purchases in
        the year before) and `value` (thirds of the customers of that month); `customers`, `returned` (bought again
        after the month), `halved` (brought less than half as much a day as before; never who brought nothing or cost
        money before), and money: `value_before` (in the year before), `value_after`. A customer may be in several
        months.

    Raises
    ------
    Unanswerable
        No manager changed long enough ago, or nobody who had bought in the year before is to be compared.
    """
    if after_days < 1:
        raise ValueError(f"after_days must be at least 1, not {after_days}")
    window = MONTH + after_days
    changed = as_table(changes)
    changed = changed.mutate(month=changed["changed"].truncate("month"))
    past = changed["month"] <= as_of - dt.timedelta(days=window)
    known = changed.filter(past).select("month").distinct().to_pandas()["month"]
    months = sorted(pd.to_datetime(known).dt.date)
    if not months:
        raise Unanswerable(
            f"No customer's account manager changed {window} days or more before {as_of}, so nothing is known of what"
            f" followed within {after_days} days."
        )
    first = ibis.array(months).unnest().name("month").as_table()
    had = as_table(spells)
    until = had["end"].fill_null(ibis.date(9999, 12, 31))
    panel = had.inner_join(first, [had["start"] < first["month"], until.delta(first["month"], unit="day") >= -1])
    kept = panel["end"].isnull() | (panel["end"].delta(panel["month"], unit="day") >= window)
    panel = panel.select("customer_id", "account_manager_id", "month", kept=kept)
    moved = changed.group_by(moved_id="customer_id", moved_from="from_manager", moved_in="month").aggregate(
        kind=changed["kind"].min()
    )
    panel = panel.left_join(
        moved,
        [
            panel["customer_id"] == moved["moved_id"],
            panel["account_manager_id"] == moved["moved_from"],
            panel["month"] == moved["moved_in"],
        ],
    )
    panel = panel.filter(panel["kept"] | panel["kind"].notnull())
    panel = panel.select(
        "month",
        panel_id="customer_id",
        kind=panel["kind"].fill_null("kept"),
        manager=(panel["kind"] == "departure").fill_null(False).ifelse(panel["account_manager_id"], ""),
    )
    return _grouped(panel, as_table(bought), window)


def _grouped(panel: ir.Table, bought: ir.Table, window: int) -> pd.DataFrame:
    """Band the customers of each month, and count them with what followed."""
    day = bought["date"].delta(panel["month"], unit="day")
    lives = panel.inner_join(bought, [panel["panel_id"] == bought["customer_id"], day >= -YEAR, day <= window])
    day = lives["date"].delta(lives["month"], unit="day")
    before, after = day < 0, lives["date"].truncate("month") > lives["month"]
    keys = ["month", "kind", "manager", "panel_id"]
    each = lives.group_by(keys).aggregate(
        last=day.max(where=before),
        purchases=day.count(where=before),
        later=day.count(where=after),
        value_before=exact_sum(before.ifelse(lives["value"], 0)),
        value_after=exact_sum(after.ifelse(lives["value"], 0)),
    )
    each = each.filter(each["purchases"] > 0)
    share = float(window - MONTH) / YEAR
    more = ibis.rank().over(group_by="month", order_by=ibis.desc("value_before"))
    rows = each["panel_id"].count().over(ibis.window(group_by="month"))
    half = each["value_before"].cast("float64") * share / 2
    banded = each.mutate(
        recency=_banded(-each["last"], RECENT),
        frequency=_banded(each["purchases"], FREQUENT),
        value=(more * THIRDS // rows).cast("int64"),
        halved=(half > 0) & (each["value_after"].cast("float64") < half),
    )
    groups = banded.group_by("kind", "manager", *ALIKE).aggregate(
        customers=banded.count(),
        returned=banded["later"].count(where=banded["later"] > 0),
        halved=banded["later"].count(where=banded["halved"]),
        value_before=banded["value_before"].sum().cast("float64"),
        value_after=banded["value_after"].sum().cast("float64"),
    )
    frame = groups.order_by("month", "kind", "manager", "recency", "frequency", "value").to_pandas()
    if frame.empty:
        raise Unanswerable("No customer who had an account manager bought in the year before one changed.")
    return frame


def effect(groups: pd.DataFrame, kind: str, manager: str = "", outcome: str = "returned") -> Difference:
    """Return how much more often customers whose account manager changed bought again than those who kept theirs.

    Compared are customers alike in calendar month, recency, frequency and value. It is an association: whoever hands
    over customers may choose them, and a departure is one event, whatever its number of customers.

    Parameters
    ----------
    groups
        Customers counted (see `alike`).
    kind
        `departure` or `single`.
    manager
        Of departures, whose; by default all.
    outcome
        `returned` or `halved`.

    Returns
    -------
    rates.Difference
        All of it is of customers who have equals; `left_out` of those who changed have none.

    Raises
    ------
    Unanswerable
        There are none to be compared.
    """
    counted, left_out = _compared(groups, kind, manager)
    if counted.empty:
        raise Unanswerable(
            f"Nothing can be compared of '{KINDS[kind]}': the customers, or others alike who kept their account"
            " manager, are missing."
        )
    found = difference(counted.assign(returned=counted[outcome]), "with_change", *ALIKE)
    return found._replace(left_out=left_out)


def effects(groups: pd.DataFrame, *, most: int = 5) -> pd.DataFrame:
    """Return the effect of each kind of change, and where several managers left, that of each who left most customers.

    Parameters
    ----------
    groups
        Customers counted (see `alike`).
    most
        How many managers are told.

    Returns
    -------
    pandas.DataFrame
        One row for each that can be compared, departures first: `change` (what it is called), `kind`, `manager`
        (empty: all of that kind), `customers`, `rate` (of these bought again), `alike` (the same of those alike who
        kept their manager), `left_out` (customers without equals), `adjusted` with `adjusted_low` and `adjusted_high`
        (the difference), and `clear` (chance does not explain it).
    """
    left = groups[groups["kind"] == "departure"].groupby("manager")["customers"].sum()
    names = left.sort_index().sort_values(ascending=False, kind="stable").index[:most] if len(left) > 1 else []
    rows = []
    for kind, manager in [("departure", ""), *(("departure", name) for name in names), ("single", "")]:
        try:
            found = effect(groups, kind, manager)
        except Unanswerable:
            continue
        rows.append(
            {
                "change": f"{manager} left" if manager else KINDS[kind],
                "kind": kind,
                "manager": manager,
                "customers": found.customers_with,
                "rate": found.rate_with,
                "alike": found.rate_with - found.adjusted,
                "left_out": found.left_out,
                "adjusted": found.adjusted,
                "adjusted_low": found.adjusted_low,
                "adjusted_high": found.adjusted_high,
                "clear": found.clear,
            }
        )
    if not rows:
        raise Unanswerable(
            "No customer whose account manager changed can be compared with others alike who kept theirs."
        )
    return pd.DataFrame(rows)


def worth(groups: pd.DataFrame, kind: str, manager: str = "") -> Worth:
    """Return what customers whose account manager changed brought, of those who have equals (see `effect`)."""
    counted, _ = _compared(groups, kind, manager)
    if counted.empty:
        return Worth(math.nan, math.nan, math.nan)
    sums = counted.groupby(["with_change", *ALIKE])[["customers", "value_before", "value_after"]].sum()
    both = sums.loc[True].join(sums.loc[False].add_suffix("_kept"), how="inner")
    weight = both["customers"] / both["customers_kept"]
    before, after = (float((weight * both[f"value_{side}_kept"]).sum()) for side in ("before", "after"))
    own = both[["value_before", "value_after"]].sum()
    expected = own["value_before"] * after / before if before > 0 else math.nan
    return Worth(float(own["value_before"]), float(own["value_after"]), float(expected))


def _compared(groups: pd.DataFrame, kind: str, manager: str) -> tuple[pd.DataFrame, int]:
    """Return who changed and who kept their manager, of those who have equals, and how many who changed have none."""
    if kind not in KINDS:
        raise ValueError(f"a change is one of {', '.join(KINDS)}, not '{kind}'")
    looked_at = (groups["kind"] == kind) & (groups["manager"].eq(manager) | (manager == ""))
    chosen = groups[looked_at | (groups["kind"] == "kept")]
    chosen = chosen.assign(with_change=chosen["kind"] == kind)
    sides = chosen.groupby([*ALIKE])["with_change"].transform("nunique")
    left_out = chosen.loc[(sides < 2) & chosen["with_change"], "customers"].sum()
    return chosen[sides == 2], int(left_out)


def _banded(number: ir.NumericValue, limits: tuple[int, ...]) -> ir.IntegerValue:
    """Return the number of the band that a number is in: 0 up to the first limit."""
    return ibis.cases(*((number <= limit, band) for band, limit in enumerate(limits)), else_=len(limits))
