"""Names that run from right to left move nothing around them."""

import pytest

from crm_analysis.bidi import isolated


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Nordwerk 12, 中文 34", "Nordwerk 12, 中文 34"),
        ("مؤسسة النور 1,234", "⟨مؤسسة النور⟩ 1,234"),
        ("أحمد, דוד לוי: 3", "⟨أحمد⟩, ⟨דוד לוי⟩: 3"),
        ("<td>בע״מ</td><td>5</td>", "<td>⟨בע״מ⟩</td><td>5</td>"),
        ('alt="عميل 1%"', 'alt="⟨عميل⟩ 1%"'),
    ],
)
def test_each_is_set_apart_and_nothing_else(text, shown):
    marks = {"⟨": "\N{FIRST STRONG ISOLATE}", "⟩": "\N{POP DIRECTIONAL ISOLATE}"}
    assert isolated(text) == shown.translate(str.maketrans(marks))
