"""Names written from right to left beside numbers and other names, which they must not move."""

import re

LETTER = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
WORDS = re.compile(f"{LETTER}(?:[ .'-]*{LETTER})*")


def isolated(text: str) -> str:
    """Set each sequence of words that run from right to left apart, by characters that nobody sees.

    Otherwise a number that follows such a name is shown on the wrong side of it. A text may be a whole page.
    """
    return WORDS.sub("\N{FIRST STRONG ISOLATE}\\g<0>\N{POP DIRECTIONAL ISOLATE}", text)
