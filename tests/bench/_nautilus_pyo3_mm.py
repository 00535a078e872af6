# pyright: basic, reportMissingImports=false
"""NautilusTrader's second engine, the one in Rust (PyO3), on the same rows and terms as `_nautilus_mm`."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from nautilus_trader.core import nautilus_pyo3 as nautilus

BUY, TRADE = 1 << 29, 2


class Maker(nautilus.Strategy):
    def __new__(cls, instrument, quotes):
        return super().__new__(cls, nautilus.StrategyConfig(log_events=False, log_commands=False))

    def __init__(self, instrument, quotes):
        super().__init__()
        self.instrument, self.quotes, self.submits = instrument, quotes, 0

    def on_start(self):
        self.subscribe_book_deltas(self.instrument.id, nautilus.BookType.L2_MBP, managed=True)
        self.clock.set_timer_ns("quote", 100_000_000, callback=self.on_time_event)

    def on_time_event(self, event):
        mine = self.instrument.id
        book = self.cache.order_book(mine)
        if not self.quotes or book is None or book.best_bid_price() is None or book.best_ask_price() is None:
            return
        net = sum(p.signed_qty for p in self.cache.positions_open(instrument_id=mine))
        sides = ((nautilus.OrderSide.BUY, book.best_bid_price(), net < 0.1 - 1e-9),)
        sides += ((nautilus.OrderSide.SELL, book.best_ask_price(), net > -0.1 + 1e-9),)
        for side, px, wanted in sides:
            kept = False
            for order in self.cache.orders_open(instrument_id=mine, side=side):
                if wanted and order.price == px:
                    kept = True
                else:
                    self.cancel_order(order.client_order_id)
            if wanted and not kept:
                self.submit_order(self.order_factory.limit(mine, side, QTY, px, post_only=True))
                self.submits += 1


QTY = nautilus.Quantity(0.01, 3)


def rows_of(events, instrument):
    made, kinds = [], events["ev"] & 0xFF
    for k, e in enumerate(events):
        px, qty = nautilus.Price(e["px"], 1), nautilus.Quantity(e["qty"], 3)
        ts, buy = int(e["local_ts"]), bool(e["ev"] & BUY)
        if kinds[k] == TRADE:
            aggressor = nautilus.AggressorSide.BUYER if buy else nautilus.AggressorSide.SELLER
            made.append(nautilus.TradeTick(instrument.id, px, qty, aggressor, nautilus.TradeId(str(k)), ts, ts))
        else:
            side = nautilus.OrderSide.BUY if buy else nautilus.OrderSide.SELL
            action = nautilus.BookAction.UPDATE if e["qty"] > 0 else nautilus.BookAction.DELETE
            order = nautilus.BookOrder(side, px, qty, 0)
            # 128: the last of its message
            made.append(nautilus.OrderBookDelta(instrument.id, action, order, 128, k, ts, ts))
    return made


def perpetual():
    usdt = nautilus.Currency.from_str("USDT")
    return nautilus.CryptoPerpetual(
        nautilus.InstrumentId.from_str("BTCUSDT-PERP.BINANCE"), nautilus.Symbol("BTCUSDT"),
        nautilus.Currency.from_str("BTC"), usdt, usdt, False, 1, 3, nautilus.Price(0.1, 1),
        nautilus.Quantity(0.001, 3), 0, 0,
    )  # fmt: skip


def main():
    said = json.loads(sys.argv[1])
    folder = Path(said["folder"])
    instrument = perpetual()
    events = np.concatenate([np.load(folder / "snapshot.npy"), np.load(folder / "events.npy")[: said["n"]]])
    quiet = nautilus.LoggerConfig(stdout_level=nautilus.LogLevel.OFF, bypass_logging=True)
    engine = nautilus.BacktestEngine(nautilus.BacktestEngineConfig(bypass_logging=True, logging=quiet))
    book = nautilus.BookType.L1_MBP if said["case"] == "trades" else nautilus.BookType.L2_MBP
    engine.add_venue(
        nautilus.Venue("BINANCE"), nautilus.OmsType.NETTING, nautilus.AccountType.MARGIN,
        [nautilus.Money(10_000_000, nautilus.Currency.from_str("USDT"))], book_type=book,
        latency_model=nautilus.StaticLatencyModel(base_latency_nanos=2_000_000),
        queue_position=True, liquidity_consumption=True,
    )  # fmt: skip
    engine.add_instrument(instrument)
    engine.add_data(rows_of(events, instrument))
    maker = Maker(instrument, said["case"] == "mm")
    engine.add_strategy(maker)
    start = time.process_time()
    engine.run()
    took = time.process_time() - start
    print(json.dumps({"rows_per_cpu_s": round(len(events) / took), "rows": len(events), "submits": maker.submits}))


if __name__ == "__main__":
    main()
