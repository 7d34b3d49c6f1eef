"""Numbers as readers write them: the separators of a locale, the decimals of a currency, a true minus sign.

The locale is the dataset's; `open_dataset` sets it for the process, which looks at one dataset at a time.
"""

from __future__ import annotations

import copy
import datetime as dt
import math
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

import pandas as pd
from babel import Locale
from babel.numbers import NumberPattern, get_currency_precision

MINUS = "\N{MINUS SIGN}"
UNKNOWN = "–"
LONGEST = 12  # decimals

_locale = Locale("en")


def use(locale: str) -> None:
    """Write numbers from now on as a locale does: `de_CH`, `en_IN`."""
    global _locale
    _locale = Locale.parse(locale)
    _pattern.cache_clear()


def number(value: float, digits: int = 0, *, sign: bool = False) -> str:
    """Write a number: (1234.56, 1) → "1,234.6"; `sign` marks one above 0, too."""
    if pd.isna(value) or math.isinf(value):
        return UNKNOWN
    text = f"{abs(value):.{digits}f}"
    with localcontext(prec=400):  # as many digits as a float can have before its point
        shown = _pattern(digits).apply(Decimal(text), _locale)
    mark = "" if not float(text) else MINUS if value < 0 else "+" if sign else ""
    return mark + shown


def count(value: float) -> str:
    """Write how many: 23570 → "23,570"."""
    return number(value)


def percent(share: float, digits: int | None = None, *, sign: bool = False) -> str:
    """Write a share: 0.683 → "68%"; one decimal below a whole per cent, 0.004 → "0.4%", unless `digits` says more."""
    if pd.isna(share):
        return UNKNOWN
    if digits is None:
        digits = int(0 < abs(share) < 0.0095)
    return number(100 * share, digits, sign=sign) + "%"


def written(value: Any, unit: str = "") -> str:
    """Write a value for a reader: `share` as a percentage, a currency's code before the amount, counts in groups."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.date):
        return value.isoformat()[:10]
    if unit == "share":
        return percent(value, 1)
    if is_currency(unit):
        amount = number(value, 0 if abs(value) >= 1000 else decimals(unit))
        return f"{MINUS}{unit} {amount[1:]}" if amount.startswith(MINUS) else f"{unit} {amount}"
    text = plain(value, 0 if abs(value) >= 100 else 3)
    return f"{text} {unit}" if unit not in ("", "customers", "rows", "index") else text


def plain(value: float, most: int = 10) -> str:
    """Write a number with as many decimals as it needs, at most `most` significant digits; whole ones whole."""
    if pd.isna(value) or math.isinf(value) or float(value).is_integer() or not most:
        return number(value)
    digits = min(max(0, most - 1 - math.floor(math.log10(abs(value)))), LONGEST)
    while digits and round(value, digits) == round(value, digits - 1):
        digits -= 1
    return number(value, digits)


def changed(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Write how a published figure has changed since an earlier report: shares in points, the rest in per cent.

    Where per cent say little, beside 0 or less or a hundredth, the earlier value itself is written.
    """
    if before is None or before["unit"] != now["unit"]:
        return ""
    old, new = before["value"], now["value"]
    if not all(isinstance(value, int | float) for value in (old, new)):
        return ""
    if math.isclose(old, new, rel_tol=1e-9, abs_tol=1e-9):
        return "unchanged"
    if now["unit"] == "share":
        return f"{number((new - old) * 100, 1, sign=True)} points"
    if old > 0 and abs(new) <= 100 * old:
        return percent(new / old - 1, 1, sign=True)
    return f"from {written(old, now['unit'])}"


def is_currency(unit: str) -> bool:
    """Whether a unit is the code of a currency."""
    return len(unit) == 3 and unit.isupper()


def decimals(currency: str) -> int:
    """Return how many decimals the amounts of a currency have: EUR 2, JPY 0, KWD 3."""
    return get_currency_precision(currency)


@cache
def _pattern(digits: int) -> NumberPattern:
    pattern = copy.copy(_locale.decimal_formats[None])
    pattern.frac_prec = (digits, digits)
    return pattern
