"""The first page tells what has most at stake, and nothing that another page does not say."""

import json
import re

import pytest

from crm_analysis import archive, overview
from crm_analysis.errors import InputError, Unanswerable


def figure(value, unit="EUR", label="at risk"):
    return {"value": value, "unit": unit, "label": label, "headline": False}


def told(sentence, stake=None, key="", listed=""):
    finding = {"sentence": sentence, "figure": key, "stake": stake}
    return finding | ({"list": listed} if listed else {})


def listed(name, total=3):
    files = [f"lists/{name}.xlsx", f"lists/{name}.csv"]
    return {"name": name, "title": name.title(), "action": f"Call the {name}.", "total": total, "files": files}


def page(name, findings, lists=(), parameters=None):
    return {
        "name": name,
        "title": f"{name}?",
        "findings": findings,
        "lists": [*lists],
        "parameters": parameters or {},
        "figures": [finding["figure"] for finding in findings if finding["figure"]],
    }


def manifest(pages, figures=None, as_of="2025-12-31", value="profit"):
    return {"as_of": as_of, "value": value, "currency": "EUR", "pages": pages, "figures": figures or {}}


class TestFindings:
    def test_the_highest_stake_of_each_page_first(self):
        pages = [
            page("a", [told("Little.", 5.0), told("No stake."), told("More.", 7.0)]),
            page("b", [told("Most.", 900.0)]),
            page("c", [told("Nothing at stake.")]),
            page("d", [told("As much as a.", 7.0)]),
        ]
        found = overview.findings(manifest(pages))
        assert found["finding"].to_list() == ["Most.", "More.", "As much as a."]
        assert found["page"].to_list() == ["b", "a", "d"]
        assert (found[["number", "change", "list", "action", "file"]] == "").all(axis=None)
        assert len(overview.findings(manifest(pages), most=2)) == 2

    def test_its_number_has_changed_since_the_previous_report(self):
        findings = [told("Risk.", 120.0, "a.risk")]
        now = manifest([page("a", findings)], {"a.risk": figure(120.0) | {"before": 100.0}})
        (row,) = overview.findings(now).itertuples()
        assert row.number == "EUR 120.00 at risk"
        assert row.change == "+20.0%"
        now["pages"][0]["changes"] = ["days was 2, is 3"]
        assert overview.findings(now)["change"].to_list() == [""]
        now["figures"]["a.risk"]["restated"] = 60.0
        assert overview.findings(now)["change"].to_list() == ["+100.0%"]

    def test_the_list_under_it_says_what_to_do(self):
        lists = [listed("first"), listed("own"), listed("empty", 0)]
        pages = [
            page("a", [told("Own.", 3.0, listed="own")], lists),
            page("b", [told("None of its own.", 2.0)], lists),
            page("c", [told("Its own is empty.", 1.0, listed="empty")], lists),
        ]
        found = overview.findings(manifest(pages))
        assert found["action"].to_list() == ["Call the own.", "Call the first.", "Call the first."]
        assert found["list"].to_list() == ["Own (3)", "First (3)", "First (3)"]
        assert found["file"][0] == "lists/own.xlsx"

    def test_without_a_stake_there_is_no_answer(self):
        with pytest.raises(Unanswerable, match="No page of this report says what is at stake"):
            overview.findings(manifest([page("a", [told("So what.")])]))


class TestArchive:
    def test_a_manifest_that_is_not_there_or_damaged(self, tmp_path):
        with pytest.raises(Unanswerable, match="There is no report in"):
            archive.told(tmp_path / "latest")
        (tmp_path / "manifest.json").write_text("{")
        with pytest.raises(InputError, match="manifest is damaged"):
            archive.told(tmp_path)

    def test_a_list_is_read_as_it_was_published(self, published_sample):
        found = archive.listed(published_sample, "treatment", "warning_signs")
        manifest = archive.told(published_sample)
        (page,) = [page for page in manifest["pages"] if page["name"] == "treatment"]
        (named,) = [named for named in page["lists"] if named["name"] == "warning_signs"]
        assert len(found) == named["total"]
        assert found["customer_id"].str.fullmatch(r"C\d{4}").all()
        for folder, name in (
            (published_sample, "none"),
            (published_sample.parent / "never", "warning_signs"),
            ("", "warning_signs"),
        ):
            with pytest.raises(Unanswerable, match="no earlier report with the list"):
                archive.listed(folder, "treatment", name)


@pytest.mark.parametrize("report_of", ["published", "published_sample"])
def test_the_page_tells_what_the_other_pages_say(request, report_of):
    folder = request.getfixturevalue(report_of)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["pages"][0]["name"] == "overview"
    html = (folder / "overview.html").read_text("utf-8")
    stories = re.findall(r'<section class="story">.*?</section>', html, re.S)
    found = overview.findings(manifest)
    assert len(stories) == len(found) >= 2
    for story, row in zip(stories, found.itertuples(), strict=True):
        assert f'<a href="{row.page}.html">' in story
        assert (folder / f"{row.page}.html").exists()
        assert (folder / row.file).exists()
    assert found["at_stake"].is_monotonic_decreasing
    executed = json.loads((folder / "notebooks" / "overview.ipynb").read_text("utf-8"))
    injected = "".join(executed["cells"][2]["source"])
    assert f'report = "{folder}"' in injected
