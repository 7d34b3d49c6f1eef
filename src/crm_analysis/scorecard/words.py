"""Sentences put together in the engine."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir


def percent(share: ir.NumericValue) -> ir.StringValue:
    """Write a share: 0.291 → "29%"."""
    return (share * 100).round(0).cast("int64").cast("string") + "%"


def joined(parts: Sequence[tuple[ir.BooleanValue, ir.StringValue]], between: str) -> ir.StringValue:
    """Return those texts whose condition holds, one after the other; a text that is not known is left out."""
    told = [
        (condition.fill_null(False)).ifelse(ibis.literal(between) + text, "").fill_null("") for condition, text in parts
    ]
    return sum(told[1:], told[0]).substr(len(between))
