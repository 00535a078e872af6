"""Every statistic by name: what it is called, in which unit, and how it is computed, in one line each.

The tear sheet's labels and tooltips, and the check that `docs/statistics.md` is complete, come from this table.
"""

from typing import Literal, NamedTuple

Unit = Literal["fraction", "ratio", "money", "count", "days", "bars"]


class Statistic(NamedTuple):
    """One entry: `unit` says how the number reads, `meaning` is its formula in words."""

    label: str
    unit: Unit
    group: str
    meaning: str


STATISTICS: dict[str, Statistic] = {
    "equity_start": Statistic("Start equity", "money", "Return", "account value before the first bar"),
    "equity_end": Statistic("End equity", "money", "Return", "account value at the close of the last bar"),
    "total_return": Statistic("Total return", "fraction", "Return", "end equity / start equity - 1"),
    "annual_return": Statistic("Annual return", "fraction", "Return", "compound growth rate over a year of bars"),
    "best_day": Statistic("Best day", "fraction", "Return", "largest return of a UTC day"),
    "worst_day": Statistic("Worst day", "fraction", "Return", "smallest return of a UTC day"),
    "benchmark_return": Statistic("Benchmark return", "fraction", "Benchmark", "total return over the same bars"),
    "benchmark_annual_return": Statistic("Benchmark annual return", "fraction", "Benchmark", "its growth rate"),
    "excess_return": Statistic("Excess return", "fraction", "Benchmark", "annual return - the benchmark's"),
    "alpha": Statistic("Alpha", "fraction", "Benchmark", "Jensen's alpha, annual, arithmetic"),
    "beta": Statistic("Beta", "ratio", "Benchmark", "cov(returns, benchmark) / var(benchmark)"),
    "annual_volatility": Statistic("Volatility", "fraction", "Risk", "standard deviation of bar returns, annual"),
    "sharpe": Statistic("Sharpe ratio", "ratio", "Risk", "mean excess return / its standard deviation, annual"),
    "sortino": Statistic("Sortino ratio", "ratio", "Risk", "mean return / downside deviation, annual"),
    "calmar": Statistic("Calmar ratio", "ratio", "Risk", "annual return / |max drawdown|"),
    "max_drawdown": Statistic("Max drawdown", "fraction", "Risk", "deepest fall below the last peak of equity"),
    "max_drawdown_days": Statistic("… lasted, days", "days", "Risk", "deepest drawdown: from peak to recovery or end"),
    "max_drawdown_bars": Statistic("… lasted, bars", "bars", "Risk", "deepest drawdown: from peak to recovery or end"),
    "longest_drawdown_days": Statistic("Longest drawdown, days", "days", "Risk", "longest from peak to recovery"),
    "longest_drawdown_bars": Statistic("Longest drawdown, bars", "bars", "Risk", "longest from peak to recovery"),
    "var_95": Statistic("VaR 95 %, per bar", "fraction", "Risk", "5 % quantile of bar returns"),
    "cvar_95": Statistic("CVaR 95 %, per bar", "fraction", "Risk", "mean of the bar returns at or below the VaR"),
    "skew": Statistic("Skew", "ratio", "Risk", "sample skewness of bar returns"),
    "kurtosis": Statistic("Excess kurtosis", "ratio", "Risk", "sample kurtosis of bar returns - 3"),
    "trades": Statistic("Closed trades", "count", "Trades", "round trips that ended"),
    "open_trades": Statistic("Open trades", "count", "Trades", "round trips still open at the last bar"),
    "win_rate": Statistic("Win rate", "fraction", "Trades", "closed trades with a profit / closed trades"),
    "profit_factor": Statistic("Profit factor", "ratio", "Trades", "sum of profits / |sum of losses|, closed trades"),
    "expectancy": Statistic("Expectancy", "money", "Trades", "mean profit of a closed trade, net of fees"),
    "average_win": Statistic("Average win", "money", "Trades", "mean profit of the winning trades"),
    "average_loss": Statistic("Average loss", "money", "Trades", "mean profit of the losing trades (negative)"),
    "best_trade": Statistic("Best trade", "fraction", "Trades", "largest profit / entry notional"),
    "worst_trade": Statistic("Worst trade", "fraction", "Trades", "smallest profit / entry notional"),
    "average_trade_bars": Statistic("Average holding, bars", "bars", "Trades", "mean length of a closed trade"),
    "exposure": Statistic("Time in market", "fraction", "Activity", "bars with a position / bars"),
    "max_leverage": Statistic("Max leverage", "ratio", "Activity", "largest |position value| / equity at a bar close"),
    "turnover": Statistic("Turnover, per year", "ratio", "Activity", "traded notional / mean equity / years"),
    "fees": Statistic("Fees", "money", "Activity", "sum of the fees of all fills"),
    "orders": Statistic("Orders", "count", "Activity", "orders sent"),
    "fills": Statistic("Fills", "count", "Activity", "executions"),
    "bars": Statistic("Bars", "count", "Activity", "bars of the equity curve"),
    "days": Statistic("Days", "days", "Activity", "calendar days from the first to the last bar"),
    "periods_per_year": Statistic("Bars per year", "count", "Activity", "the year of every annual figure"),
}


def shown(name: str, value: float) -> str:
    """Return a statistic as people read it: percent, grouped digits, a dash where it is not defined.

    >>> shown("total_return", 0.12345), shown("sharpe", 1.2345), shown("trades", 12), shown("calmar", float("nan"))
    ('12.35 %', '1.23', '12', '–')
    """
    unit = STATISTICS[name].unit if name in STATISTICS else "ratio"
    if unit == "fraction":
        return percent(value)
    whole = unit in ("bars", "count") or (unit == "days" and float(value).is_integer())
    return grouped(value, 0 if whole else 1 if unit == "days" else 2)


def grouped(value: float, digits: int) -> str:
    """Return a number with narrow spaces between thousands and a true minus sign; zero has no sign, NaN is a dash.

    >>> grouped(-0.001, 2), grouped(-12.5, 1)
    ('0.00', '−12.5')
    """
    if value != value:
        return "–"
    text = f"{value:,.{digits}f}".replace(",", "\u202f")
    return "−" + text[1:] if text.strip("-0.") and text.startswith("-") else text.lstrip("-")


def percent(value: float, digits: int = 2) -> str:
    """Return a fraction as per cent.

    >>> percent(-0.0512)
    '−5.12 %'
    """
    return f"{grouped(100 * value, digits)} %" if value == value else "–"
