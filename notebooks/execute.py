"""Run the notebooks anew: `python notebooks/execute.py`, or some of them by name. Outputs are kept in the files themselves.

What would differ from one run to the next without saying anything (when a cell ran, which Python) is left out.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
CELL_SECONDS = 600


class ThisInterpreter(AsyncKernelManager):
    """The kernel is the Python that runs this, whatever kernels are registered on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())


def run(path: Path) -> None:
    """Execute the notebook at `path` in its directory, with this checkout, and write its outputs into it."""
    notebook = nbformat.read(path, as_version=4)
    metadata = dict(notebook.metadata)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        startup_timeout=CELL_SECONDS,
        kernel_manager_class=ThisInterpreter,
        record_timing=False,
        coalesce_streams=True,  # one output, however often a cell's lines were flushed
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env=environment())
    notebook.metadata = nbformat.from_dict(metadata)
    nbformat.write(notebook, path)


def environment() -> dict[str, str]:
    """That of this process, without settings of a memory: notebooks bring their own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MEMORY_")}
    search = os.pathsep.join(filter(None, [str(HERE.parent), ours.get("PYTHONPATH", "")]))
    return ours | {"PYTHONPATH": search, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("notebooks", nargs="*", type=Path, help="all of this directory, if none is named")
    for path in asked.parse_args().notebooks or sorted(HERE.glob("*.ipynb")):
        print(path.name)
        run(path)


if __name__ == "__main__":
    main()
