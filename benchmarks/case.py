"""One analysis beside its SQL, as the files of cases list them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import ibis.expr.types as ir
import pandas as pd

Tables = dict[str, ir.Table]
Result = ir.Table | pd.DataFrame | float


class Case(NamedTuple):
    """One analysis: what is asked of ours, and the SQL that asks the same."""

    name: str
    ours: Callable[[Tables], Result]
    sql: str
