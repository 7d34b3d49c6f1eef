"""What tests share: a small dataset to write, and CDNOW."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import ibis
import pytest
import world
from filelock import FileLock
from ibis.config import Config

from crm_analysis import kernels, report
from crm_analysis.examples import write_cdnow
from crm_analysis.examples.sample import simulate

DATA = Path(__file__).parents[1] / "data"


class Spark(Config):
    """What Ibis reads from its Spark backend's options, which are there only with pyspark."""

    treat_nan_as_null: bool = False


ibis.options.pyspark = Spark()


@pytest.fixture(params=["duckdb", "postgres", "pyspark"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Return the SQL that each engine speaks, one after the other."""
    return request.param


@pytest.fixture(scope="session")
def cdnow() -> Path:
    """Return the description of the CDNOW dataset, whose CSV is written if it is not there."""
    if not (DATA / "cdnow.csv").exists():
        write_cdnow(DATA)
    return DATA / "cdnow.toml"


@pytest.fixture(scope="session")
def sample() -> Path:
    """Return the description of the sample company."""
    return DATA / "sample.toml"


@pytest.fixture(scope="session")
def truth() -> dict[str, Any]:
    """Return the facts that are planted in the sample company; its tables do not hold them."""
    return simulate().truth


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a CSV and a TOML that describes it, and returns the TOML's path.

    `settings` goes on in [tables.transactions]; `top` stands above it.
    """

    def write(text: str | bytes, settings: str = "", *, top: str = "", name: str = "shop") -> Path:
        (tmp_path / "sales.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        toml = tmp_path / f"{name}.toml"
        toml.write_text(f'title = "Shop"\n{top}\n[tables.transactions]\npath = "sales.csv"\n{settings}\n', "utf-8")
        return toml

    return write


@pytest.fixture(scope="session")
def published(cdnow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the whole report on CDNOW, which has transactions only, made as a scheduler makes it."""
    return _published(cdnow, tmp_path_factory)


@pytest.fixture(scope="session")
def published_sample(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the whole report on the sample company, which has every table."""
    return _published(sample, tmp_path_factory)


class SameProcess(Executor):
    """Runs at once what it is given."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture(scope="module")
def same_process() -> Iterator[None]:
    """Let reports run in the tests' own process: one kernel serves them all, so a small one takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "ProcessPoolExecutor", SameProcess)
        patch.setattr("logging.disable", lambda: None)
        yield
    kernels.end()


@pytest.fixture(scope="session")
def published_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the whole report on a hostile dataset (see `world`)."""
    folder = _shared(tmp_path_factory) / "world"
    with FileLock(f"{folder}.lock"):
        toml = next(folder.glob("*.toml"), None) or world.write(folder)
    return _published(toml, tmp_path_factory)


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all processes of the tests have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def _published(toml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a report once, although the tests run in several processes."""
    folder = _shared(tmp_path_factory)
    with FileLock(folder / f"{toml.stem}.lock"):
        made = folder / f"{toml.stem}.txt"
        if not made.exists():
            command = [sys.executable, "-m", "crm_analysis", "report", str(toml), "--out", str(folder / "published")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            names = sorted(line.split(":")[0] for line in done.stderr.splitlines())
            assert names == sorted(report.notebooks()), done.stderr
            made.write_text(done.stdout.strip(), "utf-8")
    return Path(made.read_text("utf-8")).parent
