"""Validation: whether a backtest says something about tomorrow, or only about how hard yesterday was searched.

- `given`        what checks are given
- `lookahead`    does the future reach a decision?
- `outside`      numbers that were there before the run
- `warmup`       does the start of the data?
- `splits`       walk-forward, purged and combinatorial splits of time
- `walk`         parameters chosen on one span and traded on the next
- `snooping`     the best of many against luck: Hansen's SPA, White's reality check, StepM
- `overfitting`  probabilistic and deflated Sharpe ratios, probability of backtest overfitting
- `verdict`      all of it in plain words
"""

from quantai.backtest.validate.lookahead import Lookahead, check_lookahead
from quantai.backtest.validate.overfitting import (
    Overfitting,
    Sample,
    deflated_sharpe,
    expected_best_sharpe,
    overfitting_probability,
    probabilistic_sharpe,
    track_record_needed,
)
from quantai.backtest.validate.snooping import Snooping, data_snooping
from quantai.backtest.validate.splits import combinatorial_purged, paths, purged_k_fold, walk_forward_splits
from quantai.backtest.validate.verdict import Verdict, verdict
from quantai.backtest.validate.walk import WalkForward, walk_forward
from quantai.backtest.validate.warmup import Warmup, check_warmup

__all__ = [
    "Lookahead",
    "Overfitting",
    "Sample",
    "Snooping",
    "Verdict",
    "WalkForward",
    "Warmup",
    "check_lookahead",
    "check_warmup",
    "combinatorial_purged",
    "data_snooping",
    "deflated_sharpe",
    "expected_best_sharpe",
    "overfitting_probability",
    "paths",
    "probabilistic_sharpe",
    "purged_k_fold",
    "track_record_needed",
    "verdict",
    "walk_forward",
    "walk_forward_splits",
]
