# pyright: basic, reportMissingImports=false
"""NautilusTrader (its Cython engine) on the same rows; run by `replay` in .venv-bench, in a process of its own.

It has one clock, which is that of receipt here, and latency on commands only; its queue model lets the size ahead trade
and knows no cancels ahead. Fills therefore differ from ours: only the rates are compared.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import BookOrder, OrderBookDelta, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, BookAction, BookType, OmsType, OrderSide
from nautilus_trader.model.identifiers import TradeId, Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

BUY, DEPTH, TRADE, SNAPSHOT = 1 << 29, 1, 2, 4


class Maker(Strategy):
    def __init__(self, instrument, quotes):
        super().__init__()
        self.instrument, self.quotes, self.submits = instrument, quotes, 0

    def on_start(self):
        self.subscribe_order_book_deltas(self.instrument.id, BookType.L2_MBP)
        self.clock.set_timer("quote", timedelta(milliseconds=100), callback=self.on_timer)

    def on_timer(self, event):
        book = self.cache.order_book(self.instrument.id)
        if not self.quotes or book is None or book.best_bid_price() is None or book.best_ask_price() is None:
            return
        net = float(self.portfolio.net_position(self.instrument.id))
        sides = ((OrderSide.BUY, book.best_bid_price(), net < 0.1 - 1e-9),)
        sides += ((OrderSide.SELL, book.best_ask_price(), net > -0.1 + 1e-9),)
        for side, px, wanted in sides:
            kept = False
            for order in self.cache.orders_open(instrument_id=self.instrument.id, side=side):
                if wanted and order.price == px:
                    kept = True
                else:
                    self.cancel_order(order)
            if wanted and not kept:
                qty = self.instrument.make_qty(0.01)
                self.submit_order(self.order_factory.limit(self.instrument.id, side, qty, px, post_only=True))
                self.submits += 1


def rows_of(events, instrument):
    made, kinds = [], events["ev"] & 0xFF
    for k, e in enumerate(events):
        px, qty = instrument.make_price(e["px"]), instrument.make_qty(e["qty"])
        ts, buy = int(e["local_ts"]), bool(e["ev"] & BUY)
        if kinds[k] == TRADE:
            aggressor = AggressorSide.BUYER if buy else AggressorSide.SELLER
            made.append(TradeTick(instrument.id, px, qty, aggressor, TradeId(str(k)), ts, ts))
        else:
            side = OrderSide.BUY if buy else OrderSide.SELL
            action = BookAction.UPDATE if e["qty"] > 0 else BookAction.DELETE
            made.append(OrderBookDelta(instrument.id, action, BookOrder(side, px, qty, 0), 0, k, ts, ts))
    return made


def main():
    said = json.loads(sys.argv[1])
    folder = Path(said["folder"])
    instrument = TestInstrumentProvider.btcusdt_perp_binance()
    events = np.concatenate([np.load(folder / "snapshot.npy"), np.load(folder / "events.npy")[: said["n"]]])
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    book = BookType.L1_MBP if said["case"] == "trades" else BookType.L2_MBP  # it refuses the other without book rows
    engine.add_venue(
        venue=Venue("BINANCE"), oms_type=OmsType.NETTING, account_type=AccountType.MARGIN, base_currency=USDT,
        starting_balances=[Money(10_000_000, USDT)], book_type=book,
        latency_model=LatencyModel(base_latency_nanos=2_000_000), queue_position=True, liquidity_consumption=True,
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
