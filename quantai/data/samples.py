"""Real market data that needs no network: daily bars of two stock indices, from the files inside the `arch` package.

Both series come from Yahoo Finance by way of `arch.data`: date, open, high, low, close, adjusted close and volume, of
every session from 1999-01-04 to 2018-12-31. `close` is the index level as published, which is what the bars hold. An
index pays nothing and never splits, so the adjusted close in the file is the same number; neither counts dividends,
so a fund that tracks the index earned more than these bars say. An index cannot be bought: the instrument pretends
that fractions of it can.
"""

from typing import Any

import numpy as np

from quantai.core.errors import MissingExtra
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, zeros
from quantai.data.bars import Bars
from quantai.data.sessions import NEW_YORK, US_EQUITY_CLOSE, US_EQUITY_OPEN, local_to_utc


def sp500() -> Bars:
    """Return 5 031 daily bars of the S&P 500 index (symbol `SPX`), 1999 to 2018; raises MissingExtra.

    A bar opens at 09:30 and closes at 16:00 New York time, given in UTC: 13:30 to 20:00 in summer, 14:30 to 21:00 in
    winter. The file does not mark the two or three sessions a year that close at 13:00; they are given the usual
    close. Prices are index points on a grid of 0.01 (the file holds 32-bit floats of them), volume is in shares of
    all members.

    >>> bars = sp500()
    >>> len(bars), bars.symbols, float(bars.rows["close"][-1])
    (5031, ['SPX'], 2506.85)
    """
    return _index("sp500", "SPX", "S&P 500, arch.data.sp500")


def nasdaq() -> Bars:
    """Return 5 031 daily bars of the Nasdaq Composite index (symbol `IXIC`), 1999 to 2018; raises MissingExtra.

    Hours, columns and grid are those of `sp500`.

    >>> nasdaq().df()["close"].iloc[0].item()
    2208.05
    """
    return _index("nasdaq", "IXIC", "Nasdaq Composite, arch.data.nasdaq")


def _index(module: str, symbol: str, source: str) -> Bars:
    frame = _load(module)
    dates = frame.index.to_numpy("datetime64[D]")
    rows = zeros(len(frame), BAR)
    rows["ts_open"] = local_to_utc(dates, US_EQUITY_OPEN, NEW_YORK)
    rows["ts_close"] = local_to_utc(dates, US_EQUITY_CLOSE, NEW_YORK)
    for name in ("open", "high", "low", "close"):
        rows[name] = np.round(frame[name.title()].to_numpy("f8"), 2)
    rows["volume"] = frame["Volume"].to_numpy("f8")
    instrument = Instrument.parse(symbol, venue="INDEX", lot="1e-8")
    return Bars(rows, Instruments([instrument]), "1d", source)


def _load(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"arch.data.{module}").load()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "arch":
            raise
        raise MissingExtra("arch", "research") from None
