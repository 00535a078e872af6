"""What every room may use and none owns: files that outlive a power cut, and progress bars for long work."""

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, whose fsync stops at the cache of the drive


def durable(fd: int) -> None:
    """Return once all that was written to the open file `fd` is on the disk; raises OSError.

    Source: fsync(2) of macOS, fdatasync(2) of Linux, which leaves out the file's times and nothing else.
    """
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(fd, _FULL_SYNC)
        except OSError:  # a file system without it, as SQLite does: the plain call is all there is
            os.fsync(fd)
        return
    getattr(os, "fdatasync", os.fsync)(fd)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, after one was made, changed or removed: a file whose name is lost is lost."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create `folder` and those above it, names and all, durable when this returns; one that exists is left alone.

    >>> import tempfile
    >>> made = Path(tempfile.mkdtemp()) / "a" / "b"
    >>> make_folder(made)
    >>> made.is_dir()
    True
    """
    new = [at for at in (folder, *folder.parents) if not at.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in new:
        sync_folder(made.parent)


@contextmanager
def progress(
    description: str, total: float | None = None, *, unit: str = "", quiet: bool = False
) -> Generator[Callable[[float], None]]:
    """Show a progress bar with rate and remaining time on stderr; yields a function to call with the amount done since.

    Nothing is shown with `quiet` (pass the command's `json`) or when stderr is not a terminal. `total` is in `unit`s,
    None when it is unknown.

    >>> with progress("reading", 10, unit="files") as advance:
    ...     advance(10)
    """
    from rich.console import Console

    err = Console(stderr=True, highlight=False)
    if quiet or not (err.is_terminal or err.is_jupyter):
        yield lambda amount: None
        return
    from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    class Rate(TextColumn):
        def render(self, task: Task) -> Any:
            self.text_format = f"{task.speed or 0:,.0f} {unit}/s".replace(" /s", "/s")
            return super().render(task)

    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}"), Rate("")]
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda amount: bar.advance(task, amount)
