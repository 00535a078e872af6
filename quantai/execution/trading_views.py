"""The read side of trading: orders, positions and P&L of a journal in SQL, live or not, without touching what trades.

It has an order management of its own that follows the journal and is asked nothing else, so the one that trades never
waits for a reader, and a reader in another process sees the same states.
"""

from typing import Any

import pyarrow as pa

from quantai.execution.oms import OMS
from quantai.execution.recovery import newest, replay
from quantai.execution.views import accounts, orders, positions
from quantai.journal.views import Views

_TEXT, _FLOAT, _INT = pa.string(), pa.float64(), pa.int64()
_ORDERS = {
    "client_id": _TEXT, "order": _INT, "run": _TEXT, "strategy": _TEXT, "account": _TEXT, "symbol": _TEXT,
    "side": _TEXT, "type": _TEXT, "qty": _FLOAT, "limit": _FLOAT, "filled": _FLOAT, "leaves": _FLOAT,
    "average": _FLOAT, "status": _TEXT, "status_local": _TEXT, "sent": pa.bool_(), "waiting": pa.bool_(),
    "canceling": pa.bool_(), "marks": pa.list_(_TEXT), "reason": _TEXT,
}  # fmt: skip
_POSITIONS = {
    "run": _TEXT, "strategy": _TEXT, "account": _TEXT, "symbol": _TEXT, "currency": _TEXT, "qty": _FLOAT,
    "avg_entry": _FLOAT, "mark": _FLOAT, "cost": _FLOAT, "realised": _FLOAT, "unrealised": _FLOAT, "funding": _FLOAT,
    "fees": _FLOAT, "pnl": _FLOAT,
}  # fmt: skip
_ACCOUNTS = {
    "account": _TEXT, "currency": _TEXT, "state": _TEXT, "reconciling": pa.bool_(), "equity": _FLOAT, "peak": _FLOAT,
    "day_pnl": _FLOAT, "gross": _FLOAT, "net": _FLOAT, "margin": _FLOAT, "free_margin": _FLOAT,
}  # fmt: skip
_CASH = {"account": _TEXT, "currency": _TEXT, "amount": _FLOAT, "rate": _FLOAT, "rate_ts": _INT}

_PNL = """
CREATE VIEW pnl AS
SELECT strategy, account, symbol, currency, sum(realised) AS realised, sum(unrealised) AS unrealised,
    sum(funding) AS funding, sum(fees) AS fees, sum(pnl) AS pnl
FROM positions GROUP BY ALL ORDER BY ALL
"""


class TradingViews(Views):
    """`Views` of a journal of orders, with the states that follow from its rows, as of the last `refresh`.

    Beside the tables and views of `Views`: `order_states` (one row an order, as `views.orders`: statuses, marks, the
    reason why risk denied it), `positions` (one row for each desk and symbol), `pnl` (the same by strategy, account and
    symbol), `accounts` (equity, exposure, trading state) and `cash` (by currency, with its rate and the instant of
    it). Amounts of positions are in the settlement currency, those of accounts in the portfolio's.

    Raises InputError and DataError as `Views` does, DataError for a journal that is not one of orders.

    >>> import tempfile
    >>> from quantai.core.instruments import Instrument, Instruments
    >>> from quantai.execution.limits import Limits
    >>> from quantai.execution.setup import Setup
    >>> from quantai.journal import EventStore, describe_run
    >>> from quantai.portfolio import Desk
    >>> spy = Instruments([Instrument.parse("SPY")])
    >>> setup = Setup(desks=(Desk("demo"),), instruments=spy, limits=Limits.example())
    >>> money = OMS(setup).portfolio.deposit(0, 1000.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with EventStore.create(folder + "/demo.journal", describe_run("demo", oms=setup.as_dict())) as store:
    ...         money["seq"] = store.next_seq
    ...         store.append(money)
    ...     with TradingViews(folder + "/demo.journal") as views:
    ...         views.sql("SELECT account, equity, state FROM accounts").fetchall()
    [('main', 1000.0, 'ACTIVE')]
    """

    _oms: OMS | None = None

    def refresh(self) -> int:
        """Read what became durable since the last time; returns how many rows of all streams that was."""
        fresh = self._oms is None
        oms = self._oms = self._oms or newest(self._reader)
        count = super().refresh()
        until = self.sql("SELECT coalesce(max(seq), 0) FROM event").fetchall()[0][0]
        for _ in replay(self._reader, oms, until=until):
            pass
        if fresh or count:
            self._tell("order_states", _ORDERS, orders(oms))
            self._tell("positions", _POSITIONS, positions(oms))
            self._tell("accounts", _ACCOUNTS, accounts(oms))
            self._tell("cash", _CASH, _cash(oms))
        if fresh:
            self._db.execute(_PNL)
        return count

    def _tell(self, name: str, columns: dict[str, pa.DataType], rows: list[dict[str, Any]]) -> None:
        table = {
            column: pa.array([_plain(row.get(column), kind) for row in rows], kind) for column, kind in columns.items()
        }
        self._db.execute(f"DROP TABLE IF EXISTS {name}")
        self._create(name, pa.table(table))


def _plain(value: Any, kind: pa.DataType) -> Any:
    return float(value) if kind == _FLOAT and value is not None else value


def _cash(oms: OMS) -> list[dict[str, Any]]:
    rates = oms.portfolio.rates()
    return [
        {"account": account, "currency": currency, "amount": amount}
        | dict(zip(("rate", "rate_ts"), rates.get(currency, (None, None)), strict=True))
        for account in oms.setup.accounts
        for currency, amount in oms.portfolio.cash(account).items()
    ]
