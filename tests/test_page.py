"""What a notebook publishes is shown to the reader, harmlessly, and carried as data."""

import base64
import datetime as dt
import json

import ibis
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from crm_analysis import page, rates
from crm_analysis.errors import Unanswerable

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def shown(monkeypatch):
    """Collect what is displayed instead of showing it."""
    outputs = []
    monkeypatch.setattr(page, "display", lambda bundle, raw, metadata=None: outputs.append((bundle, metadata)))
    return outputs


def test_finding(shown):
    page.finding(f"{HOSTILE} is worth most.")
    bundle, _ = shown[0]
    assert "<script>" not in bundle["text/html"]
    assert bundle[page.MIME] == {"finding": {"sentence": f"{HOSTILE} is worth most.", "figure": "", "stake": None}}
    page.finding("At risk.", figure="a.risk", stake=np.float64(12.5))
    assert shown[1][0][page.MIME]["finding"] == {"sentence": "At risk.", "figure": "a.risk", "stake": 12.5}
    assert "12.5" not in shown[1][0]["text/html"]


def test_story(shown):
    page.story(HOSTILE, number=HOSTILE, change=HOSTILE, todo=HOSTILE, links={HOSTILE: "profit.html"})
    page.story("Said.", number="", change="", todo="", links={})
    bundle, _ = shown[0]
    assert "<script>" not in bundle["text/html"]
    assert '<a href="profit.html">' in bundle["text/html"]
    assert page.MIME not in bundle
    assert shown[1][0]["text/html"].count("<p") == 2


def test_figure(shown):
    page.figure("pareto.gini", np.float64(0.6346), unit="index", label="Gini", headline=True)
    page.figure("service.wait_time", float("nan"), unit="seconds")
    assert shown[0][0][page.MIME]["figure"] == {
        "key": "pareto.gini",
        "value": 0.6346,
        "unit": "index",
        "label": "Gini",
        "headline": True,
    }
    assert shown[1][0][page.MIME]["figure"]["value"] is None
    assert shown[1][0][page.MIME]["figure"]["label"] == "wait time"
    json.dumps([bundle for bundle, _ in shown], allow_nan=False)


def test_chart(shown):
    page.chart(Figure(figsize=(2, 1)), alt='An "empty" chart.')
    html = shown[0][0]["text/html"]
    svg = base64.b64decode(html.partition("base64,")[2].partition('"')[0]).decode()
    assert svg.startswith("<svg")
    assert "prefers-color-scheme:dark" in svg
    assert 'alt="An &quot;empty&quot; chart." width="192"' in html
    with pytest.raises(ValueError, match="alternative text"):
        page.chart(Figure(), alt=" ")


class TestList:
    customers = pd.DataFrame(
        {
            "customer_id": [HOSTILE, "=1+1", "x" * 500],
            "value": [10.5, -3.25, np.nan],
            "last_purchase": [dt.date(2024, 1, 31), None, dt.date(2024, 2, 29)],
            "visits": np.array([1, 2, 3]),
        }
    )

    @pytest.mark.parametrize("wrap", [lambda frame: frame, ibis.memtable], ids=["pandas", "ibis"])
    def test_everything_is_carried_and_the_first_rows_are_shown(self, shown, wrap):
        page.list("calls", wrap(self.customers), action="Call.", title="Whom?", units={"value": "EUR"})
        bundle, _ = shown[0]
        listed = bundle[page.MIME]["list"]
        assert listed["total"] == 3
        assert [column["unit"] for column in listed["columns"]] == ["", "EUR", "date", ""]
        assert listed["rows"] == [
            [HOSTILE, 10.5, "2024-01-31", 1],
            ["=1+1", -3.25, None, 2],
            ["x" * 500, None, "2024-02-29", 3],
        ]
        assert "<script>" not in bundle["text/html"]
        assert "x" * page.TOLD not in bundle["text/html"]
        assert ">value (EUR)<" in bundle["text/html"]
        json.dumps(bundle, allow_nan=False)

    def test_what_is_left_out_is_said(self, shown, monkeypatch):
        monkeypatch.setattr(page, "LISTED", 20)
        page.list("calls", pd.DataFrame({"customer_id": range(25)}), action="Call.", title="Whom?")
        bundle, _ = shown[0]
        assert "25 customers; the first 10 are shown, the first 20 are in the files." in bundle["text/html"]
        assert len(bundle[page.MIME]["list"]["rows"]) == 20

    def test_of_what_the_rows_are(self, shown):
        page.list("promote", pd.DataFrame({"product_id": ["a"]}), action="Promote.", title="What?", of="products")
        page.list("pay", pd.DataFrame({"salesperson_id": ["a"]}), action="Pay.", title="Whom?", of="salespeople")
        assert ">1 product.<" in shown[0][0]["text/html"]
        assert ">1 salesperson.<" in shown[1][0]["text/html"]

    def test_nobody(self, shown):
        page.list("calls", self.customers.head(0), action="Call.", title="Whom?")
        assert "0 customers." in shown[0][0]["text/html"]
        assert "<table>" not in shown[0][0]["text/html"]
        assert "Call." not in shown[0][0]["text/html"]  # nobody

    def test_its_name_is_a_file_name(self):
        with pytest.raises(ValueError, match="letters, digits and underscores"):
            page.list("../calls", self.customers, action="Call.", title="Whom?")


def test_what_a_sentence_calls_customers():
    frame = pd.DataFrame({"customer_id": ["a", "b", "x" * 99]})
    names = ibis.memtable({"customer_id": ["a", "c"], "name": ["Ann", "Cy"]})
    assert page.called(frame, names)["name"].to_list() == ["Ann", "b", "x" * 59 + "…"]
    assert page.called(frame, None)["name"].to_list() == ["a", "b", "x" * 59 + "…"]


def test_table(shown):
    row = {"tier": "small", "value": 1234.5, "value_share": 0.104, "least": 0.5, "customers": 7}
    frame = pd.DataFrame([row])
    page.table(frame, units={"value": "USD", "value_share": "share"}, caption="Tiers & more")
    text = shown[0][0]["text/html"]
    assert '<th scope="col" class=n>value (USD)</th>' in text
    assert "<td class=n>1,234</td><td class=n>10.4%</td><td class=n>0.5</td><td class=n>7</td>" in text
    assert "<caption>Tiers &amp; more</caption>" in text
    assert page.MIME not in shown[0][0]


def test_rows_of_too_few_customers_are_marked(shown):
    frame = pd.DataFrame({"cohort": ["2024", "2025"], "customers": [31, 29], "rate": [0.5, 1.0]})
    page.table(frame, units={"rate": "share"}, caption="Cohorts", few=rates.few(frame["customers"]))
    text = shown[0][0]["text/html"]
    assert '<tr><th scope="row">2024</th>' in text
    assert '<tr class="few"><th scope="row">2025 *</th><td class=n>29</td>' in text
    assert "<caption>Cohorts; * too few to judge</caption>" in text
    page.table(frame, few=rates.few(frame["customers"], least=20))
    assert "too few" not in shown[1][0]["text/html"]


def test_section(shown):
    """What cannot be answered is said and carried; what is wrong is raised."""
    with page.section():
        page.finding("Known.")
        raise Unanswerable(f"This needs {HOSTILE}.")
    assert [bundle[page.MIME] for bundle, _ in shown] == [
        {"finding": {"sentence": "Known.", "figure": "", "stake": None}},
        {"unanswered": f"This needs {HOSTILE}."},
    ]
    assert "<script>" not in shown[1][0]["text/html"]
    with pytest.raises(ZeroDivisionError), page.section():
        raise ZeroDivisionError
