"""Statistics, figures and the tear sheet of an account, from plain arrays and frames.

stats      summary of equity, fills and trades as one dict
returns    Sharpe, Sortino, volatility, … of arrays
drawdown   depth and length of the falls of a curve
periods    bars per year, returns by day, month and year
running    the same statistics bar by bar in compiled code, for sweeps
glossary   label, unit and meaning of every statistic
plots      backtest, equity, drawdown and histogram figures
heatmap    sweep and monthly-return heat maps
book       order-book depth and price x time heat map
card       what a notebook shows of a result
tearsheet  one self-contained HTML file
tables     its tables
panels     what the figures are made of
axis       their time axis
theme      their colours and templates
thinning   fewer points on the screen without hiding an extreme
"""
