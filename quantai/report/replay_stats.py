"""The numbers of a replay: P&L, what was traded, inventory."""

import numpy as np
import pandas as pd

from quantai.report.stats import column


def replay_stats(
    equity: pd.DataFrame, fills: pd.DataFrame, cash: float, fee: float, counts: dict[str, float]
) -> dict[str, float]:
    """Return the statistics of a replay as one dict; `counts` are what the engine counted.

    `equity`: as sampled, columns equity and exposure (a fraction of equity, signed); `fills`: maker, symbol, side, qty.
    pnl = last equity - cash; max_drawdown = min(E[t] - max(E[0..t])), money, E starting at `cash`; pnl_bps = 10^4 pnl /
    value traded; maker_share = share of fills; max_position = largest |units| after a fill, over symbols; max_exposure
    = largest |position value / equity| as sampled. Ratios of nothing are NaN.
    """
    curve = np.concatenate([[cash], column(equity, "equity")])
    value = counts["value"]
    signed = column(fills, "side") * column(fills, "qty")
    held = pd.Series(signed).groupby(np.asarray(fills["symbol"], object)).cumsum() if len(fills) else pd.Series([0.0])
    exposure = np.abs(column(equity, "exposure"))
    exposure = exposure[np.isfinite(exposure)]
    submits = counts["submits"]
    return {
        "pnl": float(curve[-1] - cash),
        "fees": fee,
        "max_drawdown": float(np.min(curve - np.maximum.accumulate(curve))),
        "pnl_bps": 1e4 * float(curve[-1] - cash) / value if value else np.nan,
        "fills": float(len(fills)),
        "maker_share": float(np.mean(np.asarray(fills["maker"], bool))) if len(fills) else np.nan,
        "fills_per_order": len(fills) / submits if submits else np.nan,
        "max_position": float(held.abs().max()),
        "max_exposure": float(exposure.max()) if len(exposure) else 0.0,
        **counts,
    }
