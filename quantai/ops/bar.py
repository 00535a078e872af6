"""Progress bars for long work."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


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
