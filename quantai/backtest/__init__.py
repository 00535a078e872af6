"""Backtests: a strategy over past rows, one run or thousands, with fills that assume the worse when a bar cannot say.

- `bar_run`       BarRun, a backtest on bars in progress; backtest, the whole of it
- `sweep`         many parameters at once
- `swept`         what can be asked of any sweep
- `replay_sweep`  ReplaySweep: the variants over one tape
- `tick_variants` what they share; those of a block share a pass
- `tick_lanes`    the memory of such a block
- `tick_pass`     the driver that moves it along the tape
- `tick_market`   the books that it shares
- `tick_funding`  funding in a replay
- `asked`         what a sweep is asked for, read or refused
- `search`        which of them: a grid, a sample, or what Optuna suggests
- `variants`      what the variants of a sweep share
- `blocks`        all cores over the variants of any sweep, a block at a time
- `lanes`         the memory of a block
- `result`        Result: frames, statistics, plots, tear sheet
- `recorded`      a run written to a journal, and run again from it
- `settings`      cash, costs and leverage
- `bar_loop`      the driver pasted into each strategy's kernel
- `bar_four`      the quick way of four runs of a sweep, in step
- `matching`      scripted orders through the same matching, without a strategy
- `bar_log`       what a run writes down
- `bar_matching`  orders against one bar
- `bar_reach`     which price of a bar an order reaches, and when
- `order_table`   working orders, their children and rivals
- `replay`        a strategy over a tape of ticks
- `replay_result` ReplayResult: frames, statistics, what its fills were worth
- `tick_run`      a replay in progress; its parts are `tick_loop`, `_local`, `_receipt`, `_reports`, `_state`
- `scripted`      given requests against a tape
- `compare`       two results, and where they first parted
- `fill_quality`  markouts, P&L by cause and queue statistics of a replay
- `marks`         mids at given instants of a tape
- `order_lives`   when orders reached the exchange, and when they left it
- `replay_plot`   the figure of a replay
- `validate`      a room: look-ahead, walk-forward, data snooping, overfitting, verdict
- `trades`        fills gathered into round trips
"""

from quantai.backtest.bar_run import BarRun, backtest
from quantai.backtest.matching import BarRules, match_orders
from quantai.backtest.result import Result
from quantai.backtest.settings import Settings
from quantai.backtest.sweep import Sweep, sweep
from quantai.backtest.validate import check_lookahead, check_warmup, data_snooping, verdict, walk_forward
from quantai.ops.compiling import announced

announced()  # whatever of this room is called first compiles

__all__ = [
    "BarRules",
    "BarRun",
    "Result",
    "Settings",
    "Sweep",
    "backtest",
    "check_lookahead",
    "check_warmup",
    "data_snooping",
    "match_orders",
    "sweep",
    "verdict",
    "walk_forward",
]
