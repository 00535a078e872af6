"""Trade from a notebook: one call starts a run in the background."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quantai.core.errors import InputError, UnknownName
from quantai.execution.options import Named, make_plan, read_options
from quantai.notebook.background import BackgroundRun


def trade(
    strategies: Named | Sequence[Named] = (),
    *,
    journal: str | Path | None = None,
    plan: str | Path | None = None,
    **options: Any,
) -> BackgroundRun:
    """Start a run that trades in the background of this process and return it, once it listens.

    A strategy is an object, its class, or `module:Class`; several are several desks. The options, and what is refused,
    are those of `quantai trade`, with underscores: `venue`, `symbols`, `mode` ("paper" unless said), `interval`,
    `limits`, `i_understand` … `plan` is a TOML file of options, and those given here come before its own. It can be
    called where an event loop runs; the run has a thread and a loop of its own. Raises a QuantaiError in one line when
    the run is refused: nothing has been sent then.

        run = qa.trade(Cross(fast=5), venue="BINANCE", symbols="BTC-USDT", interval="1m", journal="paper.journal")
        run.pause()
        run.end()

    >>> trade("quantai.strategy.examples:Quote", journal="x.journal", venue="BINANCE", symbols="BTC-USDT", mode="live")
    Traceback (most recent call last):
    quantai.core.errors.InputError: a live run sends real orders: say --i-understand, once you do
    """
    known = inspect.signature(make_plan).parameters
    for name in options:
        if name not in known:
            raise UnknownName("option of trade", name, known)
    said: dict[str, Any] = dict(options)
    if plan is not None:
        if strategies != () or "params" in options:
            raise InputError(f"strategies and their parameters are those of {plan}: leave them out beside plan")
        said = read_options(plan, said)
    else:
        said["strategies"] = strategies
    if journal is not None:
        said["journal"] = journal
    if said.get("journal") is None:
        raise InputError("say where the run is kept: journal='run.journal'")
    return BackgroundRun(make_plan(**said)).start()
