"""Statistics, figures and the tear sheet of an account, from plain arrays and frames.

stats      summary of equity, fills and trades as one dict
returns    Sharpe, Sortino, volatility, … of arrays
drawdown   depth and length of the falls of a curve
periods    bars per year, returns by day, month and year
running    the same statistics bar by bar in compiled code, for sweeps
running_many  the same of many curves at a time
glossary   label, unit and meaning of every statistic
plots      backtest, equity, drawdown and histogram figures
heatmap    sweep and monthly-return heat maps
book       order-book depth and price x time heat map
replay     the figure of a replay: book, own quotes and fills, inventory, P&L by cause
markouts   what fills were worth a while later
pnl_split  P&L as spread, adverse selection, inventory, fees, funding
queue_stats  place in the queue, time to fill, latency
replay_stats  the numbers of a replay
comparison two accounts side by side
card       what a notebook shows of a result
tearsheet  one self-contained HTML file
tables     its tables
panels     what the figures are made of
axis       their time axis
theme      their colours and templates
thinning   fewer points on the screen without hiding an extreme
"""
