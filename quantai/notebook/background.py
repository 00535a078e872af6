"""A run that trades in the background of a notebook: its state, decisions about it, what it earned."""

import asyncio
import atexit
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from quantai.core.errors import InputError, QuantaiError, VenueError
from quantai.execution.loop import Loop
from quantai.execution.monitor.status import status_of
from quantai.execution.plan import Plan
from quantai.execution.remote import RunControl, RunStatus
from quantai.execution.trade import Traded, Trading, what_is_left

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MOST_SAMPLES = 20_000
"""Samples of equity kept; then every other one is dropped, and half as many are taken."""


@dataclass
class _Samples:
    """Equity and counts over time, one line a second at first."""

    lines: list[tuple[int, float, int, int]] = field(default_factory=list[tuple[int, float, int, int]])
    every: int = 1
    seen: int = 0

    def take(self, loop: Loop) -> None:
        """Note how a run stands."""
        self.seen += 1
        if self.seen % self.every:
            return
        oms = loop.oms
        equity = sum(oms.portfolio.equity(account) for account in oms.portfolio.accounts)
        self.lines.append((loop.now, equity, len(oms.table), int(oms.table.executions.used[0])))
        if len(self.lines) > MOST_SAMPLES:
            del self.lines[::2]
            self.every *= 2


class BackgroundRun:
    """A run that trades on a thread of its own, with an event loop of its own; made by `qa.trade`.

    Decisions take the way of `quantai control`: each is a row of the journal before it takes effect, and the number of
    that row is returned. They may be asked for in any cell, also where an event loop runs. `desk` is a strategy's
    number, -1 for all. As a context manager it ends the run when the block is left. When Python exits the run is ended
    as its plan says, so that no order is left behind.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._control = RunControl(plan.journal)
        self._samples, self._error, self._done = _Samples(), None, None
        self._last: RunStatus | None = None
        self._began, self._unwanted = threading.Event(), False
        self._loop: tuple[asyncio.AbstractEventLoop, Loop] | None = None
        self._thread = threading.Thread(target=self._work, name=f"trade {plan.journal.name}", daemon=True)

    _error: BaseException | None
    _done: Traded | None

    def start(self) -> Self:
        """Start the run and return once it listens; raises the QuantaiError of a run that is refused."""
        atexit.register(self._end_at_exit)
        self._thread.start()
        try:
            self._began.wait()
        except BaseException:  # nobody will hold it
            self._ask_for_end()
            raise
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def _work(self) -> None:
        try:
            self._done = asyncio.run(self._trade())
        except BaseException as error:  # noqa: BLE001 -- raised where somebody asks for the result
            self._error = error
        finally:
            self._loop = None
            self._began.set()
            atexit.unregister(self._end_at_exit)

    async def _trade(self) -> Traded:
        trading = Trading(self.plan)
        loop = await trading.open()
        self._loop = (asyncio.get_running_loop(), loop)
        if self._unwanted:
            loop.end()
        state = "failed"
        try:
            await trading.run(loop, self._note)
            state = "ended"
            return trading.outcome(loop)
        finally:
            self._samples.take(loop)
            self._last = replace(status_of(loop, self.plan.mode), state=state)
            await trading.close()

    def _note(self, loop: Loop) -> None:
        """Take a sample; it is called first when the run has begun, and then once a second."""
        self._samples.take(loop)
        self._began.set()

    @property
    def journal(self) -> Path:
        """Where the run is kept."""
        return self.plan.journal

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def status(self) -> RunStatus:
        """Say what the run is doing; of one that is over what it was doing last, `state` being ended or failed.

        Raises the error of a run that never began.
        """
        if self.running:
            with suppress(InputError):  # it ends just now
                return self._tell(self._control.status)
            self._thread.join()
        if self._last is None:
            raise self._error or InputError(f"{self.journal}: the run has not begun")
        return self._last

    def pause(self, desk: int = -1) -> int:
        """Let strategies see everything and only their cancels out."""
        return self._tell(self._control.pause, desk)

    def resume(self, desk: int = -1) -> int:
        """Let everything out again: after pause, reduce, stop, flatten or kill."""
        return self._tell(self._control.resume, desk)

    def reduce(self, desk: int = -1) -> int:
        """Let only out what closes positions."""
        return self._tell(self._control.reduce, desk)

    def stop(self, desk: int = -1) -> int:
        """Cancel the orders, and let only cancels out."""
        return self._tell(self._control.stop, desk)

    def flatten(self, desk: int = -1) -> int:
        """Cancel the orders and close what is held at the market."""
        return self._tell(self._control.flatten, desk)

    def kill(self, desk: int = -1) -> int:
        """Pull the kill switch: cancel everything at once, and let only cancels out."""
        return self._tell(self._control.kill, desk)

    def set(self, desk: int = -1, **parameters: Any) -> int:
        """Give strategies other parameters."""
        return self._tell(self._control.set, parameters, desk)

    def end(self, timeout_s: float | None = None) -> Traded:
        """End the run, as its plan says, and return what came of it; as `result` does."""
        self._ask_for_end()
        return self.result(timeout_s)

    def result(self, timeout_s: float | None = None) -> Traded:
        """Wait until the run is over and return what came of it.

        Raises what made the run impossible; VenueError when orders or positions are left that should not be, named;
        InputError when it is not over after `timeout_s`.
        """
        self._thread.join(timeout_s)
        if self.running:
            raise InputError(f"{self.journal} trades on: end() ends it")
        if self._error is not None:
            raise self._error
        if self._done is None:
            raise InputError(f"{self.journal}: the run has not begun")
        if left := what_is_left(self._done, self.plan.at_end):
            raise VenueError(left)
        return self._done

    def history(self) -> "pd.DataFrame":
        """Return equity (settlement currency), orders and fills so far over time (UTC), sampled once a second."""
        import pandas as pd

        lines = list(self._samples.lines)
        when = pd.to_datetime(np.array([line[0] for line in lines], "i8"), unit="ns", utc=True)
        rest = [line[1:] for line in lines]
        return pd.DataFrame(rest, columns=["equity", "orders", "fills"], index=pd.Index(when, name="ts"))

    def plot(self) -> "go.Figure":
        """Return a figure of equity over time."""
        from quantai.report.plots import equity_figure

        currency = self._last.currency if self._last is not None else self.status().currency
        return equity_figure(
            self.history().drop(columns=["orders", "fills"]), title=f"Equity, {self.plan.mode}", currency=currency
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.end()
            return
        with suppress(QuantaiError):  # the error of the block is the one to see
            self.end()

    def __repr__(self) -> str:
        said = self._shown()
        return f"BackgroundRun({said['journal']!r}, {said['mode']}, {said['state']})"

    def _repr_html_(self) -> str:
        """Return a table of what the run is doing."""
        rows = "".join(
            f'<tr><td style="text-align:left;opacity:.65">{escape(name.replace("_", " "))}</td>'
            f'<td style="text-align:left">{escape(value)}</td></tr>'
            for name, value in self._shown().items()
        )
        return f"<table>{rows}</table>"

    def _shown(self) -> dict[str, str]:
        try:
            said = asdict(self.status())
        except QuantaiError as error:
            return {"journal": str(self.journal), "mode": self.plan.mode, "state": "failed", "error": str(error)}
        held = ", ".join(f"{qty:g} {symbol}" for symbol, qty in said["positions"].items() if qty) or "nothing"
        shown = {name: str(said[name]) for name in ("journal", "mode", "state")}
        shown |= {name: f"{said[name]:,}" for name in ("rows", "orders", "fills")}
        shown |= {"at_work": str(len(said["at_work"])), "holds": held}
        shown["equity"] = f"{said['equity']:,.2f} {said['currency']}"
        if said["alarms"]:
            shown["alarms"] = "; ".join(said["alarms"])
        if self._error is not None:
            shown["error"] = str(self._error)
        return shown

    def _tell[T](self, ask: Callable[..., Any], *args: Any) -> Any:
        """Tell the run something from a thread of its own: an event loop may run in this one."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(ask(*args))).result()

    def _ask_for_end(self) -> None:
        """Ask for the end without the network: it must not be missed."""
        self._unwanted, found = True, self._loop
        if found is not None:
            with suppress(RuntimeError):  # it has just ended
                found[0].call_soon_threadsafe(found[1].end)

    def _end_at_exit(self) -> None:
        self._ask_for_end()
        self._thread.join()
