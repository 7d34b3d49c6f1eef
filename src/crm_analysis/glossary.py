"""The field's own terms, each in a sentence, and where on a page a reader first meets them."""

from __future__ import annotations

import re
from html import escape

TERMS = {
    "account manager": "The person who looks after a customer.",
    "as-of date": "The date of the analysis; nothing that happened after it is read.",
    "at stake": "The money that can be won, kept or lost by acting on a finding.",
    "calibrated": "Of those given a chance of 30%, about 30% do what was foretold.",
    "cluster": "A group of customers who are alike in several numbers at once, found by a rule, not by a person.",
    "cohort": "The customers who first bought in the same period.",
    "contribution": "What is left of revenue after the costs that it causes itself.",
    "conversion": "The share of those who reach one step who go on to the next one in time.",
    "customer bridge": "Opening customers, plus new and won back, minus lost, are the closing customers.",
    "discount rate": "Money that comes later is worth less today: what a year's delay takes off.",
    "dormant": "Silent for longer than four of five pauses between purchases last.",
    "first-time customer": "Has bought once, and not yet again.",
    "frequency": "How often somebody has bought; in the models of lifetime value, the purchases after the first.",
    "Gamma-Gamma": "A model of how customers differ in what they spend on a purchase.",
    "Gini coefficient": "How unequally value is spread: 0 if all bring the same, near 1 if one brings it all.",
    "holdout": "Data kept away from a model, to see how well it foretells them.",
    "interval": "The range in which the true value lies in 95 (or as many as are named) of 100 such cases; the fewer"
    " customers, the wider it is.",
    "key customer": "A customer of the two upper tiers: important or major.",
    "lifetime value": "What a customer will still bring from now on, in today's money.",
    "lost customer": "Silent for longer than nineteen of twenty pauses between purchases last.",
    "loyal customer": "One who has bought often, and is not silent for too long.",
    "margin": "The share of revenue that is left as profit.",
    "median": "Half of the numbers are below it, half above.",
    "one-off purchase": "A purchase so much larger than the customer's others that it says little about the next.",
    "Pareto/NBD": "A model of customers who buy at rates of their own until, unseen, they stop.",
    "percentage point": "The difference of two shares: from 10% to 12% is two percentage points, or a fifth more.",
    "propensity": "The chance that a prospect or target buys soon, told from contacts and attributes alone.",
    "prospect": "Somebody in contact with us who has not yet bought nor shown interest.",
    "rank correlation": "How well two orders agree: 1 if they are the same, 0 if one tells nothing about the other.",
    "recency": "How lately somebody bought: the time since the last purchase; in the models of"
    " lifetime value, the time from the first purchase to the last.",
    "retention": "The share of customers who buy again.",
    "RFM": "Three scores of a customer: how recently, how frequently and for how much money they bought.",
    "silhouette": "How clearly clusters stand apart: near 1 if well apart, near 0 if they run into each other.",
    "target": "Somebody who has shown interest, but not yet bought.",
    "tier": "A customer's place in the pyramid by value: important, major, ordinary or small.",
    "won back": "Had fallen silent, and has bought again.",
}
ANY = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(TERMS, key=len, reverse=True)))})s?\b")
PARAGRAPH = re.compile(r"<(p|li)\b[^>]*>(.*?)</\1>", re.DOTALL)
NOT_TEXT = re.compile(r"(<(?:a|code)\b.*?</(?:a|code)>|<[^>]*>)", re.DOTALL)


def explained(html: str) -> tuple[str, dict[str, str]]:
    """Link the first occurrence of each term in a page's text to its explanation.

    Only paragraphs and items of lists are looked at: headings, tables and links stay as they are, and so does what is
    written with another capital letter, which may be somebody's name.

    Returns
    -------
    str, dict
        The page, and the terms that occur in it with what they mean.
    """
    found: dict[str, str] = {}

    def link(match: re.Match[str]) -> str:
        term = match[0] if match[0] in TERMS else match[0].removesuffix("s")
        if term in found:
            return match[0]
        found[term] = TERMS[term]
        return f'<a class="term" href="#{anchor(term)}" title="{escape(TERMS[term])}">{match[0]}</a>'

    def in_paragraph(match: re.Match[str]) -> str:
        parts = NOT_TEXT.split(match[0])
        parts[::2] = [ANY.sub(link, text) for text in parts[::2]]
        return "".join(parts)

    html = PARAGRAPH.sub(in_paragraph, html)
    return html, dict(sorted(found.items(), key=lambda item: item[0].lower()))


def anchor(term: str) -> str:
    """Return the name of the place on a page where a term is explained."""
    return "term-" + re.sub(r"[^a-z]+", "-", term.lower())
