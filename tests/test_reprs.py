"""What an analyst holds in a hand says in one line what it is; a dataset shows itself as a small table."""

import datetime as dt
import pickle
import re

import numpy as np
import pandas as pd
import pytest

from crm_analysis import open_dataset
from crm_analysis.clusters import Clusters
from crm_analysis.lifetime.baselines import Average
from crm_analysis.lifetime.family import NBDFitter, ParetoNBDFitter
from crm_analysis.lifetime.season import Season
from crm_analysis.lifetime.spend import GammaGammaFitter
from crm_analysis.prospects.leads_now import Learnt
from crm_analysis.prospects.propensity import Propensity
from crm_analysis.prospects.validation import Validation

MANY = pd.DataFrame({"leads": range(1000), "buyers": 0})


@pytest.fixture(scope="module")
def model():
    histories = pd.DataFrame({"frequency": [0, 1, 3, 8], "recency": [0.0, 10.0, 30.0, 38.0], "T": 40.0})
    return NBDFitter().fit_histories(histories.assign(customers=[1200, 40, 20, 10]))


class TestDataset:
    def test_shows_tables_their_columns_and_what_to_know(self, write_dataset):
        toml = write_dataset(
            "customer_id,date,amount,order_id\na,2024-01-02,1,x\nb,2024-02-30,1,x\n", top='currency = "EUR"'
        )
        toml.write_text(toml.read_text().replace('"Shop"', '"Shop <b> & Co"'))
        shown = open_dataset(toml)._repr_html_()
        assert "<b>Shop &lt;b&gt; &amp; Co</b>" in shown
        assert "Transactions from 2024-01-02 to 2024-01-02, read up to 2024-01-02;" in shown
        assert "the value of a customer is revenue, in EUR." in shown
        assert "1 of 2 rows of transactions could not be used" in shown
        cells = re.findall("<td>(.*)</td>", shown)
        assert cells == ["transactions", "2", "1", "1", "customer_id, date, amount, order_id"]

    def test_a_wide_table_stays_small(self, write_dataset, tmp_path):
        wide = ",".join(f"attribute_{number}" for number in range(400))
        (tmp_path / "people.csv").write_text(f"customer_id,{wide}\na{',' * 400}\n")
        toml = write_dataset("customer_id,date,amount\na,2024-01-02,1\n")
        toml.write_text(toml.read_text() + '[tables.customers]\npath = "people.csv"\n')
        shown = open_dataset(toml)._repr_html_()
        assert len(shown) < 2000
        assert "attribute_0, attribute_1," in shown
        assert " …</td>" in shown


class TestModels:
    def test_fitted(self, model):
        shown = repr(model)
        r, alpha = model.params_
        assert shown == (
            f"<{model.label} model: r {r:.4g}, alpha {alpha:.4g}; converged on 1,270 customers,"
            f" log-likelihood {model.log_likelihood_:,.2f}>"
        )
        assert repr(pickle.loads(pickle.dumps(model))) == shown

    def test_not_fitted(self):
        assert repr(ParetoNBDFitter()) == "<Pareto/NBD model, not fitted>"
        assert repr(GammaGammaFitter()) == "<Gamma-Gamma model, not fitted>"

    def test_average(self, model):
        assert repr(Average([model, model])) == f"<average of the family: {model.label}, {model.label}>"

    def test_season(self, model):
        season = Season(pd.Series([1.0] * 11 + [3.0], range(1, 13)), dt.date(2024, 12, 31))
        assert repr(season).startswith("<Season by month: highest in month 12 (2.5")
        assert repr(ParetoNBDFitter(season=season)) == "<Pareto/NBD with season model, not fitted>"

    def test_propensity(self):
        model = Propensity(["channel", "region"])
        assert repr(model) == "<Propensity by channel, region, not fitted>"
        model.model_, model.base_rate_, model.rows_ = object(), 0.081, MANY
        learnt = "<Propensity by channel, region: learnt from 499,500 leads, of whom 8.1% bought>"
        assert repr(model) == learnt
        validation = Validation(MANY, dt.date(2024, 1, 1), dt.date(2024, 12, 1), 1.5, 0.01, 0.005)
        assert repr(Learnt(0.081, model, validation)) == (
            f"Learnt(base_rate=0.081, model={learnt}, validation=Validation(since=datetime.date(2024, 1, 1),"
            " until=datetime.date(2024, 12, 1), repeated=1.5, gain=0.01, gain_low=0.005), why='')"
        )

    def test_clusters(self):
        centres = pd.DataFrame({"cluster": [1, 2], "description": ["as recent, larger", "older, rarer"]})
        assert repr(Clusters(MANY, centres, 10.0, np.zeros((2, 3)), np.ones(3))) == (
            "<2 clusters: as recent, larger; older, rarer>"
        )
