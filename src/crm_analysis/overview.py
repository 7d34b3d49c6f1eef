"""What matters most in a report: the findings with most money at stake.

It reads what the other pages have published (a report's manifest, see `archive.told`) and computes nothing anew, so
that no number stands in a report twice with two values.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from crm_analysis import history, numerals
from crm_analysis.errors import Unanswerable
from crm_analysis.numerals import changed, written

Manifest = dict[str, Any]


def findings(manifest: Manifest, *, most: int = 5) -> pd.DataFrame:
    """Return the findings of a report with most money at stake: one of a page, the highest stake first.

    Parameters
    ----------
    manifest
        The report.
    most
        The most findings to return.

    Returns
    -------
    pandas.DataFrame
        `finding` (the sentence), `at_stake`, `number` (the figure it is about, with what it means), `change` of that
        since the previous report, `page`, `question` (the page's title), `list`, `action` and `file` (the list that
        stands under it, else the first of the page); empty text for what is not there. Of equal stakes the one on the
        earlier page comes first.

    Raises
    ------
    Unanswerable
        No page says what is at stake.
    """
    before = history.comparable(manifest)
    rows = []
    for page in manifest["pages"]:
        told = [finding for finding in page["findings"] if finding["stake"] is not None]
        if not told:
            continue
        best = max(told, key=lambda finding: finding["stake"])
        figure = manifest["figures"].get(best["figure"])
        lists = sorted(page["lists"], key=lambda found: found["name"] != best.get("list"))
        listed = next((found for found in lists if found["total"]), None)
        rows.append(
            {
                "finding": best["sentence"],
                "at_stake": best["stake"],
                "number": f"{written(figure['value'], figure['unit'])} {figure['label']}" if figure else "",
                "change": changed(figure, before.get(best["figure"])) if figure else "",
                "page": page["name"],
                "question": page["title"],
                "list": f"{listed['title']} ({numerals.count(listed['total'])})" if listed else "",
                "action": listed["action"] if listed else "",
                "file": next(iter(listed["files"]), "") if listed else "",
            }
        )
    if not rows:
        raise Unanswerable("No page of this report says what is at stake.")
    return pd.DataFrame(rows).sort_values("at_stake", ascending=False, kind="stable").head(most).reset_index(drop=True)
