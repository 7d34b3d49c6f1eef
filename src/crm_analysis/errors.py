"""The two ways in which a question can fail without a defect in the code."""

from __future__ import annotations


class _OneSentence(Exception):
    """An exception that a notebook shows as its one sentence, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class InputError(_OneSentence):
    """Something in the input that its owner can mend; the message says where it is and what to do."""


class Unanswerable(_OneSentence):
    """The data hold no answer to a notebook's question; its page says why, and the report goes on."""
