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
    shell.execution_count = 1

reset(get_ipython(), {folder!r}, {environment!r})
"""

_kept: dict[str, Any] = {}  # this process' kernel


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
        try:
            if not _kept:
                client.km = client.create_kernel_manager()
                # With TCP another kernel may take the same port at the same moment.
                client.km.transport, folder = "ipc", tempfile.TemporaryDirectory(prefix="kernel-")
                client.km.connection_file = f"{folder.name}/kernel.json"
                client.start_new_kernel()
                client.start_new_kernel_client()
                _kept.update(client=client, folder=folder)
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


def end() -> None:
    """End the kernel, if there is one."""
    if client := _kept.pop("client", None):
        client._cleanup_kernel()
        _kept.pop("folder").cleanup()
