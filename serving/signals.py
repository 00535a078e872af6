"""Rows or bars in, targets out: a promoted version run over what somebody else sees, by the engine of backtests.

A bar is an object: `ts_close` (ns UTC, or ISO 8601), open, high, low, close, and, where they matter, volume, trades,
symbol and `ts_open`. A row is one of a tape: kind (TRADE, QUOTE, LEVEL, CLEAR), `ts_recv`, and, where they matter,
`ts_exch`, symbol, side (1 or -1), px, qty, `last` (false where more of the same message follows)
and `snapshot` (true for the levels of a whole book).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantai.backtest import BarRun, Settings
from quantai.backtest.tick_run import TickRun
from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instruments
from quantai.core.rows import BAR, EVENT, LAST, SNAPSHOT, Action, Kind, OrderType, Rows, zeros
from quantai.data.intervals import parse_interval
from quantai.data.tape import Tape
from quantai.notebook.promote.golden import Golden
from quantai.notebook.promote.version import Version

MOST = 200_000
"""How many bars or rows are taken at once."""
KEPT = 10_000
"""Of how many rows of a stream it is known when they were there."""
KINDS = {kind.name: kind for kind in (Kind.TRADE, Kind.QUOTE, Kind.LEVEL, Kind.CLEAR)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_NS = 1 << 62


class Signals:
    """What one version answers. It keeps nothing between two calls: each begins with the version as promoted."""

    def __init__(self, version: Version) -> None:
        self.version, self.golden = version, version.golden
        self._interval_ns = parse_interval(self.golden.interval).ns if self.golden.interval else 0

    @property
    def takes(self) -> str:
        """What the version is fed: bars or rows."""
        return "bars" if self.golden.on_bars else "rows"

    def batch(self, items: Sequence[Any]) -> dict[str, Any]:
        """Run the version over bars or rows from their first to their last; raises InputError, DataError.

        The intents are those of a backtest of the version over the same data, byte for byte.
        """
        rows = self.rows(items)
        run = _run(self.version, self.golden)
        if isinstance(run, TickRun):
            run.feed_tape(Tape.from_events(rows, self.golden.instruments))
        else:
            run.feed(rows)
        answers = list(self.answers(run.rows("intents"), self.instants(rows)))
        last = {said["symbol"]: said["target"] for said in answers if "target" in said}
        return {"tag": self.version.tag, self.takes: len(rows), "intents": answers, "targets": last}

    def stream(self) -> "Stream":
        """Begin to take bars or rows one by one."""
        return Stream(self)

    def rows(self, items: Sequence[Any]) -> Rows:
        """Return BAR or EVENT rows of what somebody sent; raises InputError that says which is wrong, and why."""
        if len(items) > MOST:
            raise InputError(f"{len(items):,} {self.takes} are more than {MOST:,}: send fewer at once, or a stream")
        rows = zeros(len(items), BAR if self.golden.on_bars else EVENT)
        fill = self._bar if self.golden.on_bars else self._event
        for n, item in enumerate(items):
            try:
                if not isinstance(item, Mapping):
                    raise TypeError("it is no object")
                fill(rows[n], item)
            except KeyError as error:
                raise InputError(f"{self.takes} {n}: {error.args[0]} is missing") from None
            except (TypeError, ValueError, OverflowError, InputError) as error:
                raise InputError(f"{self.takes} {n}: {error}") from None
        self._check_order(rows)
        if not self.golden.on_bars:
            rows["seq"] = np.arange(1, len(rows) + 1)
        return rows

    def _check_order(self, rows: Rows) -> None:
        ts = self.instants(rows)
        wrong = np.diff(ts) < 0
        if self.golden.on_bars:
            wrong |= (np.diff(ts) == 0) & (np.diff(rows["instrument"].astype(np.int64)) == 0)
        if wrong.any():
            raise InputError(
                f"{self.takes} {int(wrong.argmax()) + 1}: not later than the one before: send them in order"
            )

    def _bar(self, row: Any, said: Mapping[str, Any]) -> None:
        row["ts_close"] = ts = instant(said["ts_close"])
        row["ts_open"] = instant(said["ts_open"]) if "ts_open" in said else ts - self._interval_ns
        for name in ("open", "high", "low", "close"):
            row[name] = number(said[name])
        row["volume"], row["trades"] = number(said.get("volume", 0.0)), int(said.get("trades", 0))
        row["instrument"] = self._instrument(said)
        if not 0.0 < row["low"] <= min(row["open"], row["close"]) <= max(row["open"], row["close"]) <= row["high"]:
            raise InputError("prices of a bar are above zero, low the least of them and high the greatest")

    def _event(self, row: Any, said: Mapping[str, Any]) -> None:
        if said["kind"] not in KINDS:
            raise UnknownName("kind", str(said["kind"]), KINDS)
        row["kind"], row["ts_recv"] = KINDS[said["kind"]], instant(said["ts_recv"])
        row["ts_exch"] = instant(said["ts_exch"]) if "ts_exch" in said else row["ts_recv"]
        row["instrument"] = n = self._instrument(said)
        side = said.get("side", 0)
        if side not in (-1, 0, 1):
            raise InputError(f"side is 1 for buyers, -1 for sellers, not {side!r}")
        row["side"], row["qty"], row["px"] = side, number(said.get("qty", 0.0)), number(said.get("px", 0.0))
        row["px_ticks"] = self.golden.instruments[n].ticks(float(row["px"]))
        row["flags"] = (LAST if said.get("last", True) else 0) | (SNAPSHOT if said.get("snapshot") else 0)

    def _instrument(self, said: Mapping[str, Any]) -> int:
        table: Instruments = self.golden.instruments
        if "symbol" not in said and len(table) == 1:
            return 0
        symbols = [i.symbol for i in table]
        if said["symbol"] not in symbols:
            raise UnknownName("symbol", str(said["symbol"]), symbols)
        return symbols.index(said["symbol"])

    def instants(self, rows: Rows) -> NDArray[np.int64]:
        """Return when each bar or row was there, ns UTC."""
        return rows["ts_close" if self.golden.on_bars else "ts_recv"].astype(np.int64)

    def answers(self, intents: Rows, ts: NDArray[np.int64], before: int = 0) -> Iterator[dict[str, Any]]:
        """Say each intent, at the row that led to it; `ts` are the instants of rows after the first `before`."""
        for intent in intents:
            n = int(intent["seq"]) - 1
            found: dict[str, Any] = {"n": n, "ts_ns": int(ts[min(max(n - before, 0), len(ts) - 1)])}
            yield found | _said(intent, self.golden.instruments)


class Stream:
    """Bars or rows as they come; bars of one instant come together."""

    def __init__(self, signals: Signals) -> None:
        self._signals, self._run = signals, _run(signals.version, signals.golden)
        self._fed, self._told = 0, 0
        self._ts = np.zeros(0, np.int64)  # of the latest: what a row led to may be known once more have come

    def feed(self, items: Sequence[Any]) -> dict[str, Any]:
        """Take what came; returns what the version asks for now. Raises InputError, DataError."""
        rows = self._signals.rows(items)
        if not self._signals.golden.on_bars:
            rows["seq"] += self._fed
        self._run.feed(rows)
        intents = self._run.rows("intents")
        self._ts = np.concatenate([self._ts[-KEPT:], self._signals.instants(rows)])
        self._fed, fresh = self._fed + len(rows), intents[self._told :]
        answers = list(self._signals.answers(fresh, self._ts, self._fed - len(self._ts)))
        self._told = len(intents)
        targets = {said["symbol"]: said["target"] for said in answers if "target" in said}
        return {self._signals.takes: self._fed, "intents": answers, "targets": targets}


def _run(version: Version, golden: Golden) -> BarRun | TickRun:
    if golden.on_bars:
        return BarRun(version.strategy, golden.instruments, Settings(**golden.settings))
    return TickRun(version.strategy, golden.instruments, golden.venue)


def _said(intent: Any, table: Instruments) -> dict[str, Any]:
    instrument = table[int(intent["instrument"])]
    action = Action(int(intent["action"]))
    found: dict[str, Any] = {"action": action.name.lower(), "symbol": instrument.symbol}
    if action is Action.TARGET:
        return found | {"target": int(intent["qty_lots"]) / 1e9}
    found["order"] = int(intent["order"])
    if action is Action.CANCEL:
        return found
    found |= {"side": int(intent["side"]), "type": OrderType(int(intent["type"])).name.lower()}
    found["qty"] = instrument.qty(int(intent["qty_lots"]))
    for name in ("px", "trigger"):
        if intent[f"{name}_ticks"]:
            found[name] = instrument.price(int(intent[f"{name}_ticks"]))
    return found


def instant(said: Any) -> int:
    """Return ns UTC of a whole number of them, or of ISO 8601; raises InputError.

    >>> instant("2024-01-01T00:00:00.000001Z"), instant(5)
    (1704067200000001000, 5)
    """
    if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < _MOST_NS:
        return said
    try:
        at = datetime.fromisoformat(str(said))
    except (TypeError, ValueError):
        raise InputError(f"an instant is ns UTC or ISO 8601, not {said!r}") from None
    ns = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1) * 1_000
    if not 0 <= ns < _MOST_NS:
        raise InputError(f"{said} is beyond what ns can say")
    return ns


def number(said: Any) -> float:
    """Return a finite number; raises InputError.

    >>> number(1)
    1.0
    """
    if isinstance(said, bool) or not isinstance(said, int | float) or not abs(said) < 1e18:
        raise InputError(f"{said!r} is no number below 1e18")
    return float(said)
