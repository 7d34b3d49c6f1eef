"""What one customer is compared with: the whole company, found out once and kept for the next customer."""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
import functools
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import ibis
import ibis.expr.types as ir

from crm_analysis import (
    call_list,
    lifecycle,
    lifetime,
    periods,
    prospects,
    pyramid,
    receivables,
    retention,
    rfm,
    sources,
    treatment,
)
from crm_analysis.customers import exact_sum, gap_quantiles
from crm_analysis.dataset import Dataset, open_dataset
from crm_analysis.errors import InputError, NotDescribed, Unanswerable
from crm_analysis.settings import read_settings

YEAR, MOST_YEARS, QUARTER = 12, 5, 3  # months
DISCOUNT = 0.10  # a year, as on the page of the lifetime values
T = TypeVar("T")


def company(dataset: str, as_of: str = "") -> Company:
    """Return the company whose data a TOML describes; the same one as before while none of its files is changed."""
    path = Path(dataset).resolve()
    settings = read_settings(path)
    try:
        states = [file.stat() for file in (path, *sources.files_of(settings, path.parent))]
    except (InputError, OSError):
        return Company(open_dataset(path, as_of=as_of))  # which says what is wrong
    return _kept(path, as_of, tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states))


@functools.lru_cache(maxsize=1)
def _kept(path: Path, as_of: str, states: tuple[tuple[int, ...], ...]) -> Company:
    return Company(open_dataset(path, as_of=as_of))


def _once(compute: Callable[[Any], T]) -> cached_property[T]:
    """Make a property that is computed when it is first asked for; why it cannot be is kept, too."""
    name = compute.__name__

    @functools.wraps(compute)
    def kept(self: Company) -> T:
        if name not in self._kept:
            try:
                self._kept[name] = compute(self)
            except Unanswerable as reason:
                self._kept[name] = reason
        if isinstance(self._kept[name], Unanswerable):
            raise self._kept[name]
        return self._kept[name]

    return cast("cached_property[T]", property(kept))


class Company:
    """All customers of a dataset, each part computed when it is first asked for.

    Attributes
    ----------
    data
        The opened dataset.
    """

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self._kept: dict[str, Any] = {}
        self._tables: dict[str, ir.Table] = {}

    def __repr__(self) -> str:
        return f"<Company {self.data!r}>"

    def table(self, name: str, *columns: str) -> ir.Table:
        """Return a table of the dataset; raises `NotDescribed` where it or one of the columns is not there."""
        if name not in self._tables:
            self._tables[name] = self.data.table(name)
        if not set(columns) <= set(self._tables[name].columns):
            self.data.require(*(f"{name}.{column}" for column in columns))
        return self._tables[name]

    def optional(self, name: str, *columns: str) -> ir.Table | None:
        """Return a table of the dataset, or None where it or one of the columns is not there."""
        with contextlib.suppress(NotDescribed):
            return self.table(name, *columns)
        return None

    @_once
    def bought(self) -> ir.Table:
        """Every purchase."""
        return self.data.purchases().cache()

    @_once
    def everyone(self) -> ir.Table:
        """One row per customer (see `customers.summary`) with `tier` by the value so far and `rank` (1: the best)."""
        tiered = pyramid.tiers(self.data.customers())
        rank = ibis.rank().over(order_by=ibis.desc("value")) + 1
        return tiered.mutate(rank=rank, customers=tiered.count().over()).cache()

    @_once
    def usual_margin(self) -> float:
        """What is left of all revenue as profit; not a number where there is none, or costs are not known."""
        if self.data.value_name != "profit":
            return float("nan")
        table = self.everyone
        sums = table.aggregate(v=exact_sum(table["value"]), r=exact_sum(table["revenue"])).to_pandas().iloc[0]
        return float(sums["v"]) / float(sums["r"]) if sums["r"] > 0 else float("nan")

    @_once
    def ends(self) -> list[dt.date]:
        """The day before the oldest of the last years, and the last day of each."""
        return periods.whole(self.data.period[0], self.data.as_of, months=YEAR, most=MOST_YEARS)

    @_once
    def by_year(self) -> ir.Table:
        """What each was worth in each of the last years, and the `tier` in it (see `pyramid.placed`)."""
        return pyramid.placed(self.data.by_period(self.ends)).cache()

    @_once
    def rules(self) -> lifecycle.Rules:
        """What separates the stages."""
        return lifecycle.rules(self.bought)

    @_once
    def leads(self) -> ir.Table | None:
        """From when to when people are prospects and targets."""
        contacts = self.optional("contacts")
        return None if contacts is None else lifecycle.leads(contacts).cache()

    @_once
    def staged(self) -> ir.Table:
        """The stages that each went through: `since` when, looked at on the ends of quarters and now, which `stage`.

        Who was a prospect or target, and then was not in contact any more, is a non-customer from there on.
        """
        ends = lifecycle.month_ends(self.data.period[0], self.data.as_of, QUARTER)
        dates = sorted({*ends, self.data.as_of})
        table = lifecycle.stages(self.bought, dates, self.rules, self.leads).select("customer_id", "date", "stage")
        if len(dates) > 1:
            after = ibis.cases(*((table["date"] == date, ibis.literal(then)) for date, then in pairwise(dates)))
            found = table.mutate(after=after, then=table["date"].lead().over(group_by="customer_id", order_by="date"))
            lapsed = found.filter((found["after"] < found["then"].fill_null(ibis.date(9999, 12, 31))).fill_null(False))
            stage = ibis.literal(lifecycle.NON_CUSTOMER)
            table = table.union(lapsed.select("customer_id", date="after", stage=stage))
        table = table.mutate(before=table["stage"].lag().over(group_by="customer_id", order_by="date"))
        changed = table["before"].isnull() | (table["before"] != table["stage"])
        return table.filter(changed).select("customer_id", "stage", since="date").cache()

    @_once
    def habits(self) -> ir.Table:
        """When and how often each buys (see `rfm.habits`)."""
        return rfm.habits(self.bought, self.everyone, as_of=self.data.as_of, dormant_after=1).cache()

    @_once
    def owed(self) -> ir.Table:
        """What each owes, and how each pays (see `receivables.by_customer`): judged by the last year."""
        invoices = receivables.invoices(self.table("payments"), self.data.as_of)
        return receivables.by_customer(invoices, since=self.ends[-2]).cache()

    @_once
    def managers(self) -> ir.Table:
        """Who looks after whom; raises `Unanswerable` where that is not known."""
        return treatment.managers(self.optional("customers"), self.optional("assignments"), self.data.as_of).cache()

    @_once
    def reasons(self) -> ir.Table:
        """The customers who give a reason to be called (see `call_list.candidates`)."""
        data, slipping = self.data, None
        since = periods.edges(data.period[0], data.as_of, months=YEAR, count=1)[0]
        tiered = treatment.tiered(data.customers(), data.by_period([since, data.as_of]))
        with contextlib.suppress(Unanswerable):
            wait = retention.usual_wait(self.bought, 0.5, as_of=data.as_of, within_days=365)
            limit = gap_quantiles(self.bought, 0.8)[0]
            slipping = retention.slipping_away(self.bought, as_of=data.as_of, after=wait, dormant_after=limit)
        return call_list.candidates(
            tiered,
            self.bought,
            as_of=data.as_of,
            contacts=self.optional("contacts"),
            quotes=self.optional("quotes"),
            lines=self.table("transactions"),
            cases=self.optional("cases"),
            slipping=slipping,
            currency=data.currency,
        ).cache()

    @_once
    def scored(self) -> ir.Table:
        """Those who are no customers yet, with the chance that they buy (see `prospects.scored`)."""
        data = self.data
        return prospects.scored(
            self.table("contacts"),
            self.bought,
            data.lines(),
            self.optional("customers"),
            self.optional("service_costs"),
            as_of=data.as_of,
        ).cache()

    @_once
    def valued(self) -> tuple[ir.Table, Any, Any]:
        """What each will buy and be worth in a year, as on the page of the lifetime values, and the two models."""
        customers = lifetime.with_spend_level(self.data.customers()).cache()
        _, model = lifetime.select(self.table("transactions"), self.data.as_of, references=False)
        lifetime.refuse_far_horizon(customers, YEAR)
        spend = lifetime.GammaGammaFitter().fit_histories(lifetime.spend_histories(customers))
        return lifetime.value(customers, model, spend, months=YEAR, annual_discount=DISCOUNT).cache(), model, spend


def known(data: Dataset, ids: Iterable[str]) -> None:
    """Raise `InputError` if some of these customers occur in no table, and name the closest one that does."""
    wanted = [*ids]
    tables = [data.table(name) for name in ("customers", "transactions", "contacts") if data.has(name)]
    everybody = functools.reduce(ir.Table.union, (table.select("customer_id").distinct() for table in tables))
    there = set(everybody.filter(everybody["customer_id"].isin(wanted)).to_pandas()["customer_id"])
    for customer_id in wanted:
        if customer_id not in there:
            raise _unknown(f"{data.path}: there is no customer '{customer_id}'", customer_id, everybody["customer_id"])


def key_customers_of(data: Dataset, manager: str) -> list[str]:
    """Return the key customers (important and major, by the value so far) of an account manager, the best first.

    Of one who looks after nobody any more, they are those for whom this was the last manager before today's.

    Raises
    ------
    InputError
        Nobody was ever looked after by this one.
    Unanswerable
        Account managers are not known.
    """
    people, assignments = (data.table(name) if data.has(name) else None for name in ("customers", "assignments"))
    now = treatment.managers(people, assignments, data.as_of)
    theirs = now.filter(now["account_manager_id"] == manager)
    if assignments is not None and not theirs.count().execute():
        earlier = assignments.anti_join(now, ["customer_id", "account_manager_id"])
        last = ibis.row_number().over(
            group_by="customer_id", order_by=[ibis.desc("start"), ibis.asc("account_manager_id")]
        )
        earlier = earlier.mutate(place=last).filter(ibis._["place"] == 0)
        theirs = earlier.filter(earlier["account_manager_id"] == manager)
    if not theirs.count().execute():
        every = (now if assignments is None else assignments)["account_manager_id"]
        raise _unknown(f"{data.path}: there is no account manager '{manager}'", manager, every)
    tiered = pyramid.tiers(data.customers())
    key = tiered.filter(tiered["tier"].isin(pyramid.KEY)).semi_join(theirs, "customer_id")
    return key.order_by(ibis.desc("value"), ibis.asc("customer_id")).to_pandas()["customer_id"].to_list()


def _unknown(what: str, name: str, names: ir.StringColumn) -> InputError:
    """Say that something is not there, and which of the names comes closest."""
    some = names.name("name").as_table().distinct()
    alike = some.order_by(some["name"].levenshtein(name), "name").limit(100).to_pandas()["name"].to_list()
    close = difflib.get_close_matches(name, alike, 1, 0.5)  # of S1 and S2 half is alike
    return InputError(f"{what}; did you mean {close[0]}?" if close else f"{what}")
