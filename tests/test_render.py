"""A page of an executed notebook leads with its finding and what to do, and every link on it leads somewhere."""

import re

import nbformat
import pandas as pd
import pytest

from crm_analysis import page, render

HEADING = {"title": "Shop", "as_of": "2024-03-01", "note": "", "page": "Who?"}


@pytest.fixture
def rendered(monkeypatch):
    """Return a function that renders a page: cells of Markdown (text), and of what is published (functions)."""

    def rendered(*cells):
        nb = nbformat.v4.new_notebook()
        for cell in cells:
            if isinstance(cell, str):
                nb.cells.append(nbformat.v4.new_markdown_cell(cell))
                continue
            outputs = []
            monkeypatch.setattr(page, "display", lambda data, raw, outputs=outputs: outputs.append(data))
            cell()
            shown = [nbformat.v4.new_output("display_data", data=data) for data in outputs]
            nb.cells.append(nbformat.v4.new_code_cell(outputs=shown))
        found = render.collected(nb, "who")
        lists = [
            {key: listed[key] for key in ("name", "title", "action", "total")} | {"files": ["lists/a.csv"], "parts": {}}
            for listed in found.lists
        ]
        return render.html(found.notebook, lists, HEADING)

    return rendered


def people(name, rows=2):
    frame = pd.DataFrame({"customer_id": [*"abcdef"[:rows]], "value": [1234.5, None, 3, 4, 5, 6][:rows]})
    return lambda: page.list(name, frame, action=f"Call {name}.", title=f"All {name}", units={"value": "EUR"})


def test_what_to_do_follows_the_first_finding(rendered):
    lists = [people(name) for name in ("a", "b", "c", "d", "e")]
    html = rendered("# Who?", lambda: page.finding("Two matter."), lambda: page.finding("So."), people("x", 0), *lists)
    first = re.search(r'<p class="finding lead-finding">Two matter.</p>\s*<nav class="todo".*?</nav>', html, re.DOTALL)[
        0
    ]
    assert [*re.findall('href="#(.*?)"', first)] == ["list-a", "list-b", "list-c"]
    assert all(f'id="list-{name}"' in html for name in "abcde")
    assert "2 more lists further down" in first
    assert html.count('class="todo"') == 1
    assert html.count("lists/a.csv") == 6


def test_only_a_page_with_a_list_has_a_script(rendered):
    assert "<script" not in rendered("# Who?", lambda: page.table(pd.DataFrame({"a": [1]})))
    html = rendered("# Who?", people("a"))
    assert html.count("<script") == 1
    assert re.findall('data-v="(.*?)"', html) == ["1234.5"]


def test_the_contents_of_a_long_page_lead_to_its_parts(rendered):
    headings = ["What's up & down?", "Whom each way wins, and for how much", "Who?", "What's up & down?"]
    html = rendered("# Who?", *(f"## {heading}\n\nText." for heading in headings))
    contents = re.search('<nav[^>]*class="contents".*?</nav>', html, re.DOTALL)[0]
    assert re.findall('href="#(.*?)"', contents) == re.findall('<h2 id="(.*?)"', html) == [f"part-{n}" for n in "1234"]
    assert 'class="contents"' not in rendered("# Who?", *(f"## {heading}" for heading in headings[:3]))


def test_an_amount_stays_with_its_currency_and_names_stay_in_place(rendered):
    html = rendered("# Who?", lambda: page.finding("مؤسسة has EUR 12."))
    assert "\N{FIRST STRONG ISOLATE}مؤسسة\N{POP DIRECTIONAL ISOLATE} has EUR\N{NO-BREAK SPACE}12." in html


def test_terms_are_explained_at_the_end(rendered):
    html = rendered("# Who?", "The tier and the tiers.")
    assert html.count('<dt id="term-tier">') == html.count('href="#term-tier"') == 1
    assert 'class="terms"' not in rendered("# Who?", "Nothing of that kind.")
