"""What the path of a LEAN archive says, and the rows inside it.

The path is `<security>/[<market>/]<resolution>/…`, one archive a day for minutes
(`equity/usa/minute/spy/20131004_trade.zip`) and one for all days (`equity/usa/daily/spy.zip`). Options and futures
keep one csv a contract in it. Source: the readme files of https://github.com/QuantConnect/Lean/tree/master/Data;
where they and the data disagree, the data was believed.
"""

import datetime as dt
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quantai.core.errors import DataError, UnknownName
from quantai.core.instruments import Instrument
from quantai.core.rows import DAY, MIN
from quantai.data.sessions import NEW_YORK, US_EQUITY_CLOSE, US_EQUITY_OPEN, local_to_utc, wall_to_utc

Content = Literal["trade", "quote", "openinterest"]

_PX4 = 1e4  # equities and options hold prices in units of 0.0001
_VENUES = {"equity": "USA", "option": "USA", "future": "CME", "crypto": "COINBASE"}  # where the path names no market
_MARKETS = {"gdax": "COINBASE"}
_ZONES = {"equity": NEW_YORK, "option": NEW_YORK, "future": "UTC", "crypto": "UTC"}
_QUOTES = ("USDT", "USDC", "BUSD", "USD", "EUR", "GBP", "JPY", "BTC", "ETH", "BNB")
_FUTURES = {  # settled in cash at the open of the third Friday: (dollars per point, tick)
    "es": ("50", "0.25"),
    "nq": ("20", "0.25"),
    "rty": ("50", "0.1"),
    "ym": ("5", "1"),
    "mes": ("5", "0.25"),
    "mnq": ("2", "0.25"),
}
COLUMNS: dict[str, tuple[str, ...]] = {
    "trade": ("open", "high", "low", "close", "volume"),
    "quote": (
        "bid_open",
        "bid_high",
        "bid_low",
        "bid",
        "bid_qty",
        "ask_open",
        "ask_high",
        "ask_low",
        "ask",
        "ask_qty",
    ),
    "openinterest": ("qty",),
}


@dataclass(frozen=True, slots=True)
class Archive:
    """One LEAN zip: what it holds, of what, and for which day (`day` is None where one archive holds all days)."""

    path: Path
    security: str
    venue: str
    ticker: str
    content: Content
    day: dt.date | None

    @property
    def interval(self) -> str:
        """`1m` or `1d`."""
        return "1m" if self.day else "1d"

    @property
    def tz(self) -> str:
        """The zone of the times inside: New York for US equities and options, UTC for futures and crypto."""
        return _ZONES[self.security]


@dataclass(frozen=True, slots=True)
class Member:
    """The rows of one instrument: bars over [ts_open, ts_close), with the columns of `COLUMNS`, in plain prices."""

    instrument: Instrument
    ts_open: Any
    ts_close: Any
    columns: dict[str, Any]


def describe(path: str | Path) -> Archive:
    """Return what the path of an archive says; raises DataError when it is not one of LEAN's that can be read.

    >>> describe("data/equity/usa/minute/spy/20131004_trade.zip").day
    datetime.date(2013, 10, 4)
    >>> describe("data/crypto/minute/btcusd/20161007_quote.zip").venue
    'COINBASE'
    """
    path = Path(path)
    parts = [p.lower() for p in path.parts]
    at = next((i for i in reversed(range(len(parts) - 1)) if parts[i] in _VENUES), None)
    if at is None:
        raise DataError(f"{path}: not a LEAN path: no folder is called {', '.join(_VENUES)}")
    folders = parts[at + 1 : -1]
    resolution = next((p for p in folders if p in ("minute", "daily")), None)
    if resolution is None:
        raise DataError(f"{path}: LEAN archives of minutes and days can be read; there is no such folder in the path")
    market = folders[0] if folders[0] != resolution else ""
    venue = _MARKETS.get(market, market.upper()) or _VENUES[parts[at]]
    name = path.name.lower().removesuffix(".zip")
    if resolution == "daily":
        return Archive(path, parts[at], venue, name.partition("_")[0], _content(path, name.partition("_")[2]), None)
    day, _, rest = name.partition("_")
    try:
        date = dt.datetime.strptime(day, "%Y%m%d").date()  # noqa: DTZ007 (a day, not an instant)
    except ValueError:
        raise DataError(
            f"{path}: the name of a LEAN minute archive starts with a day, as in 20131004_trade.zip"
        ) from None
    return Archive(path, parts[at], venue, folders[-1], _content(path, rest), date)


def _content(path: Path, rest: str) -> Content:
    word = rest.partition("_")[0] or "trade"
    for content in ("trade", "quote", "openinterest"):
        if word == content:
            return content
    raise DataError(f"{path}: {word!r} is not trade, quote or openinterest")


def members(archive: Archive) -> Iterator[Member]:
    """Yield the rows of each csv inside `archive`; raises DataError that names the archive, the csv and the remedy."""
    try:
        with zipfile.ZipFile(archive.path) as file:
            files = [(name, file.read(name)) for name in sorted(file.namelist())]
    except FileNotFoundError:
        raise DataError(f"{archive.path}: no such file") from None
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{archive.path}: damaged or not a zip archive ({error}); fetch it again") from None
    table, counts = _rows(archive, files)
    time = table["time"].to_numpy()
    columns = {n: table[n].to_numpy() for n in COLUMNS[archive.content]}
    if archive.security in ("equity", "option"):
        columns |= {n: columns[n] / _PX4 for n in columns if n not in ("volume", "qty", "bid_qty", "ask_qty")}
    ts_open, ts_close = _times(archive, time)
    end = 0
    for (name, _), count in zip(files, counts, strict=True):
        at = slice(end, end + count)
        end += count
        back = np.diff(ts_open[at]) <= 0
        if back.any():
            row = int(np.argmax(back)) + 2
            raise DataError(
                f"{archive.path}!{name}: row {row} is not later than the row before it; sort the file by time"
            )
        yield Member(_instrument(archive, name), ts_open[at], ts_close[at], {n: v[at] for n, v in columns.items()})


def _rows(archive: Archive, files: list[tuple[str, bytes]]) -> tuple[Any, list[int]]:
    """Return the rows of all files as one table, and how many each has: one parse is 30 times as fast as thousands."""
    import pyarrow as pa

    texts = [text if text.endswith(b"\n") or not text else text + b"\n" for _, text in files]
    counts = [text.count(b"\n") for text in texts]
    try:
        table = _parsed(archive, b"".join(texts))
        if table.num_rows == sum(counts):
            return table, counts
    except pa.ArrowInvalid:
        pass  # one of them is wrong: parsed alone it can be named
    tables: list[Any] = []
    for name, text in files:
        try:
            tables.append(_parsed(archive, text))
        except pa.ArrowInvalid as error:
            raise DataError(f"{archive.path}!{name}: not {archive.content} rows of LEAN: {error}") from None
    return pa.concat_tables(tables), [table.num_rows for table in tables]


def _parsed(archive: Archive, text: bytes) -> Any:
    import pyarrow as pa
    import pyarrow.csv as pc

    names = COLUMNS[archive.content]
    types = {"time": pa.string() if archive.day is None else pa.int64()} | dict.fromkeys(names, pa.float64())
    return pc.read_csv(
        pa.BufferReader(text),
        read_options=pc.ReadOptions(column_names=["time", *names], use_threads=False),
        convert_options=pc.ConvertOptions(column_types=types),
    )


def _times(archive: Archive, time: Any) -> tuple[Any, Any]:
    if archive.day is None:
        try:
            days = np.array([f"{t[:4]}-{t[4:6]}-{t[6:8]}" for t in time], "datetime64[D]")
        except ValueError as error:
            raise DataError(f"{archive.path}: a day is not written as 20131004 00:00: {error}") from None
        if archive.tz == "UTC":
            start = days.astype("datetime64[ns]").astype("i8")
            return start, start + DAY
        return tuple(local_to_utc(days, at, archive.tz) for at in (US_EQUITY_OPEN, US_EQUITY_CLOSE))
    wrong = (time < 0) | (time >= 86_400_000)
    if wrong.any():
        raise DataError(f"{archive.path}: time {time[np.argmax(wrong)]} is not in the 86 400 000 milliseconds of a day")
    ts = wall_to_utc(np.datetime64(archive.day, "ms") + time.astype("timedelta64[ms]"), archive.tz)
    return ts, ts + MIN


@cache
def _expiry(day: dt.date, at: dt.time) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(local_to_utc([day], at, NEW_YORK)[0]) // 10**9, dt.UTC)


def _instrument(archive: Archive, name: str) -> Instrument:
    ticker, venue = archive.ticker.upper(), archive.venue
    words = name.lower().removesuffix(".csv").split("_")
    if archive.security == "equity":
        # trades print between the cents (midpoint matches), so the grid of the file is kept
        return Instrument.parse(ticker, venue=venue, tick="0.0001")
    if archive.security == "crypto":
        quote = next((q for q in _QUOTES if ticker.endswith(q) and ticker != q), None)
        if quote is None:
            raise DataError(
                f"{archive.path}: cannot tell base from quote in {ticker}; known quotes: {', '.join(_QUOTES)}"
            )
        return Instrument.parse(f"{ticker.removesuffix(quote)}-{quote}", venue=venue, tick="0.01")
    if archive.security == "future":
        return _future(archive, name, words)
    m = re.fullmatch(r"(call|put)_(\d+)_(\d{8})", "_".join(words[-3:]))
    if m is None:
        raise DataError(f"{archive.path}!{name}: the name of an option file ends with call or put, strike and expiry")
    strike = format((Decimal(m[2]) / 10_000).normalize(), "f")
    expiry = dt.datetime.strptime(m[3], "%Y%m%d")  # noqa: DTZ007 (a day, not an instant)
    return Instrument.parse(
        f"{ticker}-USD-{m[3]}-{strike}-{m[1][0].upper()}",
        venue=venue,
        tick="0.01",
        lot="1",
        multiplier="100",
        calendar="XNYS",
        expiry=_expiry(expiry.date(), US_EQUITY_CLOSE),
    )


def _future(archive: Archive, name: str, words: list[str]) -> Instrument:
    if archive.ticker not in _FUTURES:
        raise UnknownName("future", archive.ticker, _FUTURES)
    multiplier, tick = _FUTURES[archive.ticker]
    try:
        first = dt.datetime.strptime(words[-1], "%Y%m").date()  # noqa: DTZ007 (a month, not an instant)
    except ValueError:
        raise DataError(f"{archive.path}!{name}: the name of a future's file ends with its contract month") from None
    third_friday = first + dt.timedelta(days=(4 - first.weekday()) % 7 + 14)
    return Instrument.parse(
        f"{archive.ticker.upper()}-USD-{third_friday:%Y%m%d}",
        venue=archive.venue,
        tick=tick,
        lot="1",
        multiplier=multiplier,
        calendar="CMES",
        expiry=_expiry(third_friday, US_EQUITY_OPEN),
    )
