"""Lets papermill execute one notebook after the other in a kernel that this process keeps.

To import what all notebooks need takes a kernel longer than most of them take to run, and what it has found out once
of a dataset it need not find out again. Between two notebooks all names are forgotten; a kernel in which anything else
than an exception has gone wrong is ended, and the next notebook gets a new one.
"""

from __future__ import annotations

import os
import tempfile
from multiprocessing import util
from typing import Any

import nbformat
from jupyter_core.utils import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

ENGINE = "kept-kernel"

# As `get_ipython().reset()`, without its search for garbage among all that is kept, half a second each time.
RESET = """
def reset(shell, folder, environment):
    import os
    os.chdir(folder)
    os.environ.update(environment)
    shell.history_manager.reset(new_session=False)
    shell.user_ns.clear()
    shell.init_user_ns()
    shell.user_ns["__name__"] = "__main__"
    shell.execution_count = 1

reset(get_ipython(), {folder!r}, {environment!r})
"""

_kept: dict[str, Any] = {}  # this process' kernel, and where its files are


class KeptKernel(NBClientEngine):  # type: ignore[misc]  # papermill has no types
    """papermill's engine on the kernel that is kept."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, execution_timeout: int | None = None, **kwargs: Any
    ) -> nbformat.NotebookNode:
        client = PapermillNotebookClient(nb_man, kernel_name=kernel_name, timeout=execution_timeout)
        client.startup_timeout = 120
        client.extra_arguments = ["--log-level=CRITICAL"]
        client.owns_km = False  # nbclient then lets the kernel live
        if "client" in _kept and not run_sync(_kept["client"].km.is_alive)():  # it died since
            end()
        try:
            if "client" not in _kept:
                _kept["client"] = client
                client.km = client.create_kernel_manager()
                # With TCP another kernel may take the same port at the same moment.
                client.km.transport, client.km.connection_file = "ipc", f"{_folder()}/{os.getpid()}.json"
                client.start_new_kernel()
                client.start_new_kernel_client()
                util.Finalize(None, end, exitpriority=10)  # a worker process runs nothing else at its end
            client.km, client.kc = _kept["client"].km, _kept["client"].kc
            ours = {name: value for name, value in os.environ.items() if name.startswith("CRM_ANALYSIS_")}
            reset = RESET.format(folder=os.getcwd(), environment=ours)
            client.nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(reset)])
            client.execute_cell(client.nb.cells[0], 0)
            client.nb = nb_man.nb
            executed = client.execute()
        except BaseException:  # it took too long, or the kernel is dead
            end()
            raise
        if any(output.get("ename") == "SystemExit" for cell in executed.cells for output in cell.get("outputs", [])):
            end()
        return executed


papermill_engines.register(ENGINE, KeptKernel)


def keep_in(folder: str) -> None:
    """Let the files of this process' kernel lie in a folder, which whoever made it removes."""
    _kept["folder"] = folder


def _folder() -> str:
    if "folder" not in _kept:
        _kept["own"] = tempfile.TemporaryDirectory(prefix="kernel-")
        _kept["folder"] = _kept["own"].name
    return str(_kept["folder"])


def end() -> None:
    """End the kernel, if there is one."""
    if client := _kept.pop("client", None):
        client._cleanup_kernel()
