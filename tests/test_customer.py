"""What is told of one customer is what pandas finds in the raw CSVs."""

import pandas as pd
import pytest

from crm_analysis import customer, lifecycle, open_dataset, pyramid
from crm_analysis.errors import InputError, Unanswerable


@pytest.fixture(scope="module")
def company(sample):
    return customer.company(str(sample))


@pytest.fixture(scope="module")
def raw(sample):
    """The sample company's CSVs."""
    return {file.stem: pd.read_csv(file) for file in (sample.parent / "sample").glob("*.csv")}


@pytest.fixture(scope="module")
def bought(raw):
    """One row per customer and day with a net amount of at least 0."""
    lines = raw["transactions"].assign(date=lambda t: pd.to_datetime(t["date"]))
    days = lines.groupby(["customer_id", "date"], as_index=False)["amount"].sum()
    return days[days["amount"].round(2) >= 0]


@pytest.fixture(scope="module")
def value(raw):
    """Profit per customer, by the CSVs."""
    lines = raw["transactions"].merge(raw["products"][["product_id", "unit_cost"]], how="left")
    lines["profit"] = lines["amount"] - lines["quantity"] * lines["unit_cost"].fillna(0)
    served = raw["service_costs"].groupby("customer_id")["cost"].sum()
    profit = lines.groupby("customer_id")["profit"].sum()
    return profit - served.reindex(profit.index).fillna(0)


PLANTED = ["bad_payers", "quiet_key_accounts", "lost_with_manager", "promising_new"]


@pytest.fixture(scope="module", params=PLANTED)
def planted(request, truth):
    return truth[request.param][:3]


@pytest.fixture(scope="module")
def lead(raw):
    """Somebody of whom only contacts are known."""
    ids = set(raw["contacts"]["customer_id"]) - set(raw["transactions"]["customer_id"])
    people = raw["customers"]
    return people.loc[people["customer_id"].isin(ids) & people["status"].eq("target"), "customer_id"].iloc[0]


def test_purchases_and_rhythm(company, bought, planted):
    for who in planted:
        expected = bought[bought["customer_id"] == who].sort_values("date")
        found = customer.purchases(company, who)
        assert found["date"].to_list() == expected["date"].to_list()
        assert found["amount"].to_list() == pytest.approx(expected["amount"].to_list())
        rhythm, gaps = customer.rhythm(company, who), expected["date"].diff().dt.days.dropna()
        assert rhythm["purchases"] == len(expected)
        assert rhythm["silence"] == (pd.Timestamp(company.data.as_of) - expected["date"].max()).days
        assert (rhythm["usual_gap"] is None) == gaps.empty
        if len(gaps):
            assert (rhythm["usual_gap"], rhythm["longest_gap"]) == (gaps.median(), gaps.max())


def test_value_rank_and_tier(company, value, planted):
    for who in planted:
        found, above = customer.standing(company, who), (value.round(2) > round(value[who], 2)).sum()
        assert found["value"] == pytest.approx(value[who], abs=0.01)
        assert (found["rank"], found["customers"]) == (above + 1, len(value))
        limits = [0.01, 0.20, 0.50]
        assert found["tier"] == pyramid.TIERS[sum(above / len(value) >= limit for limit in limits)]


def test_years_add_up(company, value, bought, truth):
    for who in truth["bad_payers"][:3]:
        years = customer.years(company, who)
        of = bought[bought["customer_id"] == who]
        assert years["purchases"].sum() == len(of[of["date"].dt.date > company.ends[0]])
        assert years["value"].sum() == pytest.approx(value[who], abs=0.01)
        assert years["tier"].isna().to_list() == years["purchases"].eq(0).to_list()


def test_stage_now_and_since(company, bought, planted):
    rules = lifecycle.rules(company.bought)
    for who in planted:
        days = bought.loc[bought["customer_id"] == who, "date"]
        silence = (pd.Timestamp(company.data.as_of) - days.max()).days
        active = "first-time" if len(days) == 1 else "repeat" if len(days) < rules.loyal_from else "loyal"
        now = "lost" if silence > rules.lost_after else "dormant" if silence > rules.dormant_after else active
        found = customer.stages(company, who)
        assert found["stage"].iloc[0] == now
        assert found["since"].is_monotonic_decreasing
        assert (found["stage"] != found["stage"].shift()).all()


def test_everybodys_last_stage_is_that_of_the_whole_company(company):
    now = lifecycle.stages(company.bought, [company.data.as_of], company.rules, company.leads).to_pandas()
    last = company.staged.to_pandas().sort_values("since").groupby("customer_id")["stage"].last()
    expected = now.set_index("customer_id")["stage"].reindex(last.index).fillna(lifecycle.NON_CUSTOMER)
    assert (last == expected).all()  # who was a lead once is not one for ever
    assert set(now["customer_id"]) <= set(last.index)
    assert (last == lifecycle.NON_CUSTOMER).sum() > 100


def test_products(company, raw, planted):
    for who in planted:
        lines = raw["transactions"].query("customer_id == @who")
        expected = lines.groupby("product_id").agg(quantity=("quantity", "sum"), amount=("amount", "sum")).round(2)
        expected = expected.reset_index().sort_values(["amount", "product_id"], ascending=[False, True]).head(10)
        found = customer.products(company, who)
        assert found["product_id"].to_list() == expected["product_id"].to_list()
        assert found["quantity"].to_list() == expected["quantity"].to_list()
        assert found["amount"].to_list() == pytest.approx(expected["amount"].to_list())
        named = raw["products"].set_index("product_id")["name"]
        assert found["product"].to_list() == named[found["product_id"]].to_list()


def test_quotes_and_when_they_were_ordered(company, raw, truth):
    asked = raw["quotes"]["customer_id"].value_counts()
    for who in [*asked.index[:2], *truth["lost_with_manager"][:2]]:
        found = customer.quotes(company, who)
        of = raw["quotes"].query("customer_id == @who").sort_values(["date", "quote_id"], ascending=False).head(10)
        sold = raw["transactions"].query("customer_id == @who and amount > 0")
        assert found["unit_price"].to_list() == of["unit_price"].to_list()
        for got, quote in zip(found["ordered"], of.itertuples(), strict=True):
            later = sold.loc[(sold["product_id"] == quote.product_id) & (sold["date"] >= quote.date), "date"]
            assert (f"{got:%Y-%m-%d}" if pd.notna(got) else None) == (later.min() if len(later) else None)


def test_what_is_owed(company, raw, planted, truth):
    due = raw["payments"][raw["payments"]["due"] < str(company.data.as_of)]
    for who in planted:
        of = due[due["customer_id"] == who]
        assert customer.payments(company, who).get("owed", 0) == pytest.approx(of[of["paid"].isna()]["amount"].sum())
        assert bool(customer.payments(company, who).get("bad_payer")) == (who in truth["bad_payers"])


def test_record_tells_who_looked_after_before(company, raw, truth):
    left = truth["leaving_manager"]
    for who in truth["lost_with_manager"][:3]:
        found, people = customer.record(company, who), raw["customers"].set_index("customer_id").loc[who]
        assert found["name"] == people["name"]
        assert found.get("acquisition_cost") in (None, pytest.approx(people["acquisition_cost"]))
        assert f"{left} until 20" in found["account_manager"]
        assert "status" not in found


def test_who_never_bought(company, raw, lead):
    assert customer.standing(company, lead) == customer.rhythm(company, lead) == customer.payments(company, lead) == {}
    assert customer.purchases(company, lead).empty
    assert customer.years(company, lead).empty
    assert customer.products(company, lead).empty
    of = raw["contacts"].query("customer_id == @lead")
    met = customer.interest(company, lead)
    assert met["contacts"] == len(of)
    assert (met["interest"] is None and of["interest"].isna().all()) or met["interest"] == of["interest"].max()
    assert str(customer.contacts(company, lead)["date"].iloc[0])[:10] == of["time"].max()[:10]
    assert set(customer.stages(company, lead)["stage"]) <= {"prospect", "target", "non-customer"}
    if to_do := customer.next_action(company, lead):
        assert 0 < to_do["propensity"] < 1


def test_one_purchase(company, bought):
    counts = bought["customer_id"].value_counts()
    who = counts[counts == 1].index.min()
    assert customer.rhythm(company, who)["usual_gap"] is None
    assert len(customer.purchases(company, who)) == 1


def test_transactions_only(cdnow):
    company = customer.company(str(cdnow))
    lines = pd.read_csv(cdnow.with_suffix(".csv"), dtype={"customer_id": str})
    who = lines["customer_id"].iloc[0]
    assert customer.record(company, who) == {}
    assert customer.standing(company, who)["value"] == pytest.approx(lines.query("customer_id == @who")["amount"].sum())
    assert not customer.barred(company, who)
    for asked in (customer.quotes, customer.contacts, customer.cases, customer.payments, customer.products):
        with pytest.raises(Unanswerable, match=r"which cdnow\.toml does not describe"):
            asked(company, who)


def test_a_reason_why_not_is_found_once(write_dataset, monkeypatch):
    company = customer.company(str(write_dataset("customer_id,date,amount\na,2024-01-01,5\n")))
    for _ in range(2):
        with pytest.raises(Unanswerable):
            customer.stages(company, "a")
        monkeypatch.setattr(lifecycle, "rules", None)  # asked again, it would be another error


def test_company_is_kept_until_a_file_changes(write_dataset):
    toml = write_dataset("customer_id,date,amount\na,2024-01-01,5\n")
    before = customer.company(str(toml))
    assert customer.company(str(toml)) is before
    assert customer.company(str(toml), as_of="2024-01-02") is not before
    write_dataset("customer_id,date,amount\na,2024-01-01,57\n")
    assert customer.standing(customer.company(str(toml)), "a")["value"] == 57


def test_known(sample, lead):
    data = open_dataset(sample)
    customer.known(data, ["C0001", lead])
    with pytest.raises(InputError, match=r"there is no customer 'CC0001'; did you mean C0001\?"):
        customer.known(data, ["C0001", "CC0001"])


@pytest.fixture(scope="module")
def key(value):
    """The best fifth: those above whom there are less than 20 %."""
    rounded = value.round(2)
    return rounded[rounded.rank(method="min", ascending=False).sub(1) / len(rounded) < 0.20]


class TestKeyCustomersOf:
    def best_first(self, key, ids):
        of = key[key.index.isin(ids)].rename_axis("customer_id").reset_index(name="value")
        return of.sort_values(["value", "customer_id"], ascending=[False, True])["customer_id"].to_list()

    def test_of_today(self, sample, raw, key):
        now = raw["assignments"].query("end.isna()")
        for manager in ("S02", "S03"):
            ids = now.loc[now["account_manager_id"] == manager, "customer_id"]
            found = customer.key_customers_of(open_dataset(sample), manager)
            assert found == self.best_first(key, ids)
            assert found

    def test_of_one_who_left(self, sample, raw, key, truth):
        gone = raw["assignments"].query("not end.isna()").sort_values(["start", "customer_id"])
        last = gone.groupby("customer_id")["account_manager_id"].last()
        found = customer.key_customers_of(open_dataset(sample), truth["leaving_manager"])
        assert found == self.best_first(key, last.index[last == truth["leaving_manager"]])
        assert {*found} >= {*key.index} & {*truth["lost_with_manager"]}

    def test_of_nobody(self, sample, cdnow):
        with pytest.raises(InputError, match="there is no account manager 'S55'; did you mean S"):
            customer.key_customers_of(open_dataset(sample), "S55")
        with pytest.raises(Unanswerable, match="assignments"):
            customer.key_customers_of(open_dataset(cdnow), "S01")
