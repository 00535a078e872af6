"""From a notebook to an exact version that a service runs.

- `promotion`     promote: a result or a class in a cell, through the gates, into the store
- `candidate`     what is put forward, and what it was tried on
- `gates`         what it has to pass
- `golden`        rows kept with a version, and what was asked for on them
- `loop_run`      the trade loop over those rows
- `source`        a strategy's source as one module that stands alone
- `version`       a promoted version: a folder of texts, JSON and arrays
- `store`         versions in BentoML's model store; champion, challenger, rollback
- `differences`   two versions side by side
- `card`          a version for people
- `environment`   the packages it was promoted with
- `shadow`        a challenger on the rows that a run saw
- `bento`         a version with its service in one file
- `tool`          promote_candidate, for an assistant: a challenger only
- `fresh_process` a version run in a process that knows nothing of this one
"""

from quantai.notebook.promote.differences import Difference, difference
from quantai.notebook.promote.gates import Gate, Thresholds
from quantai.notebook.promote.promotion import Promotion, promote
from quantai.notebook.promote.store import get, resolve, rollback, set_alias, versions
from quantai.notebook.promote.version import Version

__all__ = [
    "Difference",
    "Gate",
    "Promotion",
    "Thresholds",
    "Version",
    "difference",
    "get",
    "promote",
    "resolve",
    "rollback",
    "set_alias",
    "versions",
]
