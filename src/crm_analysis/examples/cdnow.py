"""CDNOW: real purchases of an online music store."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path


def write_cdnow(folder: Path) -> Path:
    """Write the purchases of 23,570 customers of the music store CDNOW, 1997-01-01 to 1998-06-30, as a CSV.

    All of them made their first purchase in the first quarter of 1997. The log ships inside the `lifetimes`
    package. Source: P. S. Fader and B. G. S. Hardie, "Forecasting repeat sales at CDNOW: a case study",
    Interfaces 31 (2001).

    Returns
    -------
    Path
        `cdnow.csv` in the folder: `customer_id`, `date`, `quantity` (CDs), `amount` (dollars); 69,659 lines.
    """
    log = files("lifetimes").joinpath("datasets", "CDNOW_master.txt").read_text("ascii")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cdnow.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["customer_id", "date", "quantity", "amount"])
        for line in log.splitlines()[1:]:
            if line.strip():
                customer, day, quantity, amount = line.split()
                writer.writerow([customer, f"{day[:4]}-{day[4:6]}-{day[6:]}", quantity, amount])
    return path
