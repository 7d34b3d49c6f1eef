"""Data to try the project on: each writer puts an example's tables into a folder and returns where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crm_analysis.examples.cdnow import write_cdnow
from crm_analysis.examples.complete_journey import write_complete_journey


def write_sample(folder: Path) -> Path:
    """Write the sample company's tables as CSVs into the folder `sample` in this one (see `sample.simulate`)."""
    from crm_analysis.examples import sample  # what simulates takes long to import

    return sample.write(folder / "sample")


EXAMPLES: dict[str, Callable[[Path], Path]] = {
    "sample": write_sample,
    "cdnow": write_cdnow,
    "complete_journey": write_complete_journey,
}
