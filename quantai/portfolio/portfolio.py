"""The portfolio: what every desk holds and made, what every account is worth, all rebuilt from rows.

Positions are kept by (desk, instrument) and everything else is derived: cash, the views by strategy, account and
instrument, equity. So a busted execution needs one position rebuilt, and cash follows.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import inf
from typing import Any, Literal, get_args

import numpy as np

from quantai.core import positions as book
from quantai.core.errors import InputError, UnknownName
from quantai.core.given import instance, number, whole
from quantai.core.instruments import Contract, Instruments
from quantai.core.positions import POSITION
from quantai.core.rows import EVENT, Rows, zeros
from quantai.portfolio.adjustments import ALONE, COUNTED, UNDONE, WIDE, Adjust, adjustment, parties
from quantai.portfolio.contracts import is_inverse
from quantai.portfolio.desks import Desk
from quantai.portfolio.meaning import unmeant
from quantai.portfolio.valuation import CURRENCY, MARKET, STANDING, Books, mark, revalue

PAID = (Contract.SPOT, Contract.EQUITY, Contract.OPTION)

Fills = Sequence[tuple[int, int, float, float]]
"""Executions as (number of the row, side, units, price), in the order they count."""

By = Literal["strategy", "account", "instrument", "desk"]


class Portfolio:
    """Holdings and money of some desks, in float64; `statement` does the same in exact fractions.

    >>> from quantai.core.instruments import Instrument
    >>> p = Portfolio([Desk("demo")], Instruments([Instrument.parse("SPY")]), "USD")
    >>> p.adjust(p.deposit(0, 1000.0)[0])
    >>> p.fill(0, 0, +1, 2.0, 100.0)
    >>> p.mark(0, 110.0, ts=1)
    >>> p.cash("main"), p.equity("main")
    ({'USD': 800.0}, 1020.0)
    """

    def __init__(
        self,
        desks: Sequence[Desk],
        instruments: Instruments,
        currency: str,
        margin: Mapping[str, Decimal] | None = None,
    ) -> None:
        instance("instruments", instruments, Instruments, "a table of instruments")
        instance("desks", desks, Sequence, "a sequence of desks")
        for desk in desks:
            instance("a desk", desk, Desk, 'one such as Desk("demo")')
        instance("currency", currency, str, "a name such as 'USD'")
        instance("margin", margin or {}, Mapping, "a mapping of symbols to parts of notional")
        parts = {symbol: number(f"margin of {symbol}", part) for symbol, part in (margin or {}).items()}
        wrong = [symbol for symbol, part in parts.items() if not 0.0 < part < inf]
        if wrong or not currency:
            raise InputError(
                f"the margin of {wrong[0]} is no positive part of its notional" if wrong else "name the currency"
            )
        self.desks, self.instruments, self.currency = tuple(desks), instruments, currency
        self.accounts = list(dict.fromkeys(desk.account for desk in desks))
        names = [currency, *(c for i in instruments for c in (i.settle, i.base, i.quote) if c)]
        self.currencies = list(dict.fromkeys(names))
        n_desks, n, m, k = len(self.desks), len(instruments), len(self.accounts), len(self.currencies)
        self.books = Books(
            positions=np.zeros((n_desks, n), POSITION),
            instruments=instruments.rows(),
            market=np.zeros(n, MARKET),
            currencies=np.zeros(k, CURRENCY),
            flows=np.zeros((m, k)),
            account=np.array([self.accounts.index(desk.account) for desk in desks], np.int64),
            working=np.zeros((m, n, 2)),
            standings=np.zeros(m, STANDING),
        )
        self.books.positions["instrument"] = np.arange(n)
        self.books.market["mark"] = self.books.currencies["rate"] = np.nan
        self.books.currencies["rate"][0] = 1.0
        margins = margin or {}
        for i, instrument in enumerate(instruments):
            row = self.books.market[i]
            row["settle"], row["base"] = self.currencies.index(instrument.settle), -1
            row["quote"] = self.currencies.index(instrument.quote or instrument.settle)
            row["margin"], row["paid"] = float(margins.get(instrument.symbol, 1)), instrument.contract in PAID
            if instrument.contract is Contract.SPOT and instrument.quote == currency != instrument.base:
                row["base"] = self.currencies.index(instrument.base)
        self.ts = 0
        self.adjustments: list[Rows] = []  # what a position is rebuilt with, and what is undone with an execution
        self._moves: dict[tuple[int, int], list[Rows]] = {}  # the same by desk and instrument
        self._funded: set[tuple[int, int, int]] = set()  # desk, instrument and instant of every funding booked

    def number(self, currency: str) -> int:
        """Return the number of a currency in ADJUST rows; raises UnknownName."""
        if currency not in self.currencies:
            raise UnknownName("currency", currency, self.currencies)
        return self.currencies.index(currency)

    def deposit(self, desk: int, amount: float, currency: str = "", ts: int = 0) -> Rows:
        """Return the ADJUST row of a deposit into a desk's account, in the portfolio's currency unless said."""
        return adjustment(Adjust.DEPOSIT, ts=ts, desk=desk, other=self.number(currency or self.currency), qty=amount)

    def fill(self, desk: int, instrument: int, side: int, units: float, px: float) -> None:
        """Book an execution of `units` > 0 at `px`; the caller has told executions apart.

        Raises InputError for what is no execution; nothing has changed then.
        """
        desk, instrument, side = whole("desk", desk), whole("instrument", instrument), whole("side", side)
        units, px = number("units", units), number("px", px)
        if not (0 <= desk < len(self.desks) and 0 <= instrument < len(self.instruments)):
            raise InputError(
                f"there is no desk {desk} or no instrument {instrument}: {len(self.desks)} desks trade"
                f" {len(self.instruments)} instruments, numbered from 0"
            )
        if side not in (-1, 1) or not 0.0 < units < np.inf or not np.isfinite(px):
            raise InputError(f"an execution has a side of 1 or -1, units and a price: got {side}, {units}, {px}")
        if px <= 0.0 and is_inverse(self.instruments[instrument]):
            raise InputError(f"{self.instruments[instrument].symbol}: an inverse contract has no value at {px}")
        row = self.books.instruments[instrument]
        book.fill(self.books.positions[desk, instrument], row, side, units, px, 0.0, 0.0)

    def mark(self, instrument: int, px: float, ts: int) -> None:
        """Mark an instrument and value the accounts; raises InputError for one that is not there."""
        instrument, px, ts = whole("instrument", instrument), number("px", px), whole("ts", ts)
        if not 0 <= instrument < len(self.instruments):
            raise InputError(f"there is no instrument {instrument}: {len(self.instruments)} are numbered from 0")
        mark(self.books, instrument, px, ts)
        self.revalue(ts)

    def revalue(self, ts: int) -> None:
        """Value the accounts at the last marks, at `ts` (ns UTC)."""
        self.ts = max(self.ts, whole("ts", ts))
        revalue(self.books, self.ts)

    def rebuild(self, desk: int, instrument: int, fills: Fills) -> None:
        """Rebuild one position from the executions that count and the adjustments between them.

        Average cost cannot be undone, so a bust or a correction starts the position afresh.
        """
        self.books.positions[desk, instrument] = zeros(1, POSITION)[0]
        self.books.positions["instrument"][desk, instrument] = instrument
        counted = {int(fill[0]) for fill in fills}
        steps: list[tuple[int, Any]] = [(int(fill[0]), fill) for fill in fills]
        steps += [
            (int(row["seq"][0]), row[0])
            for row in self._moves.get((desk, instrument), ())
            if self._is_left(row[0], counted)
        ]
        for _, step in sorted(steps, key=lambda step: step[0]):
            if isinstance(step, tuple):
                self.fill(desk, instrument, *step[1:])
            else:
                self._move(step, desk, instrument)

    def _is_left(self, row: Any, counted: set[int]) -> bool:
        """Say whether an adjustment moves its position still; a fee goes, and comes back, with its execution."""
        if row["side"] == ALONE:
            return True
        desk, other = parties(row["aux"])
        before, row["side"] = int(row["side"]), COUNTED if int(row["seq"]) in counted else UNDONE
        if self._from_position(int(row["instrument"]), other):
            return row["side"] == COUNTED
        self.books.flows[int(self.books.account[desk]), other] += (before - row["side"]) / 2 * float(row["qty"])
        return False

    def pay(self, row: Any) -> None:
        """Book a FEE row that was paid for the execution of the row of its number, and goes where that goes.

        Raises InputError as `adjust` does.
        """
        _, (desk, other) = self.check(row)
        kept = self._keep(row, COUNTED)
        if self._from_position(int(row["instrument"]), other):
            self._move(kept, desk, int(row["instrument"]))
        else:
            self.books.flows[int(self.books.account[desk]), other] -= float(row["qty"])
        self.revalue(int(row["ts_recv"]))

    def take_over(self, adjustments: Rows) -> None:
        """Take over the adjustments of another portfolio of the same desks, whose books hold them already."""
        self.adjustments, self._moves, self._funded = [], {}, set()
        for row in adjustments:
            self._keep(row, int(row["side"]))

    def _keep(self, row: Any, side: int) -> Any:
        """Remember an adjustment for when a position is rebuilt; returns the row that is kept."""
        kept = np.array([row], EVENT)
        kept["side"] = side
        self.adjustments.append(kept)
        what, (desk, other), i = Adjust(int(row["px_ticks"])), parties(row["aux"]), int(row["instrument"])
        for d in range(len(self.desks)) if what in WIDE else [desk]:
            for moved in {i, other} if what is Adjust.EXERCISE else {i}:
                self._moves.setdefault((d, moved), []).append(kept)
        if what is Adjust.FUNDING:
            self._funded.add((desk, i, int(row["ts_exch"])))
        return kept[0]

    def adjust(self, row: Any) -> None:
        """Apply one ADJUST row of the stream and value the accounts; funding that was booked before changes nothing.

        Raises InputError as `check` does.
        """
        what, (desk, other) = self.check(row)
        if what is Adjust.FUNDING and (desk, int(row["instrument"]), int(row["ts_exch"])) in self._funded:
            return
        ts, px, qty = int(row["ts_recv"]), float(row["px"]), float(row["qty"])
        account = int(self.books.account[desk])
        if what is Adjust.RATE:
            self.books.currencies["rate"][other], self.books.currencies["ts"][other] = px, ts
        elif what is Adjust.DEPOSIT:
            self._deposit(account, other, qty)
        elif what is Adjust.FEE and not self._from_position(int(row["instrument"]), other):
            self.books.flows[account, other] -= qty
        else:
            self._keep(row, ALONE)
            moved = [int(row["instrument"]), *([other] if what is Adjust.EXERCISE else [])]
            for d in range(len(self.desks)) if what in WIDE else [desk]:
                for i in moved:
                    self._move(row, d, i)
        if what is Adjust.SPLIT:
            self.books.market["mark"][int(row["instrument"])] /= px
        self.revalue(ts)

    def check(self, row: Any) -> tuple[Adjust, tuple[int, int]]:
        """Return what an ADJUST row is and whom it concerns.

        Raises InputError when it names what is not there, or when nobody can mean it (`meaning`).
        """
        instance("row", row, np.void, "one ADJUST row")
        try:
            what = Adjust(int(row["px_ticks"]))
        except ValueError:
            raise InputError(f"row {row['seq']}: {row['px_ticks']} is no adjustment; see portfolio.Adjust") from None
        desk, other = parties(row["aux"])
        most = len(self.instruments) if what is Adjust.EXERCISE else len(self.currencies)
        i, px = int(row["instrument"]), float(row["px"])
        if not 0 <= desk < len(self.desks) or i >= len(self.instruments) or other >= most:
            raise InputError(f"row {row['seq']} ({what.name}) names a desk, instrument or currency that is not there")
        if not (np.isfinite(px) and np.isfinite(row["qty"])):
            raise InputError(f"row {row['seq']} ({what.name}) has a price of {px} and a quantity of {row['qty']}")
        wrong = unmeant(row, self.instruments, self.books.positions)
        if wrong:
            raise InputError(f"row {row['seq']} ({what.name}): {wrong}")
        return what, (desk, other)

    def _from_position(self, instrument: int, currency: int) -> bool:
        """Say whether a fee belongs to the position: in its settlement currency, or in the base of spot."""
        i = self.instruments[instrument]
        name = self.currencies[currency]
        return name == i.settle or (i.contract is Contract.SPOT and name == i.base)

    def _deposit(self, account: int, currency: int, qty: float) -> None:
        self.books.flows[account, currency] += qty
        rate = float(self.books.currencies["rate"][currency])
        standing = self.books.standings[account]
        # money that came from outside is no profit, and what left is no loss
        if not np.isnan(rate) and not standing["unconverted"]:
            standing["day_open"] += qty * rate
            standing["peak"] = max(0.0, float(standing["peak"]) + qty * rate)

    def _move(self, row: Any, desk: int, i: int) -> None:
        """Apply what an ADJUST row does to one position."""
        px, qty, other = float(row["px"]), float(row["qty"]), parties(row["aux"])[1]
        position, instrument = self.books.positions[desk, i], self.books.instruments[i]
        match Adjust(int(row["px_ticks"])):
            case Adjust.FEE if self.currencies[other] == self.instruments[i].settle:
                position["fees"] += qty
            case Adjust.FEE:
                book.fill(position, instrument, 1, 0.0, px, qty * book.value(instrument, px), qty)
            case Adjust.FUNDING:
                position["funding"] += qty
            case Adjust.DIVIDEND:
                position["funding"] += position["qty"] * px
            case Adjust.SPLIT:
                position["qty"] *= px
                position["turnover"] *= px
            case Adjust.VARIATION:
                book.vary(position, instrument, px)
            case Adjust.SETTLE:
                book.settle(position, instrument, px)
            case Adjust.EXPIRE:
                book.expire(position, instrument, px)
            case Adjust.EXERCISE:
                self._exercise(desk, int(row["instrument"]), i, qty)
            case _:
                pass

    def _exercise(self, desk: int, option: int, moved: int, qty: float) -> None:
        """Move one leg of an exercise: the option goes at its premium, the underlying comes at the strike."""
        said = self.instruments[option]
        side = 1 if qty > 0 else -1
        if moved == option:
            self.fill(desk, option, -side, abs(qty), 0.0)
        elif said.strike is not None:  # `check` has seen to it
            units = abs(qty) * float(said.multiplier) / float(self.instruments[moved].multiplier)
            self.fill(desk, moved, side * int(said.right), units, float(said.strike))

    def positions(self, by: By = "desk") -> dict[str, dict[str, dict[str, float]]]:
        """Return holdings by strategy, account, instrument or desk: name -> symbol -> column -> amount.

        Columns are qty, cost, realised, unrealised, funding and fees. Amounts are in the settlement currency of the
        instrument; what never traded is left out. Raises UnknownName for another way to group.
        """
        if by not in get_args(By):
            raise UnknownName("way to group positions", by, get_args(By))
        found: dict[str, dict[str, dict[str, float]]] = {}
        for d, desk in enumerate(self.desks):
            for i, instrument in enumerate(self.instruments):
                p = self.books.positions[d, i]
                if not (p["qty"] or p["realised"] or p["fees"] or p["funding"]):
                    continue
                named = {"strategy": desk.strategy, "account": desk.account, "desk": desk.run}
                group = found.setdefault(named.get(by, instrument.symbol), {})
                into = group.setdefault(instrument.symbol, dict.fromkeys(_COLUMNS, 0.0))
                for name, amount in self._amounts(p, i).items():
                    into[name] += amount
        return found

    def _amounts(self, p: Any, i: int) -> dict[str, float]:
        px = float(self.books.market["mark"][i])
        held = float(p["qty"]) != 0.0 and not np.isnan(px)
        row = self.books.instruments[i]
        return {
            "qty": float(p["qty"]),
            "cost": float(p["cost"]),
            "realised": float(p["realised"]),
            "unrealised": float(book.unrealised(p, row, px)) if held else 0.0,
            "funding": float(p["funding"]),
            "fees": float(p["fees"]),
        }

    def cash(self, account: str) -> dict[str, float]:
        """Return the money of an account by currency: what was paid in, paid out, realised and carried.

        What is bought with money (spot, shares, premiums) has left it; a margined position has not.
        """
        a = self._account(account)
        amounts = self.books.flows[a].copy()
        for d in np.flatnonzero(self.books.account == a):
            for i in range(len(self.instruments)):
                p, market = self.books.positions[d, i], self.books.market[i]
                spent = float(p["cost"]) if market["paid"] else 0.0
                amounts[int(market["settle"])] += float(p["realised"] + p["funding"] - p["fees"]) - spent
        return {name: float(x) for name, x in zip(self.currencies, amounts, strict=True) if x}

    def rates(self) -> dict[str, tuple[float, int]]:
        """Return what each currency is worth in the portfolio's, with the instant (ns UTC) of that rate."""
        return {
            name: (float(row["rate"]), int(row["ts"]))
            for name, row in zip(self.currencies, self.books.currencies, strict=True)
            if not np.isnan(row["rate"])
        }

    def equity(self, account: str) -> float:
        """Return what an account is worth in the portfolio's currency; 0 while it holds money without a rate."""
        return float(self.books.standings["equity"][self._account(account)])

    def standing(self, account: str) -> dict[str, float]:
        """Return equity, peak, the day's profit, gross and net exposure and margin of an account."""
        s = self.books.standings[self._account(account)]
        said = {name: float(s[name]) for name in ("equity", "peak", "gross", "margin")}
        said["net"] = max(float(s["net_long"]), float(s["net_short"]), key=abs)
        return said | {"day_pnl": float(s["equity"] - s["day_open"]), "free_margin": float(s["equity"] - s["margin"])}

    def _account(self, account: str) -> int:
        if account not in self.accounts:
            raise UnknownName("account", account, self.accounts)
        return self.accounts.index(account)


_COLUMNS = ("qty", "cost", "realised", "unrealised", "funding", "fees")
