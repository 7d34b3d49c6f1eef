"""How well customers are served: counts and times against plain Python, and what is planted in the sample company."""

from __future__ import annotations

import datetime as dt
import io
import math
import warnings
from collections import Counter, defaultdict
from itertools import chain, pairwise

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import CensoredData, binomtest, chi2, ecdf, logrank

from crm_analysis import calls, charts, customers, open_dataset, service
from crm_analysis.errors import Unanswerable
from crm_analysis.examples.sample.selling import COMPLAINTS, LATE, LATE_COMPLAINTS
from crm_analysis.rates import Z, difference

START = dt.date(2024, 1, 1)
AS_OF = START + dt.timedelta(days=400)
INQUIRIES = ["order status", "payment question"]
STEADFAST = "bulk_buyers unprofitable_big rising_small quiet_key_accounts lost_with_manager bad_payers promising_new"
PEOPLE = ["a", "ü|'; --", "", "NULL"]
CAUSES = ["damaged", "Late", "Order Status"]


def moment(hours: float) -> dt.datetime:
    return dt.datetime.combine(START, dt.time()) + dt.timedelta(hours=hours)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


case = st.tuples(
    st.sampled_from(PEOPLE),
    st.integers(0, 400 * 24),  # opened, in hours
    st.sampled_from(CAUSES),
    st.none() | st.integers(0, 30),  # answered, in hours after that
    st.none() | st.integers(0, 30).map(lambda steps: 12 * steps),  # closed
    st.none() | st.integers(1, 5),
    st.booleans(),
)
many = st.lists(case, min_size=1, max_size=40)
bought_days = st.lists(st.tuples(st.sampled_from(PEOPLE), st.integers(0, 400), st.sampled_from([-50, 0, 100, 300])),
                       max_size=40)  # fmt: skip


def told(rows: list[tuple]) -> pd.DataFrame:
    """Return cases as a dataset hands them out: what happens after the as-of date is not known."""
    end, found = dt.datetime.combine(AS_OF + dt.timedelta(days=1), dt.time()), []
    for number, (who, opened, cause, answered, closed, rating, again) in enumerate(rows):
        first, last = (moment(opened + after) if after is not None else None for after in (answered, closed))
        known = last is not None and last < end
        first = first if first is not None and first < end else None
        row = (f"K{number:03}", who, moment(opened), cause, first, last if known else None)
        found.append((*row, rating if known else None, again if known else None))
    columns = ["case_id", "customer_id", "opened", "cause", "first_response", "closed", "satisfaction", "reopened"]
    frame = pd.DataFrame(found, columns=columns)
    return frame.astype(
        dict.fromkeys(["opened", "first_response", "closed"], "datetime64[us]")
        | dict.fromkeys(["case_id", "customer_id", "cause"], str)
        | {"satisfaction": "Int64", "reopened": "boolean"}
    )


def handled(rows: list[tuple] | pd.DataFrame):
    frame = rows if isinstance(rows, pd.DataFrame) else told(rows)
    return service.handled(frame, as_of=AS_OF, not_complaints=["order STATUS"]).cache()


def purchases(rows: list[tuple]):
    log = pd.DataFrame([(who, day(n), float(a)) for who, n, a in rows], columns=["customer_id", "date", "amount"])
    return customers.purchases(log.astype({"customer_id": str, "date": "datetime64[us]"}))


def lives(rows: list[tuple]) -> dict[str, list[tuple[int, float]]]:
    amounts: dict[str, Counter] = defaultdict(Counter)
    for who, number, amount in rows:
        amounts[who][number] += amount
    return {who: sorted((n, a) for n, a in of.items() if a >= 0) for who, of in amounts.items()}


def kaplan_meier(times: list[tuple[float, bool]], share: float) -> float:
    """Return the first time by which at least this share is over."""
    left = 1.0
    for time in sorted({t for t, _ in times}):
        at_risk = sum(t >= time for t, _ in times)
        left *= 1 - sum(t == time and over for t, over in times) / at_risk
        if left <= 1 - share + 1e-9:
            return time
    return math.nan


@pytest.fixture(scope="module")
def company(sample):
    data = open_dataset(sample)
    bought = data.purchases().cache()
    cases = service.handled(data.table("cases"), as_of=data.as_of, not_complaints=INQUIRIES).cache()
    return data, bought, cases


@pytest.fixture(scope="module")
def followed(company):
    data, bought, cases = company
    return service.orders(bought, cases, data.table("customers"), case_days=30).cache()


@settings(max_examples=2, deadline=None)
@given(many)
@example([("a", 10, "damaged", 5, None, None, False)] * 2)
def test_waiting_times_agree_with_plain_python(rows):
    end = 401 * 24
    for what, at in (("response", 3), ("resolution", 4)):
        times = defaultdict(list)
        for row in rows:
            after = row[at]
            if what == "response":  # closed without a response: answered by then
                closed = row[4] if row[4] is not None and row[1] + row[4] < end else None
                answered = after if after is not None and row[1] + after < end else closed
                after = answered
            over = after is not None and row[1] + after < end
            times[row[2]].append(((after if over else end - row[1]) / 24, over))
        found = service.waiting_times(handled(rows), what, "cause").set_index("cause")
        assert found["cases"].to_dict() == {cause: len(of) for cause, of in times.items()}
        for cause, of in times.items():
            row = found.loc[cause]
            assert row["open"] == sum(not over for _, over in of)
            ages = [time for time, over in of if not over]
            assert row["oldest"] == pytest.approx(max(ages, default=math.nan), nan_ok=True)
            for name, share in (("median", 0.5), ("most", 0.9)):
                assert row[name] == pytest.approx(kaplan_meier(of, share), nan_ok=True)
            if not math.isnan(row["median"]):
                assert row["low"] <= row["median"]
                assert math.isnan(row["high"]) or row["median"] <= row["high"]


def random_cases(seed: int, number: int = 200, slower: float = 1.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    now, stratum = random.random(number) < 0.5, random.choice(["x", "y"], number)
    time = np.ceil(random.exponential(3, number) * np.where(stratum == "x", 1, 3) * np.where(now, slower, 1))
    age = np.ceil(random.exponential(20, number))
    frame = pd.DataFrame({"now": now, "cause": stratum, "resolution": np.minimum(time, age), "resolved": time <= age})
    return frame


def test_times_agree_with_scipy():
    """The median's interval is Brookmeyer and Crowley's: where the log-log band of the curve passes one half."""
    frame = random_cases(1)
    data = CensoredData.right_censored(frame["resolution"], ~frame["resolved"])
    curve = ecdf(data).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # after the last of all, there is none
        band = curve.confidence_interval(0.95, method="log-log")
    found = service.waiting_times(frame, "resolution").iloc[0]
    for name, line in (("median", curve), ("low", band.low), ("high", band.high)):
        assert found[name] == line.quantiles[np.argmax(line.probabilities <= 0.5)]
    sides = [
        CensoredData.right_censored(part["resolution"], ~part["resolved"])
        for part in (frame[frame["now"]], frame[~frame["now"]])
    ]
    z = service.log_rank(frame, "resolution", "now")
    assert abs(z) == pytest.approx(abs(logrank(*sides).statistic))
    assert math.isnan(service.log_rank(frame[frame["now"]], "resolution", "now"))


def test_quicker_cases_are_found_and_a_different_mix_is_not_taken_for_it():
    assert service.log_rank(random_cases(2, 400, slower=2.0), "resolution", "now", "cause") < -service.CLEAR
    assert service.log_rank(random_cases(2, 400, slower=0.5), "resolution", "now", "cause") > service.CLEAR
    false = sum(abs(service.log_rank(random_cases(seed, 80), "resolution", "now", "cause")) > Z for seed in range(12))
    assert false <= 2  # of 12 at 5 %: more in one of 50
    mixed = pd.concat([random_cases(5, 2000), random_cases(6, 2000)])
    mixed = mixed[(mixed["cause"] == "x") | mixed["now"] | (np.arange(4000) % 4 == 0)]  # more slow ones now
    assert abs(service.log_rank(mixed, "resolution", "now", "cause")) < Z
    assert service.log_rank(mixed, "resolution", "now") < -Z


def test_times_are_written_for_readers():
    expected = {
        math.nan: "later than can be told yet",
        0.01: "within an hour",
        1 / 24: "within 1 hour",
        1.5: "within 36 hours",
        2.5: "within 2.5 days",
        12.4: "within 12 days",
    }
    assert [service.spelled(days) for days in expected] == list(expected.values())


def test_what_is_rare_is_put_together_and_what_is_not_recorded_is_unknown():
    rows = [("a", 5 * n, f"cause {n % 14:02}", 1, 2, None, False) for n in range(28)] + [("a", 0, "z", 1, -3, 5, True)]
    found = handled(told(rows).drop(columns=["satisfaction", "reopened", "first_response"])).to_pandas()
    assert found["cause"].value_counts()["other causes"] == 9
    assert found["cause"].nunique() == 11
    assert found[["satisfaction", "reopened"]].isna().all(axis=None)
    assert found["responded"].all()  # when it was closed
    assert found.loc[found["case_id"] == "K028", "resolution"].to_list() == [0.0]  # closed before it was opened


@settings(max_examples=2, deadline=None)
@given(many, bought_days)
@example([("a", 300 * 24, "damaged", 5, 12, 5, False)], [("a", 300, 100), ("a", 100, 100)])
def test_cases_per_100_orders_agree_with_plain_python(rows, log):
    edges = [day(-1), day(199), AS_OF]
    orders = [n for life in lives(log).values() for n, _ in life]
    now, before = sum(n > 199 for n in orders), sum(n <= 199 for n in orders)
    counted = Counter((row[2], row[1] // 24 > 199) for row in rows)
    try:
        found = service.per_100_orders(handled(rows), purchases(log), edges, "kind", "cause")
    except Unanswerable:
        assert not now or not any(late for _, late in counted)
        return
    assert found["kind"].is_monotonic_increasing
    assert set(found["cause"]) == {cause for cause, _ in counted}
    for row in found.itertuples():
        k, b = counted[row.cause, True], counted[row.cause, False]
        assert (row.kind == "inquiry") == (row.cause == "Order Status")
        assert (row.cases, row.cases_before) == (k, b)
        assert (row.per_100, row.high) == pytest.approx((100 * k / now, 50 * chi2.ppf(0.975, 2 * k + 2) / now))
        assert row.low == pytest.approx(50 * chi2.ppf(0.025, 2 * k) / now if k else 0)
        if not before:
            assert row.change == ""
            continue
        clear = binomtest(k, k + b, now / (now + before)).pvalue * len(found) <= 0.05
        assert row.change == ("chance" if not clear else "more" if k / now > b / before else "fewer")
    total = service.per_100_orders(handled(rows), purchases(log), edges, "kind")
    assert total["cases"].sum() == found["cases"].sum()


@settings(max_examples=2, deadline=None)
@given(many, bought_days)
def test_quarters_agree_with_plain_python(rows, log):
    orders = [n for life in lives(log).values() for n, _ in life]
    first = max(min(orders, default=999), min(row[1] // 24 for row in rows))
    expected = {}
    for start in pd.date_range("2024-01-01", "2025-01-01", freq="QS"):
        of, to = (start.date() - START).days, ((start + pd.DateOffset(months=3)).date() - START).days
        number = sum(of <= n < to for n in orders)
        if of >= first and to <= 401 and number:
            expected[start] = (number, sum(of <= row[1] // 24 < to and row[2] != "Order Status" for row in rows))
    try:
        found = service.by_quarter(handled(rows), purchases(log), as_of=AS_OF)
    except Unanswerable:
        assert not expected
        return
    assert {row.start: (row.orders, row.complaints) for row in found.itertuples()} == expected
    assert (found["per_100"] == 100 * found["complaints"] / found["orders"]).all()


def test_periods_begin_with_the_first_case():
    look = {"as_of": dt.date(2025, 12, 31), "months": 12}
    bounds = {number: service.spans(handled([("a", 24 * number, "x", 1, 2, 5, False)]), START, **look)
              for number in (0, 20, 300, 380)}  # fmt: skip
    ends = [dt.date(2024, 12, 31), dt.date(2025, 12, 31)]
    assert bounds[0] == [dt.date(2023, 12, 31), *ends]
    assert bounds[20] == bounds[300] == ends  # the year before is not known as a whole
    assert bounds[380] == [day(379), ends[1]]
    with pytest.raises(Unanswerable, match="No case was opened by 2025-12-31"):
        service.spans(handled(told([])), START, **look)


@settings(max_examples=2, deadline=None)
@given(many, st.lists(st.tuples(st.sampled_from(PEOPLE), st.integers(0, 400), st.integers(1, 9)), max_size=12))
@example([("a", 0, "damaged", 1, 12, 5, False), ("a", 2, "Order Status", 1, 12, 5, False)], [("a", 0, 5)])
def test_costs_of_cases_agree_with_plain_python(rows, spent):
    frame = told(rows)
    closed = frame.dropna(subset="closed").assign(day=lambda t: t["closed"].dt.date)
    several, paid = Counter(zip(closed["customer_id"], closed["day"], strict=True)), Counter()
    for who, number, cost in spent:
        paid[who, day(number)] += cost
    expected = defaultdict(lambda: [0, 0, 0.0])
    for row in closed.itertuples():
        key, of = (row.customer_id, row.day), expected["inquiry" if row.cause == "Order Status" else "complaint"]
        of[0] += 1
        of[1] += key in paid
        of[2] += paid[key] / several[key]
    costs = pd.DataFrame([(who, day(n), float(c)) for who, n, c in spent], columns=["customer_id", "date", "cost"])
    costs = costs.astype({"customer_id": str, "date": "datetime64[us]"})
    found = service.costs(handled(frame), costs)
    ours = {row.kind: [row.closed, row.costed, pytest.approx(row.cost, abs=1e-5)] for row in found.itertuples()}
    assert ours == dict(expected)


@settings(max_examples=2, deadline=None)
@given(many)
def test_ratings_agree_with_plain_python(rows):
    frame = told(rows).dropna(subset="closed")
    if frame.empty:
        with pytest.raises(Unanswerable, match="closed"):
            service.pleased(handled(rows), "cause")
        return
    found = service.pleased(handled(rows), "cause").set_index("cause")
    for cause, part in frame.groupby("cause"):
        row, rated = found.loc[cause], part["satisfaction"].dropna()
        assert (row["closed"], row["rated"], row["satisfied"]) == (len(part), len(rated), (rated >= 4).sum())
        assert row["average"] == pytest.approx(rated.mean() if len(rated) else math.nan, nan_ok=True)
        assert (row["reopened"], row["share_rated"]) == (part["reopened"].sum(), len(rated) / len(part))


def test_rating_effects_are_those_of_least_squares():
    random = np.random.default_rng(3)
    rows = [(f"c{n}", int(random.integers(0, 9000)), str(random.choice(["p", "q", "s"])), 1,
             int(random.integers(2, 400)), int(random.integers(1, 6)), bool(random.random() < 0.3))
            for n in range(60)]  # fmt: skip
    found = service.rating_effects(handled(rows)).set_index("of")
    frame = handled(rows).to_pandas()
    design = np.column_stack([np.log1p(frame["resolution"]), frame["reopened"].astype(float),
                              pd.get_dummies(frame["cause"]).to_numpy(float)])  # fmt: skip
    rating = frame["satisfaction"].to_numpy(float)
    known = ~np.isnan(rating)
    design, rating = design[known], rating[known]
    effect, *_ = np.linalg.lstsq(design, rating)
    left = ((rating - design @ effect) ** 2).sum() / (len(rating) - design.shape[1])
    error = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * left)
    assert found.loc[["resolution", "reopened"], "effect"].to_list() == pytest.approx(effect[:2], abs=1e-4)
    assert (found["high"] - found["low"]).to_list() == pytest.approx(2 * Z * error[:2], rel=1e-3)
    with pytest.raises(Unanswerable, match="too few"):
        service.rating_effects(handled(rows[:20]))
    equal = [(*row[:4], 24, row[5], False) for row in rows]
    with pytest.raises(Unanswerable, match="do not differ"):
        service.rating_effects(handled(equal))
    only = service.rating_effects(handled([(*row[:6], False) for row in rows]))
    assert only["of"].to_list() == ["resolution"]


@settings(max_examples=2, deadline=None)
@given(many, bought_days, st.sampled_from([0, 30, 90]))
@example(  # on the day of the next purchase; on the last day in which it is put down to the purchase
    [("a", 30 * 24 + 5, "damaged", 1, 12, 5, False), ("NULL", 30 * 24 + 5, "damaged", 1, 12, 5, False)],
    [("a", 0, 100), ("a", 30, 100), ("a", 60, 0), ("NULL", 0, 50)],
    30,
)
def test_orders_and_what_followed_agree_with_plain_python(rows, log, case_days):
    followed = service.orders(purchases(log), handled(rows), case_days=case_days).cache()
    orders = followed.to_pandas()
    life = lives(log)
    amounts = [a for of in life.values() for _, a in of]
    pauses = [later - n for of in life.values() for (n, _), (later, _) in pairwise(of)]
    expected = {}
    for who, of in life.items():
        for at, (n, amount) in enumerate(of):
            after = of[at + 1][0] if at + 1 < len(of) else 9999
            about = {row[2] == "Order Status" for row in rows if row[0] == who and n <= row[1] // 24 < after
                     and row[1] // 24 - n <= case_days}  # fmt: skip
            pause = n - of[at - 1][0] if at else None
            expected[who, n] = (
                False in about, True in about, "1" if at == 0 else "2–3" if at < 3 else "4+",
                "larger" if amount > np.median(amounts) else "smaller",
                "first" if pause is None else "slow" if pause > np.median(pauses) else "quick",
            )  # fmt: skip
    columns = ["customer_id", "date", "complaint", "inquiry", "order", "size", "rhythm"]
    ours = {
        (who, (pd.Timestamp(date).date() - START).days): tuple(flags)
        for who, date, *flags in orders[columns].itertuples(index=False)
    }
    assert ours == expected

    looks = {"as_of": AS_OF, "within_days": 100, "case_days": case_days}
    for of in ("complaint", "inquiry"):
        seen = Counter()
        for (who, n), flags in expected.items():
            after = next((later for later, _ in life[who] if later > n), 9999) - n
            if n <= 300 and after > case_days and not (of == "inquiry" and flags[0]):
                seen[flags[0 if of == "complaint" else 1], "customers"] += 1
                seen[flags[0 if of == "complaint" else 1], "returned"] += after <= 100
        found = service.after_orders(followed, of, **looks)
        sums = found.groupby(of)[["customers", "returned"]].sum()
        assert {(has, name): sums.loc[has, name] for has in sums.index for name in sums} == dict(seen)


@settings(max_examples=2, deadline=None)
@given(many, bought_days)
@example(  # bought on the day of the closing, and 101 days after it; and 100 days after it
    [("a", 24 * 10, "damaged", 1, 24, 2, True), ("NULL", 24 * 10, "damaged", 1, 24, 2, True)],
    [("a", 9, 100), ("a", 11, 100), ("a", 112, 5), ("NULL", 9, 100), ("NULL", 111, 5)],
)
def test_what_follows_a_closed_complaint_agrees_with_plain_python(rows, log):
    life, frame = lives(log), told(rows)
    expected = {}
    for row in frame.dropna(subset="closed").itertuples():
        closed = (row.closed.date() - START).days
        days = [n for n, _ in life.get(row.customer_id, [])]
        number = sum(n <= closed for n in days)
        if row.cause == "Order Status" or closed > 300 or not number:
            continue
        rating = None if pd.isna(row.satisfaction) else row.satisfaction
        expected[row.case_id] = (
            (row.closed - row.opened) > pd.Timedelta(days=3), {1: True, 2: True, 4: False, 5: False}.get(rating),
            row.reopened, any(0 < n - closed <= 100 for n in days),
            "1" if number == 1 else "2–3" if number <= 3 else "4+",
        )  # fmt: skip
    settled = service.settled(handled(rows), purchases(log), as_of=AS_OF, within_days=100, quick_days=3).cache()
    found = settled.to_pandas().astype(object)
    columns = ["slow", "dissatisfied", "reopened", "back", "order"]
    ours = {row[0]: tuple(None if pd.isna(cell) else cell for cell in row[1:])
            for row in found[["case_id", *columns]].itertuples(index=False)}  # fmt: skip
    assert ours == expected
    groups = service.after_settling(settled, "dissatisfied")
    assert groups["customers"].sum() == sum(flags[1] is not None for flags in expected.values())


def counted(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["slow", "order", "customers", "returned", "spread"])


def test_orders_of_one_customer_count_for_less():
    """Where each customer has two orders that end alike, there is half as much to learn from."""
    share = {True: (100, 60), False: (400, 200)}
    alone = counted([(has, "1", n, x, n * (x / n) * (1 - x / n)) for has, (n, x) in share.items()])
    twice = counted([(has, "1", n, x, 2 * n * (x / n) * (1 - x / n)) for has, (n, x) in share.items()])
    plain, found = service.clustered(alone, "slow"), service.clustered(twice, "slow")
    assert plain == difference(alone, "slow", "order")
    assert found[:5] == plain[:5]
    halved = difference(twice.assign(customers=twice["customers"] / 2, returned=twice["returned"] / 2), "slow", "order")
    assert found[5:10] == pytest.approx(halved[5:10])
    assert found.left_out == plain.left_out == 0
    with pytest.raises(Unanswerable, match="nothing without a slow resolution"):
        service.clustered(alone[:1], "slow")
    with pytest.raises(Unanswerable, match="nothing with a slow resolution"):
        service.clustered(alone[1:], "slow")
    with pytest.raises(Unanswerable, match="counterpart"):
        service.clustered(alone.assign(order=["1", "4+"]), "slow")


def test_intervals_hold_for_all_comparisons_at_once():
    one = service.clustered(counted([(True, "1", 100, 60, 0), (False, "1", 400, 180, 0)]), "slow")
    alone, among = service.at_once({"x": one}), service.at_once({f"x{n}": one for n in range(20)})
    assert alone[["adjusted_low", "adjusted_high"]].iloc[0].to_list() == pytest.approx(one[8:10])
    assert alone["clear"][0]
    assert not among["clear"].any()
    small = one._replace(customers_with=29)
    found = service.at_once({"few": small, "x": one})
    assert found[["few", "clear"]].to_numpy().tolist() == [[True, False], [False, True]]
    assert service.at_once({}).empty


def test_complaints_of_frequent_complainers_do_not_raise_false_alarms():
    """Customers differ in loyalty and in how much they complain; neither has to do with the other."""
    random, clear, naive = np.random.default_rng(11), 0, 0
    for _ in range(15):
        people = np.repeat(np.arange(120), 12)
        loyal, complains = random.beta(0.4, 0.4, 120)[people], random.beta(0.3, 1.2, 120)[people]
        each = pd.DataFrame(
            {"who": people, "slow": random.random(1440) < complains, "back": random.random(1440) < loyal}
        )
        sums = each.groupby(["slow", "who"])["back"].agg(["size", "sum"]).reset_index()
        groups = sums.groupby("slow", as_index=False)[["size", "sum"]].sum()
        share = groups.set_index("slow")["sum"] / groups.set_index("slow")["size"]
        rest = (sums["sum"] - sums["size"] * sums["slow"].map(share)) ** 2
        groups = groups.assign(order="1", spread=rest.groupby(sums["slow"]).sum().to_numpy())
        groups = groups.rename(columns={"size": "customers", "sum": "returned"})
        clear += service.clustered(groups, "slow").clear
        naive += difference(groups, "slow", "order").clear
    assert clear <= 3  # of 15 at 5 %: more in one of 180
    assert naive > 3


@settings(max_examples=2, deadline=None)
@given(many, bought_days)
@example([("a", 24 * 100, "damaged", 1, 24, 2, True)], [("a", 101, 100), ("a", 100, 40), ("a", 20, 30)])
@example([("a", 24 * 366, "damaged", 1, 24, 2, True)], [("a", 1, 100), ("a", 2, 40), ("a", 367, 30)])
def test_lists_of_those_owed_something_agree_with_plain_python(rows, log):
    life, frame = lives(log), told(rows)
    lines = pd.DataFrame([(who, day(n), float(a)) for who, n, a in log], columns=["customer_id", "date", "amount"])
    lines = customers.transaction_lines(lines.astype({"customer_id": str, "date": "datetime64[us]"}))
    valued = service.worth(handled(rows), lines).cache()

    def worth(who, opened):
        number = (opened.date() - START).days
        return sum(a for other, n, a in log if other == who and number - 365 < n <= number)

    waiting = service.open_complaints(valued, as_of=AS_OF).cache()
    expected = {
        row.case_id: (row.customer_id, worth(row.customer_id, row.opened), (AS_OF - row.opened.date()).days,
                      "no" if pd.isna(row.first_response) else "yes")
        for row in frame[frame["closed"].isna() & (frame["cause"] != "Order Status")].itertuples()
    }  # fmt: skip
    found = waiting.to_pandas()
    assert {row.case_id: (row.customer_id, row.value, row.age, row.answered) for row in found.itertuples()} == expected
    assert found["value"].is_monotonic_decreasing

    rated = frame.dropna(subset=["closed", "satisfaction"]).assign(day=lambda t: t["closed"].dt.date)
    latest = rated.sort_values(["day", "satisfaction", "case_id"], ascending=[False, True, True]).drop_duplicates(
        "customer_id"
    )
    bad = {}
    for row in latest.itertuples():
        closed = (row.day - START).days
        if (
            row.satisfaction <= 2
            and 400 - closed <= 200
            and not any(n > closed for n, _ in life.get(row.customer_id, []))
        ):
            bad[row.customer_id] = (worth(row.customer_id, row.opened), row.satisfaction, 400 - closed)
    displeased = service.dissatisfied(valued, purchases(log), as_of=AS_OF, recent_days=200).cache()
    found = displeased.to_pandas()
    assert {row.customer_id: (row.value, row.satisfaction, row.days_since) for row in found.itertuples()} == bad
    risk, both = service.at_risk(waiting, displeased), defaultdict(float)
    for who, value in [*((w, v) for w, v, *_ in expected.values()), *((w, v[0]) for w, v in bad.items())]:
        both[who] = max(both[who], value)
    assert (risk["customers"], risk["value"]) == (len(both), pytest.approx(sum(both.values())))


quote = st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["p", "q"]), st.integers(0, 40),
                  st.sampled_from([0, 100, 105, 110, 111, 120]), st.sampled_from(["s", "t", None]))  # fmt: skip
sale = st.tuples(
    st.sampled_from(PEOPLE), st.sampled_from(["p", "q", "r"]), st.integers(-2, 5), st.sampled_from([50, 90, 100])
)


def quoted(rows: list[tuple]) -> pd.DataFrame:
    found = [
        (f"Q{n:02}", who, product, day(at), float(price), by) for n, (who, product, at, price, by) in enumerate(rows)
    ]
    columns = ["quote_id", "customer_id", "product_id", "date", "unit_price", "salesperson_id"]
    return pd.DataFrame(found, columns=columns).astype(
        {"quote_id": str, "customer_id": str, "product_id": str, "salesperson_id": "string", "date": "datetime64[us]"}
    )


def sold(rows: list[tuple]) -> pd.DataFrame:
    found = [(who, product, float(q), float(a * np.sign(q)), 100.0 * np.sign(q)) for who, product, q, a in rows]
    frame = pd.DataFrame(found, columns=["customer_id", "product_id", "quantity", "amount", "list_amount"])
    return frame.astype({"customer_id": str, "product_id": str})


@settings(max_examples=2, deadline=None)
@given(st.lists(quote, max_size=20), st.lists(sale, max_size=12))
@example([("a", "p", 0, 100, "s"), ("a", "p", 7, 110, None), ("a", "p", 7, 111, "t")], [("a", "p", 4, 100)])
def test_contradicting_quotes_agree_with_plain_python(rows, sales):
    expected = {}
    for n, (who, product, at, price, by) in enumerate(rows):
        for m, (who2, product2, at2, price2, by2) in enumerate(rows):
            near = (at, n) < (at2, m) and at2 - at <= 7
            if (who, product) != (who2, product2) or not near or not price * price2:
                continue
            if max(price, price2) > 1.1 * min(price, price2) + 1e-6:
                own = [q for w, p, q, _ in sales if (w, p) == (who, product) and q > 0]
                everybody = [q for _, p, q, _ in sales if p == product and q > 0]
                usual = np.median(own or everybody or [1])
                expected[f"Q{n:02}", f"Q{m:02}"] = (who, product, abs(price - price2) * usual,
                                                    f"{by or 'unknown'} / {by2 or 'unknown'}")  # fmt: skip
    found = service.contradictions(quoted(rows), sold(sales), quote_days=7, tolerance=0.1).to_pandas()
    ours = {(row.first_quote, row.second_quote): (row.customer_id, row.product_id, row.at_stake, row.salespeople)
            for row in found.itertuples()}  # fmt: skip
    assert ours == expected
    assert found["at_stake"].is_monotonic_decreasing
    without = service.contradictions(
        quoted(rows).drop(columns="salesperson_id"), quote_days=7, tolerance=0.1
    ).to_pandas()
    assert len(without) == len(expected)
    assert without["quantity"].isin([1]).all()


@settings(max_examples=2, deadline=None)
@given(st.lists(quote, max_size=20), st.lists(sale, max_size=12))
@example(
    [(who, "p", at, 100, "s") for who in PEOPLE for at in (0, 5)] + [("a", "p", 3, 120, "t")],
    [("a", "q", 1, 50), ("a", "p", 1, 90)],
)
def test_quotes_beside_others_agree_with_plain_python(rows, sales):
    expected = {}
    for n, (who, product, at, price, _) in enumerate(rows):
        others = [p for w, pr, d, p, _ in rows if w != who and pr == product and abs(d - at) <= 7 and p]
        if len(others) < 3 or not price:
            continue
        paid = [a for w, p, q, a in sales if w == who and p != product and q > 0]
        share = min(sum(paid) / (100 * len(paid)), 1) if paid else 1
        middle = np.median(others)
        expected[f"Q{n:02}"] = ("below" if price < 0.9 * middle * share - 1e-6 else
                                "above" if price > 1.1 * middle + 1e-6 else "as expected")  # fmt: skip
    found = service.beside_others(quoted(rows), sold(sales), near_days=7, tolerance=0.1)
    frame = found.to_pandas()
    assert dict(zip(frame["quote_id"], frame["place"], strict=True)) == expected
    if not expected:
        with pytest.raises(Unanswerable, match="same product"):
            service.by_salesperson(found)
        return
    people = service.by_salesperson(found)
    assert people["quotes"].sum() == len(expected)
    assert people["below"].sum() == sum(place == "below" for place in expected.values())


def test_the_order_of_rows_changes_nothing():
    random = np.random.default_rng(5)
    rows = [(PEOPLE[n % 4], int(random.integers(0, 9000)), CAUSES[n % 3], 3, int(random.integers(5, 200)), 1 + n % 5,
             n % 7 == 0) for n in range(80)]  # fmt: skip
    log = [(PEOPLE[n % 4], int(random.integers(0, 400)), 0.1 * n) for n in range(80)]
    told_of = told(rows)
    sides = [
        (handled(told_of), purchases(log).cache()),
        (handled(told_of.sample(frac=1, random_state=1)), purchases(log[::-1]).cache()),
    ]
    for look in (
        lambda cases, buys: service.waiting_times(cases, "resolution", "cause"),
        lambda cases, buys: service.pleased(cases, "kind"),
        lambda cases, buys: service.rating_effects(cases),
        lambda cases, buys: service.by_quarter(cases, buys, as_of=AS_OF),
        lambda cases, buys: service.after_orders(
            service.orders(buys, cases, case_days=9), "complaint",
            as_of=AS_OF, within_days=60, case_days=9),
    ):  # fmt: skip
        pd.testing.assert_frame_equal(*(look(*side) for side in sides), check_exact=True)


def test_what_happens_later_changes_nothing(sample):
    """As of an earlier date, everything is as if the tables had ended there."""
    data, end = open_dataset(sample, as_of="2024-06-30"), pd.Timestamp("2024-07-01")
    raw = {name: pd.read_csv(sample.parent / "sample" / f"{name}.csv") for name in ("cases", "transactions")}
    cases = raw["cases"].assign(
        **{name: pd.to_datetime(raw["cases"][name]) for name in ("opened", "first_response", "closed")}
    )
    cases = cases[cases["opened"] < end]
    late = ~(cases["closed"] < end)
    cases = cases.assign(
        first_response=cases["first_response"].where(cases["first_response"] < end),
        closed=cases["closed"].mask(late),
        satisfaction=cases["satisfaction"].mask(late).astype("Int64"),
        reopened=cases["reopened"].map({"yes": True, "no": False}).mask(late).astype("boolean"),
    )
    sales = raw["transactions"].assign(date=pd.to_datetime(raw["transactions"]["date"]))
    bought = customers.purchases(sales.loc[sales["date"] < end, ["customer_id", "date", "amount"]])
    ours = service.handled(data.table("cases"), as_of=data.as_of, not_complaints=INQUIRIES).cache()
    theirs = service.handled(cases, as_of=data.as_of, not_complaints=INQUIRIES).cache()
    looks = {"as_of": data.as_of, "within_days": 180}
    found = [
        service.settled(table, log, quick_days=3, **looks).order_by("case_id").to_pandas()
        for table, log in ((ours, data.purchases()), (theirs, bought))
    ]
    pd.testing.assert_frame_equal(*found, check_dtype=False)
    ours, theirs = (service.waiting_times(table, "resolution", "cause") for table in (ours, theirs))
    pd.testing.assert_frame_equal(ours, theirs)


def test_sample_company_loses_customers_by_complaints_as_planted(company, followed, truth):
    (data, *_), orders = company, followed
    looks = {"as_of": data.as_of, "within_days": 365, "case_days": 30}
    found = service.after_orders(orders, "complaint", **looks)
    found = service.at_once(
        {name: service.clustered(part, "complaint") for name, part in found.groupby(found["order"] == "1")}
    )
    assert found["clear"].all()

    steadfast = [*truth["category_specialists"].values()] + [truth[kind] for kind in STEADFAST.split()]
    orders = orders.filter(orders["customer_id"].notin(sorted(chain(*steadfast)))).cache()
    groups = service.after_orders(orders, "complaint", **looks)
    wide = service.after_orders(orders, "complaint", as_of=data.as_of, within_days=365, case_days=0)
    alike = ["order", "size", "rhythm", "kind"]
    for first, keeps in ((True, truth["second_purchase"]), (False, truth["later_purchases"])):
        part = groups[(groups["order"] == "1") == first]
        found = service.clustered(part, "complaint")
        assert found.clear
        # Of those without a complaint, some have come back before the days to complain are over; with one, fewer.
        own = part.groupby([*alike, "complaint"])[["customers", "returned"]].sum().unstack()
        everybody = wide[~wide["complaint"]].groupby(alike)["customers"].sum().reindex(own.index)
        weight = own["customers"][True].fillna(0)
        rest, late = own["customers"][False], own["returned"][False]
        soon = (everybody - rest).clip(lower=0)
        k = keeps["complaint"]
        truly = k * late / (everybody - k * soon) - late / rest
        expected = (truly * weight).sum() / weight[truly.notna()].sum()
        assert found.adjusted_low < expected < found.adjusted_high


def test_sample_company_shows_nothing_where_nothing_is_planted(company, followed):
    """Questions, and how a complaint was settled, decide nothing; nor does chance, beyond the error rate."""
    data, bought, cases = company
    kinds = data.table("customers")
    looks = {"as_of": data.as_of, "within_days": 365, "case_days": 30}
    settled = service.settled(cases, bought, kinds, as_of=data.as_of, within_days=365, quick_days=3).cache()
    found = {
        of: service.clustered(service.after_settling(settled, of), of) for of in ("slow", "dissatisfied", "reopened")
    }
    found["inquiry"] = service.clustered(service.after_orders(followed, "inquiry", **looks), "inquiry")
    assert not service.at_once(found)["clear"].any()

    frame = followed.filter(~followed["complaint"]).to_pandas()
    false = 0
    for seed in range(8):
        chance = frame.assign(complaint=np.random.default_rng(seed).random(len(frame)) < 0.07)
        false += service.clustered(service.after_orders(chance, "complaint", **looks), "complaint").clear
    assert false <= 2  # of 8 at 5 %: more in one of 170


def test_sample_company_serves_as_planted(company, followed):
    """Times, shares per cause and ratings do not change from year to year; slowness and reopening displease."""
    data, bought, cases = company
    effects = service.rating_effects(cases).set_index("of")
    for of, true in (("resolution", -0.45), ("reopened", -1.0)):
        assert effects.loc[of, "low"] < true < effects.loc[of, "high"] < 0
    edges = service.spans(cases, data.period[0], data.as_of, months=12)
    recent = service.in_periods(cases, edges).cache()
    for what in ("response", "resolution"):
        assert abs(service.log_rank(recent, what, "now", "cause")) < service.CLEAR
    assert service.changes(recent) == {"satisfied": "chance", "reopened": "chance"}
    causes = service.per_100_orders(cases, bought, edges, "kind", "cause")
    assert (causes["change"] == "chance").all()
    times = service.waiting_times(cases, "resolution", "kind").set_index("kind")
    assert times.loc["inquiry", "high"] < times.loc["complaint", "low"]  # planted: questions are settled sooner

    everything = [data.period[0] - dt.timedelta(days=1), data.as_of]
    found = service.per_100_orders(cases, bought, everything, "kind", "cause").set_index("cause")
    orders = bought.count().execute()
    first = bought.filter(bought["number"] == 1).count().execute() / orders
    assert found.loc["order status", "low"] < 100 * 0.025 * (1 - first) < found.loc["order status", "high"]
    for cause, (one, other) in COMPLAINTS.items():
        share = 100 * sum(  # a late delivery may be complained of instead
            of * chance * (1 - late * LATE_COMPLAINTS)
            for of, chance, late in ((first, one, LATE[0]), (1 - first, other, LATE[1]))
        )
        assert found.loc[cause, "low"] < share < found.loc[cause, "high"]
    share = followed.group_by("order").aggregate(share=followed["complaint"].cast("float64").mean()).to_pandas()
    share = share.set_index("order")["share"]
    assert share["1"] > 1.5 * share["4+"]


def test_sample_company_contradicts_itself_as_planted(company, truth):
    data, *_ = company
    quotes, sales = data.table("quotes"), data.table("transactions")
    found = service.contradictions(quotes, sales, quote_days=14, tolerance=0.1).to_pandas()
    pairs = {frozenset(pair) for pair in truth["inconsistent_quotes"]}
    ours = [frozenset(pair) for pair in zip(found["first_quote"], found["second_quote"], strict=True)]
    assert len(ours) == 12
    assert set(ours) == pairs  # every one, and no other
    beside = service.beside_others(quotes, sales, near_days=14, tolerance=0.1)
    people = calls.compared(
        service.by_salesperson(beside), "salesperson_id", ["product_id"], part="beside", whole="quotes"
    )
    assert people["whole" if "whole" in people else "quotes"].sum() > 700
    assert not people["clear"].any()  # nobody is called wrong for the discounts that customers have
    planted = {quote for pair in pairs for quote in pair}
    odd = set(beside.filter(beside["place"] == "below").to_pandas()["quote_id"])
    assert len(odd - planted) <= 0.015 * people["quotes"].sum()


def test_impossible_parameters_are_refused():
    table, log = handled([("a", 5, "x", 1, 2, 5, False)]), purchases([("a", 0, 1)])
    with pytest.raises(ValueError, match="case_days"):
        service.orders(log, table, case_days=-1)
    orders = service.orders(log, table, case_days=30)
    with pytest.raises(ValueError, match="more days to buy again"):
        service.after_orders(orders, "complaint", as_of=AS_OF, within_days=30, case_days=30)
    with pytest.raises(ValueError, match="within_days"):
        service.settled(table, log, as_of=AS_OF, within_days=0, quick_days=3)
    for days, tolerance in ((-1, 0.1), (5, 1.0), (5, -0.1)):
        with pytest.raises(ValueError, match="tolerance"):
            service.contradictions(quoted([]), quote_days=days, tolerance=tolerance)
        with pytest.raises(ValueError, match="tolerance"):
            service.beside_others(quoted([]), near_days=days, tolerance=tolerance)
    with pytest.raises(Unanswerable, match="to be compared: slow, late"):
        service.refuse_missing(["slow", "late"])
    service.refuse_missing([])
    with pytest.raises(Unanswerable, match="no case"):
        service.waiting_times(handled(told([])), "response")
    with pytest.raises(Unanswerable, match="no order"):
        service.per_100_orders(table, log, [day(100), AS_OF], "kind")
    with pytest.raises(Unanswerable, match="not both"):
        service.by_quarter(handled(told([])), log, as_of=AS_OF)


def test_speaks_other_dialects(monkeypatch):
    asked, run = [], ibis.Table.to_pandas
    monkeypatch.setattr(ibis.Table, "to_pandas", lambda self: asked.append(self) or run(self))
    engine = ibis.duckdb.connect()
    rows = [(PEOPLE[n % 4], 40 * n, CAUSES[n % 3], 3, 7 * n, 1 + n % 5, n % 7 == 0) for n in range(80)]
    lines = sold([(PEOPLE[n % 4], "pq"[n % 2], 1 + n % 3, 90) for n in range(60)]).assign(
        date=[day(5 * n) for n in range(60)]
    )
    cases = service.handled(engine.create_table("cases", told(rows)), as_of=AS_OF, not_complaints=INQUIRIES)
    cases.to_pandas()
    cases = cases.cache()
    lines = engine.create_table("lines", lines)
    quotes = engine.create_table("quotes", quoted([(who, "p", n, 100, "s") for who in PEOPLE for n in range(3)]))
    costs = engine.create_table("costs", pd.DataFrame({"customer_id": ["a"], "date": [START], "cost": [1.0]}))
    people = engine.create_table("people", pd.DataFrame({"customer_id": PEOPLE, "kind": "person"}))
    bought, edges = customers.purchases(lines).cache(), [day(-1), day(100), AS_OF]
    service.spans(cases, START, AS_OF, months=3)
    recent = service.in_periods(cases, edges)
    service.waiting_times(recent, "response", "kind", "now")
    service.log_rank(recent, "resolution", "now", "cause")
    service.per_100_orders(cases, bought, edges, "kind", "cause")
    service.by_quarter(cases, bought, as_of=AS_OF)
    service.costs(cases, costs)
    service.changes(recent)
    service.rating_effects(cases)
    orders = service.orders(bought, cases, people, case_days=30)
    service.after_orders(orders, "inquiry", as_of=AS_OF, within_days=90, case_days=30)
    settled = service.settled(cases, bought, people, as_of=AS_OF, within_days=90, quick_days=3)
    service.after_settling(settled, "slow")
    valued = service.worth(cases, customers.transaction_lines(lines))
    waiting = service.open_complaints(valued, as_of=AS_OF)
    service.at_risk(waiting, service.dissatisfied(valued, bought, as_of=AS_OF, recent_days=90))
    service.contradictions(quotes, lines, quote_days=5, tolerance=0.1).to_pandas()
    service.by_salesperson(service.beside_others(quotes, lines, near_days=5, tolerance=0.1))
    assert len(asked) >= 16
    for expression in asked:
        for dialect in ("postgres", "pyspark"):
            assert "memtable" not in ibis.to_sql(expression, dialect=dialect)


def test_charts_draw_the_numbers_of_their_frames():
    times = pd.DataFrame({"cause": ["$x$", "y"], "median": [2.0, np.nan], "low": [1.0, np.nan], "high": [np.nan] * 2,
                          "most": [6.04, np.nan]})  # fmt: skip
    quarters = pd.DataFrame({"start": pd.to_datetime(["2024-01-01", "2024-04-01"]), "per_100": [5.0, 7.0],
                             "low": [3.0, 6.0], "high": [8.0, 9.0]})  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = [charts.case_times(times, "cause"), charts.cases_per_100(quarters, "Complaints"),
                   charts.case_times(times[:0], "cause"), charts.case_times(times[1:], "cause")]  # fmt: skip
        for figure in figures:
            figure.savefig(io.BytesIO(), format="png")
    assert [text.get_text() for text in figures[0].axes[0].texts if text.get_text()] == ["2.0", "not known yet", "6.0"]
    assert figures[1].axes[0].lines[0].get_ydata().tolist() == [5.0, 7.0]
