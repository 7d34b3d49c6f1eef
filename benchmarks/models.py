"""Fit the lifetime models beside `lifetimes` and pymc-marketing on the same simulated customers, in one run.

The customers follow a Pareto/NBD with the parameters of CDNOW: they buy at rates ~ Gamma(.553, 10.58 weeks), stop at
rates ~ Gamma(.606, 11.67 weeks), and made their first purchase 26 to 104 weeks ago. Times are whole days, in weeks.

What is measured, each row of the table in a process of its own:

fit         Seconds from the customers to a fitted model, imports and reading the data not counted. Ours start from a
            customers table in DuckDB and group it into distinct histories (`lifetime.histories`) first; so does
            lifetimes where the row says `grouped`, elsewhere the peers get one row per customer, as their users give
            them. The median of several runs for ours, one run for the peers.
predict     Seconds to P(alive) and the purchases expected in 52 weeks of every customer; where rows are grouped,
            joining these to the customers in DuckDB counts.
memory      What fit and predictions together added to the process at the peak, over what imports, the data and the
            warm-up hold.
log-lik     Of all customers, in weeks, at the parameters found; the same formula (that of lifetimes) for everyone's
            Pareto/NBD, BG/NBD and MBG/NBD. Higher is better. pymc-marketing has priors, so it is a little lower. With
            a season the clock is another one, so that there is nothing to compare.

Before it is measured, a process fits and predicts 2,000 customers once, so that nobody pays for compiling or for
connecting. A process that needs longer than the budget, all included, is ended, and larger sizes are not tried: the
table then tells the seconds (`> 590`) that the fit had been given.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SEED = 20240229
WARM_UP = 2_000  # customers fitted once before anything is timed
HORIZON = 52  # weeks predicted
OURS, LIFETIMES, GROUPED, PYMC = "crm-analysis", "lifetimes", "lifetimes, grouped", "pymc-marketing"
SEASON = "Pareto/NBD, season"
ROWS = (  # library, model, its class
    (OURS, "Pareto/NBD", "ParetoNBDFitter"),
    (OURS, "Gamma-Gompertz/NBD", "GammaGompertzNBDFitter"),
    (OURS, SEASON, "ParetoNBDFitter"),
    (OURS, "BG/NBD", "BetaGeoFitter"),
    (OURS, "MBG/NBD", "ModifiedBetaGeoFitter"),
    (LIFETIMES, "Pareto/NBD", "ParetoNBDFitter"),
    (GROUPED, "Pareto/NBD", "ParetoNBDFitter"),
    (LIFETIMES, "BG/NBD", "BetaGeoFitter"),
    (LIFETIMES, "MBG/NBD", "ModifiedBetaGeoFitter"),
    (PYMC, "Pareto/NBD", "ParetoNBDModel"),
    (PYMC, "BG/NBD", "BetaGeoModel"),
)
PARAMETERS = {
    "Pareto/NBD": ["r", "alpha", "s", "beta"],
    "BG/NBD": ["r", "alpha", "a", "b"],
    "MBG/NBD": ["r", "alpha", "a", "b"],
}
Found = dict[tuple[str, str], dict[str, Any]]  # by library and model
PACKAGES = ("crm-analysis", "lifetimes", "numpy", "scipy", "pandas", "duckdb", "ibis-framework")


def main(
    sizes: str = "10000,100000,1000000",
    peers: bool = True,
    peer_python: Path = Path(sys.executable),
    budget: float = 600,
    repeats: int = 5,
) -> None:
    """Print the table of times, memory and log-likelihoods, and how ours compare with lifetimes.

    `--sizes`: numbers of customers, with commas between. `--peer-python`: the interpreter of an environment where
    pymc-marketing and pyarrow are installed. `--budget`: seconds after which a measurement is given up. `--repeats`:
    fits of ours of which the median is told.
    """
    print(machine(PACKAGES))
    pymc = version_in(peer_python, PYMC) if peers else ""
    if peers:
        print(f"{PYMC} {pymc}" if pymc else f"{PYMC} is not installed in {peer_python}: its rows are left out.")
    rows = [row for row in ROWS if row[0] == OURS or (peers and (row[0] != PYMC or pymc))]
    slow: Found = {}
    failures: list[str] = []
    for size in sorted(int(size) for size in sizes.split(",")):
        customers = simulate(size)
        distinct = customers.groupby(["frequency", "recency", "T"], as_index=False).size()
        found = compare(customers, rows, slow, peer_python, budget, repeats)
        for (library, model), result in found.items():
            if "parameters" in result and model in PARAMETERS:
                result["log_likelihood"] = log_likelihood(model, result["parameters"], distinct)
            if "error" in result:
                failures.append(f"{library}, {model}, {size:,} customers: {result['error']}")
        slow = {row: {"above": result["above"]} for row, result in found.items() if "above" in result}
        columns = ["library", "model", "fit, s", "predict, s", "memory, MB", "log-likelihood"]
        cells = [[library, model, *measured(result)] for (library, model), result in found.items()]
        show(f"{size:,} customers, {len(distinct):,} distinct histories", columns, cells)
        show("Ours : lifetimes", ["model", "fit", "predict", "memory"], ratios(found))
    for failure in failures:
        print(f"Failed: {failure}")


def compare(
    customers: pd.DataFrame,
    rows: list[tuple[str, str, str]],
    slow: Found,
    peer_python: Path,
    budget: float,
    repeats: int,
) -> Found:
    """Return what was measured of each library and model (see `in_process`); `slow` ones are not run again."""
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        path, warm_up = Path(folder) / "customers.parquet", Path(folder) / "warm-up.parquet"
        customers.to_parquet(path)
        customers[:WARM_UP].to_parquet(warm_up)
        for library, model, name in rows:
            if (library, model) in slow:
                found[library, model] = slow[library, model]
                continue
            print(f"{len(customers):,} customers: {library}, {model}", file=sys.stderr)
            task = {"library": library, "model": model, "name": name, "repeats": repeats if library == OURS else 1}
            task |= {"data": str(path), "warm_up": str(warm_up)}
            python = peer_python if library == PYMC else Path(sys.executable)
            found[library, model] = in_process(python, task, budget)
    return found


def simulate(size: int) -> pd.DataFrame:
    """Return customers who follow a Pareto/NBD: `customer_id`, `purchases`, `frequency`, `recency`, `T` (weeks)."""
    random = np.random.default_rng(SEED)
    rate = random.gamma(0.553, 1 / 10.58, size)
    stopping = random.gamma(0.606, 1 / 11.67, size)
    age = random.integers(26 * 7, 104 * 7 + 1, size)
    active = np.minimum(random.exponential(size=size) / stopping, age / 7)  # weeks
    repeats = random.poisson(rate * active)
    last = active * random.beta(np.maximum(repeats, 1), 1)  # the latest of so many moments in the active time
    days = np.where(repeats > 0, np.clip(np.round(7 * last), 1, age), 0)
    frequency = np.minimum(repeats, days).astype(np.int64)  # one purchase a day
    return pd.DataFrame(
        {
            "customer_id": np.arange(size),
            "purchases": frequency + 1,
            "frequency": frequency,
            "recency": days / 7,
            "T": age / 7,
        }
    )


def season() -> Any:
    """Return a season to fit with: a quarter above the average at Christmas, a quarter below in summer."""
    from crm_analysis import lifetime

    months = np.arange(1, 13)
    levels = pd.Series(1 + 0.25 * np.cos(2 * np.pi * months / 12), index=months)
    return lifetime.Season(levels, dt.date(2023, 12, 31))


def log_likelihood(model: str, parameters: dict[str, float], histories: pd.DataFrame) -> float:
    """Return the log-likelihood of all customers by the formula of lifetimes, in the histories' unit of time.

    `histories` are distinct: `frequency`, `recency`, `T`, and how many customers share each in the last column.
    """
    lifetimes = peer_lifetimes()
    x, t_x, T = (histories[column].to_numpy() for column in ("frequency", "recency", "T"))
    weights = histories.iloc[:, -1].to_numpy()
    values = np.array([parameters[name] for name in PARAMETERS[model]])
    with np.errstate(all="ignore"):
        if model == "Pareto/NBD":
            return float(weights @ lifetimes.ParetoNBDFitter._conditional_log_likelihood(values, x, t_x, T))
        fitter = lifetimes.BetaGeoFitter if model == "BG/NBD" else lifetimes.ModifiedBetaGeoFitter
        return float(-weights.sum() * fitter._negative_log_likelihood(np.log(values), x, t_x, T, weights, 0))


def in_process(python: Path, task: dict[str, Any], budget: float) -> dict[str, Any]:
    """Return what `measure` tells from a process of its own.

    Where something is missing, `above` says how many seconds the fit takes at least, or `error` why it failed.
    """
    command = [str(python), __file__, "measure", json.dumps(task | {"start": time.time()})]
    try:
        done = subprocess.run(command, capture_output=True, timeout=budget)
        result = told(done.stdout)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            result["error"] = lines[-1] if lines else f"exit status {done.returncode}"
    except subprocess.TimeoutExpired as expired:
        result = told(expired.stdout or b"")
        if "predict" not in result:
            result["above"] = result.get("fit", budget - result.get("ready", budget))
    return result


def told(output: bytes) -> dict[str, Any]:
    """Return what a process has told so far."""
    parts = [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]
    return {key: value for part in parts for key, value in part.items()}


def measure(task: dict[str, Any]) -> None:
    """Print, in the process of its own, one JSON object when it begins, after the fits and after the predictions."""
    warnings.simplefilter("ignore")
    open_data = {OURS: by_history, LIFETIMES: by_customer, GROUPED: by_history, PYMC: by_pymc}[task["library"]]
    np.random.seed(SEED)  # lifetimes starts its search at random
    fit, predict, _ = open_data(task, task["warm_up"])
    predict(fit())
    fit, predict, results = open_data(task, task["data"])
    before = start_of_peak()
    print(json.dumps({"ready": time.time() - task["start"]}), flush=True)
    seconds, model = timed(fit, task["repeats"])
    print(json.dumps({"fit": seconds, **results(model)}), flush=True)
    seconds, _ = timed(lambda: predict(model), task["repeats"])
    print(json.dumps({"predict": seconds, "memory": peak() - before}), flush=True)


Opened = tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], dict[str, Any]]]  # fit, predict, results


def by_history(task: dict[str, Any], path: str) -> Opened:
    """Open the customers as a table in DuckDB; fit and predict their distinct histories."""
    import ibis

    from crm_analysis import lifetime

    library = lifetime if task["library"] == OURS else peer_lifetimes()
    settings = {"season": season()} if task["model"] == SEASON else {}
    connection = ibis.duckdb.connect()
    customers = connection.create_table("customers", connection.read_parquet(path))
    key = ["frequency", "recency", "T"]

    def fit() -> Any:
        rows = lifetime.histories(customers)
        return getattr(library, task["name"])(**settings).fit(*(rows[c] for c in key), weights=rows["customers"])

    def predict(model: Any) -> Any:
        rows = lifetime.histories(customers)
        columns = [rows[c].to_numpy() for c in key]
        rows["p_alive"] = model.conditional_probability_alive(*columns)
        rows["expected"] = model.conditional_expected_number_of_purchases_up_to_time(HORIZON, *columns)
        joined = customers.join(ibis.memtable(rows.drop(columns="customers")), key)
        return connection.create_table("predicted", joined, overwrite=True)

    def results(model: Any) -> dict[str, Any]:
        own = None if task["model"] == SEASON else getattr(model, "log_likelihood_", None)
        return {"parameters": dict(model.params_), "log_likelihood": own}

    return fit, predict, results


def by_customer(task: dict[str, Any], path: str) -> Opened:
    """Open the customers for a fitter of lifetimes, one row each."""
    lifetimes = peer_lifetimes()
    columns = [pd.read_parquet(path)[column].to_numpy() for column in ("frequency", "recency", "T")]

    def fit() -> Any:
        return getattr(lifetimes, task["name"])().fit(*columns)

    def predict(model: Any) -> Any:
        model.conditional_probability_alive(*columns)
        return model.conditional_expected_number_of_purchases_up_to_time(HORIZON, *columns)

    return fit, predict, lambda model: {"parameters": dict(model.params_)}


def by_pymc(task: dict[str, Any], path: str) -> Opened:
    """Open the customers for a model of pymc-marketing, one row each; its fit is the maximum of the posterior."""
    from pymc_marketing import clv

    rows = pd.read_parquet(path)

    def fit() -> Any:
        model = getattr(clv, task["name"])()
        model.fit(rows, method="map", progressbar=False)
        return model

    def predict(model: Any) -> Any:
        model.expected_probability_alive(rows)
        return model.expected_purchases(rows, future_t=HORIZON)

    def results(model: Any) -> dict[str, Any]:
        return {"parameters": {name: model.fit_result[name].item() for name in PARAMETERS[task["model"]]}}

    return fit, predict, results


def peer_lifetimes() -> Any:
    """Import lifetimes, which changes the global warning filters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lifetimes
    return lifetimes


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Return the median of the seconds that some work takes, and its last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def start_of_peak() -> float:
    """Return the megabytes of memory in use, and let `peak` count from here where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """Return the most megabytes of memory that this process has held at once."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def measured(result: dict[str, Any]) -> list[str]:
    """Return the cells of a measurement; what was given up took more than the seconds after `>`."""
    missing = f"> {result['above']:.0f}" if "above" in result else "failed"
    fit = f"{result['fit']:.3g}" if "fit" in result else missing
    predict = f"{result['predict']:.3g}" if "predict" in result else ""
    memory = f"{result['memory']:,.0f}" if "memory" in result else ""
    value = result.get("log_likelihood")
    return [fit, predict, memory, "" if value is None else f"{value:,.2f}"]


def ratios(found: Found) -> list[list[str]]:
    """Return, for each model that lifetimes has too, how many times ours it needs."""
    rows = []
    for (library, model), theirs in found.items():
        ours = found.get((OURS, model), {})
        if library not in (LIFETIMES, GROUPED) or "memory" not in ours:
            continue
        cells = [f"1 : {theirs[key] / ours[key]:.3g}" if key in theirs else "" for key in ("fit", "predict")]
        if "fit" not in theirs and "above" in theirs:
            cells[0] = f"1 : > {theirs['above'] / ours['fit']:.3g}"
        enough = min(theirs.get("memory", 0), ours["memory"]) > 10  # a few megabytes are noise
        cells.append(f"1 : {theirs['memory'] / ours['memory']:.2g}" if enough else "")
        rows.append([model + (" (grouped)" if library == GROUPED else ""), *cells])
    return rows


def show(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table: for the eye in a terminal, as Markdown elsewhere."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table(title=title, title_justify="left", box=box.SIMPLE if sys.stdout.isatty() else box.MARKDOWN)
    for number, column in enumerate(columns):
        numbers = any(row[number].lstrip("+-> ")[:1].isdigit() for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def machine(packages: tuple[str, ...]) -> str:
    """Return the machine and the versions that the numbers were found with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{cores} cores, {memory:.0f} GB, {processor}; Python {platform.python_version()}, {versions}"


def version_in(python: Path, package: str) -> str:
    """Return a package's version in another environment; empty: it is not installed there."""
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(json.loads(sys.argv[2]))
    else:
        import typer

        typer.run(main)
