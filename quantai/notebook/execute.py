"""The process of one run: `python -m quantai.notebook.execute FOLDER` runs the notebook of the folder's spec.json.

It holds a lock on FOLDER/lock for as long as it lives, so that anybody can see whether it does, and leaves
FOLDER/result.json as the last thing. Each cell is saved to FOLDER/run.ipynb as soon as it has run.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from quantai.notebook.holding import hold
from quantai.notebook.metrics import read_metrics
from quantai.notebook.page import write_page
from quantai.notebook.run_table import Status


def main(folder: Path) -> int:
    """Run the notebook and write what came of it; returns the exit code."""
    lock = hold(folder / "lock")
    if lock is None:
        return 1  # somebody runs it already
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    told = os.dup(1)  # by this process alone: what a cell starts and leaves behind must not keep the listener waiting
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, _stop)
    os.environ.setdefault("PLOTLY_RENDERER", "notebook")  # draws without a network
    out = folder / "run.ipynb"
    status, error = _execute(spec, out, told)
    if out.is_file():
        try:
            write_page(out, folder / "report.html", title=spec["title"])
        except Exception as trouble:  # noqa: BLE001 -- the run is what it is, with or without a page
            error = error or f"no report: {type(trouble).__name__}: {trouble}"
    _write(folder / "result.json", {"status": status, "error": error, "metrics": read_metrics(out)})
    return 0 if status is Status.DONE else 1


def _execute(spec: dict[str, Any], out: Path, told: int) -> tuple[Status, str]:
    import papermill
    from nbclient.exceptions import DeadKernelError

    from quantai.notebook.kernel import KernelManager

    _announce(told)
    try:
        papermill.execute_notebook(
            spec["notebook"],
            str(out),
            parameters=spec["parameters"],
            engine_name="announced",
            progress_bar=False,
            cwd=spec["cwd"],
            start_timeout=120,
            kernel_manager_class=KernelManager,
            **_missing(spec["notebook"]),
        )
    except DeadKernelError:
        return Status.DIED, "the kernel died: it was killed, or ran out of memory"
    except (KeyboardInterrupt, SystemExit):
        return Status.STOPPED, "stopped"
    except papermill.PapermillExecutionError as error:
        return Status.FAILED, f"cell {error.exec_count}: {error.ename}: {error.evalue}"
    except Exception as error:  # noqa: BLE001 -- whatever papermill or the notebook's format threw
        return Status.FAILED, f"{type(error).__name__}: {error}"
    return Status.DONE, ""


def _announce(told: int) -> None:
    """Register an engine that writes to a pipe how many of its cells have run."""
    from papermill.engines import NBClientEngine, papermill_engines

    class Announced(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, *args: Any, **options: Any) -> Any:
            total, done, complete = len(nb_man.nb.cells), 0, nb_man.cell_complete

            def completed(cell: Any, *args: Any, **more: Any) -> Any:
                nonlocal done
                done += 1
                with contextlib.suppress(OSError):  # the run outlives whoever listened
                    os.write(told, json.dumps({"done": done, "of": total}).encode() + b"\n")
                return complete(cell, *args, **more)

            nb_man.cell_complete = completed
            return super().execute_managed_notebook(nb_man, *args, **options)

    papermill_engines.register("announced", Announced)


def _missing(notebook: str) -> dict[str, Any]:
    """Return what a notebook does not say of itself, as ones made by programs may not: that it is in Python."""
    said = json.loads(Path(notebook).read_text(encoding="utf-8")).get("metadata", {})
    kernel = said.get("kernelspec", {})
    named: dict[str, Any] = {} if kernel.get("name") else {"kernel_name": "python3"}
    return named if kernel.get("language") or said.get("language_info") else named | {"language": "python"}


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _write(path: Path, said: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(said, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
