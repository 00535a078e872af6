"""Notebooks: those that run by themselves, and magics for those that people work in.

- `schedule`      which notebooks run when, with which parameters: one TOML file
- `runner`        each run in a process of its own, with a time-out, tried again where that is asked for
- `scheduler`     starts what is due, until it is stopped
- `run_table`     every run of every pipeline, in one SQLite file
- `metrics`       what a notebook says of itself: `record_metrics(sharpe=…)`
- `page`          an executed notebook as one HTML file
- `differences`   two runs side by side
- `webhook`       who is told
- `execute`       the process of one run
- `promote`       a room: from a notebook to an exact version that a service runs
- `serve`         such a version live behind BentoML
- `trade`         a run that trades, started by one call; `background` is its thread
- `holding`       locks that tell whether a process lives
- `magics`        `%load_ext quantai`: %%ask, %%research, %kb and %%sql; `shown`, `sql_completion` are theirs
"""

from quantai.notebook.metrics import record_metrics
from quantai.notebook.run_table import Run, RunTable, Status
from quantai.notebook.schedule import Pipeline, Schedule

__all__ = ["Pipeline", "Run", "RunTable", "Schedule", "Status", "record_metrics"]
