"""pyproject.toml, requirements.lock and environment.yml say the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import crm_analysis

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
ASKED = [
    Requirement(text)
    for group in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for text in group
]


def locked(python: str = "3.11") -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)(?: ; (.*?))? \\$", LOCK, re.M)
    here = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    return {name: version for name, version, marker in pins if not marker or Marker(marker).evaluate(here)}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_satisfies_all_that_the_project_asks_for(python):
    pins = locked(python)
    assert [str(asked) for asked in ASKED if pins[canonicalize_name(asked.name)] not in asked.specifier] == []


def test_every_locked_package_has_hashes_and_no_address():
    blocks = re.split(r"\n(?=\S)", LOCK.split("\n", 2)[2].strip())
    assert len(blocks) > 100
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in LOCK
    assert "--index" not in LOCK


def test_conda_users_get_the_locked_versions_of_what_the_project_asks_for():
    pip = next(part["pip"] for part in ENVIRONMENT["dependencies"] if isinstance(part, dict))
    pinned = [Requirement(line) for line in pip if "==" in line]
    given = {canonicalize_name(asked.name): str(asked.specifier) for asked in pinned}
    pins = locked()
    names = {canonicalize_name(asked.name) for asked in ASKED}
    assert given == {name: f"=={pins[name]}" for name in names}
    assert pip[-1] == "--editable ."
    assert "python=3.11" in ENVIRONMENT["dependencies"]


def test_the_users_stack_is_there():
    stack = {"jupyterlab", "pandas", "seaborn", "scikit-learn", "lifetimes", "papermill", "nbval"}
    assert stack <= {canonicalize_name(asked.name) for asked in ASKED}


def test_one_version():
    assert PROJECT["version"] == crm_analysis.__version__
