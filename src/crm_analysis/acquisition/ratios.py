"""Ratios of sums over customers, and how sure they are."""

from __future__ import annotations

import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_analysis.customers import exact_sum
from crm_analysis.rates import Z


def ratios(each: ir.Table, by: str, **measures: tuple[str, str]) -> pd.DataFrame:
    """Return ratios of sums, such as value to orders, of rows (one per customer) that are in a group `by`.

    For each ratio a column of its name, and its 95 % interval `…_low` and `…_high` by the linearised variance (NaN for
    a single row); all NaN unless the sum below is above 0.
    """
    sums: dict[str, ir.Scalar] = {"rows": each.count()}
    for name, (top, bottom) in measures.items():
        y, n = each[top].cast("float64"), each[bottom].cast("float64")
        terms = {"y": y, "n": n, "yy": y * y, "yn": y * n, "nn": n * n}
        sums |= {f"{name}_{term}": exact_sum(column).cast("float64") for term, column in terms.items()}
    found = each.group_by(by).aggregate(**sums).order_by(by).to_pandas()
    rows, frame = found["rows"].where(found["rows"] > 1), found[[by]]
    for name in measures:
        y, n, yy, yn, nn = (found[f"{name}_{term}"] for term in ("y", "n", "yy", "yn", "nn"))
        n = n.where(n > 0)
        ratio = y / n
        spread = (yy - 2 * ratio * yn + ratio**2 * nn).clip(lower=0) * rows / (rows - 1)
        reach = Z * np.sqrt(spread) / n
        frame = frame.assign(**{name: ratio, f"{name}_low": ratio - reach, f"{name}_high": ratio + reach})
    return frame
