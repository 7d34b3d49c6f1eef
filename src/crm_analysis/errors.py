"""The two ways in which a question can fail without a defect in the code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class _OneSentence(Exception):
    """An exception that a notebook shows as its one sentence, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class InputError(_OneSentence):
    """Something in the input that its owner can mend; the message says where it is and what to do.

    Attributes
    ----------
    keys
        The key in the dataset's TOML that the error is about, outermost first; empty: unknown or none.
    """

    def __init__(self, message: str, *keys: str):
        super().__init__(message)
        self.keys = keys


class Unanswerable(_OneSentence):
    """The data hold no answer to a notebook's question; its page says why, and the report goes on."""


class NotDescribed(Unanswerable):
    """What is asked for needs a table or column that the dataset does not describe: no defect of the data."""


@contextmanager
def about(*keys: str) -> Iterator[None]:
    """Say of an `InputError` raised inside which key of the TOML it is about, unless it says so itself."""
    try:
        yield
    except InputError as error:
        error.keys = error.keys or keys
        raise
