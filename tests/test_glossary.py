"""Terms are explained where a reader first meets them, once, and nowhere else."""

from html import escape

from crm_analysis import glossary
from crm_analysis.glossary import TERMS, explained


def test_the_first_occurrence_in_the_text_is_linked():
    html, terms = explained("<p>The tier says it. A tier, again.</p><ul><li>Tiers of key customers</li></ul>")
    assert html.count('href="#term-tier"') == 1
    assert f'The <a class="term" href="#term-tier" title="{escape(TERMS["tier"])}">tier</a> says' in html
    assert ">key customers</a>" in html
    assert terms == {"key customer": TERMS["key customer"], "tier": TERMS["tier"]}


def test_headings_tables_links_and_code_stay_as_they_are():
    page = (
        '<h2>Tiers</h2><table><td>tier</td></table><p><a href="x">A tier</a> <code>tier</code> <b title="tier"></b></p>'
    )
    assert explained(page) == (page, {})


def test_of_several_terms_the_longest_is_meant():
    _, terms = explained("<p>By Pareto/NBD a first-time customer; frontiers and medians of lifetime value.</p>")
    assert [*terms] == ["first-time customer", "lifetime value", "median", "Pareto/NBD"]


def test_every_term_has_a_place_of_its_own_and_a_sentence():
    assert len({glossary.anchor(term) for term in TERMS}) == len(TERMS)
    assert all(meaning[0].isupper() and meaning.endswith(".") for meaning in TERMS.values())
    assert [*TERMS] == sorted(TERMS, key=str.lower)
