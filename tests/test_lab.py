"""JupyterLab: opens on the overview, runs it and what a report has executed, and shows what the page shows."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbclient
import nbformat
import pytest
from playwright.sync_api import sync_playwright

from crm_analysis import render
from crm_analysis.report import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FIRST = "notebooks/05_overview.ipynb"
SLOW = 180_000  # milliseconds that a slow machine may take


@pytest.mark.parametrize("name", ["pareto", "overview"])
def test_an_executed_notebook_runs_again_as_it_is(published_sample, name):
    """It runs from where it lies, without papermill, and comes to the same figures."""
    executed = published_sample / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(executed, as_version=4)
    nbclient.execute(notebook, cwd=str(executed.parent))
    found = render.collected(notebook, name)
    manifest = json.loads((published_sample / "manifest.json").read_text("utf-8"))
    (told,) = (page for page in manifest["pages"] if page["name"] == name)
    assert found.failure(manifest["fingerprint"]) == ""
    published = {key: manifest["figures"][key] for key in told["figures"]}
    assert (
        found.figures == {key: {name: published[key][name] for name in found.figures[key]} for key in published} != {}
    )
    assert [finding["sentence"] for finding in found.findings] == [finding["sentence"] for finding in told["findings"]]


@pytest.fixture(scope="module")
def project(tmp_path_factory, published_sample):
    """A copy of what an analyst has: a notebook, data and a report."""
    root = tmp_path_factory.mktemp("project")
    (root / "notebooks").mkdir()
    shutil.copy(ROOT / FIRST, root / FIRST)
    (root / "data").symlink_to(ROOT / "data")
    shutil.copytree(published_sample, root / "reports" / "sample" / published_sample.name)
    (root / "reports" / "sample" / "latest").symlink_to(published_sample.name)
    return root


@pytest.fixture(scope="module")
def lab(project, tmp_path_factory):
    """The address of JupyterLab, started as `make lab` starts it, with settings of its own."""
    made = subprocess.run(["make", "--dry-run", "lab"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    _, *options = shlex.split(re.search(r"^\S+/jupyter lab .*", made.replace("\\\n", ""), re.M)[0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    folders = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    folders |= {f"JUPYTERLAB_{kind}_DIR": str(home / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")}
    answered = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    answered.parent.mkdir(parents=True)
    answered.write_text('{"fetchNews": "false"}')  # what JupyterLab asks everybody once
    command = [
        sys.executable,
        "-m",
        "jupyter",
        *options,
        "--no-browser",
        "--expose-app-in-browser",
        "--allow-root",
        f"--port={port}",
    ]
    address = f"http://127.0.0.1:{port}"
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [*command, "--port-retries=0", "--IdentityProvider.token=open"],
            cwd=project,
            env=os.environ | folders | {"IPYTHONDIR": str(home / "ipython")},
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(SLOW // 500):
            assert server.poll() is None, (home / "log.txt").read_text()
            try:
                urllib.request.urlopen(f"{address}/api?token=open", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"{address}/{{}}?token=open"
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def page(lab):
    """A page of a browser that tells which requests would leave the machine, and lets none of them."""
    strangers = []

    def within(route, request):
        if request.url.startswith(lab.partition("{")[0]):
            return route.continue_()
        strangers.append(request.url)
        return route.abort()

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = chromium.new_page(viewport={"width": 1400, "height": 2400})
        opened.set_default_timeout(SLOW)
        opened.route(re.compile("^http"), within)
        yield opened
        chromium.close()
    assert strangers == []


def run_all(page):
    """Run all cells of the open notebook as the menu does, make sure that none failed, and return its code cells."""
    page.locator("#jp-main-statusbar").get_by_text("(ipykernel) | Idle").wait_for()
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells').then(() => { window.ran = true }) }")
    page.wait_for_function("window.ran")
    cells = page.evaluate("jupyterapp.shell.currentWidget.content.model.toJSON().cells")
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["source"] for cell in code if not cell["execution_count"]] == []
    outputs = [output for cell in code for output in cell["outputs"]]
    assert [output for output in outputs if output["output_type"] in ("error", "stream")] == []
    told = page.locator(".jp-Dialog, .Toastify__toast").all_inner_texts()
    assert [text for text in told if text.strip()] == []
    return page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")
class TestLab:
    def test_it_opens_on_the_overview_and_runs_it(self, lab, page, published_sample):
        page.goto(lab.format(""))
        notebook = run_all(page)
        assert page.url.endswith(f"/lab/tree/{FIRST}")
        manifest = json.loads((published_sample / "manifest.json").read_text("utf-8"))
        (told,) = (found for found in manifest["pages"] if found["name"] == "overview")
        shown = notebook.locator("p.finding")
        assert shown.first.inner_text() == told["findings"][0]["sentence"]
        assert shown.count() > 1
        assert all(finding.is_visible() for finding in shown.all())

    def test_it_opens_and_runs_what_a_report_executed(self, lab, page, project, published_sample):
        executed = project / "reports" / "sample" / published_sample.name / "notebooks" / "pareto.ipynb"
        page.goto(lab.format(f"lab/tree/{executed.relative_to(project)}") + "&reset")  # without the other notebook
        notebook = run_all(page)
        notebook.locator("p.finding").first.wait_for()
        assert notebook.locator(".jp-OutputArea-output").filter(has=page.locator("img, svg")).count() > 0
