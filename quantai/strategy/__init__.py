"""Strategies: the base class and its compiler, the verbs of `ctx`, incremental indicators, and examples.

- `base`        Strategy, the class users subclass
- `fields`      parameters, state and indicators as one record
- `indicators`  incremental indicators, usable as fields
- `context`     the CTX record and the tables behind it
- `verbs`       what a handler may call on `ctx`
- `account`     cash, positions, fees as a strategy sees them
- `handlers`    the names drivers are written against
- `heard`       which handler a row of the market concerns
- `place`       pieces of user code, and errors that point at them
- `rewrite`     the class facade taken out of a handler's syntax tree
- `source`      from a class to the text of a module
- `whole`       int fields take ints
- `load`        strategies by name
- `compiler`    from that text to cached machine code
- `uncompiled`  the same handlers as plain Python
- `examples`    Cross, Reversion, Quote
"""

from quantai.strategy import examples
from quantai.strategy import indicators as ind
from quantai.strategy.base import Strategy
from quantai.strategy.fields import state

__all__ = ["Strategy", "examples", "ind", "state"]
