"""What goes wrong on demand: faults by name, with a scope and a dose, drawn from a seed.

A fault is written `NAME` or `NAME:key=value,key=value`:

    disconnect  close the socket (code=1000; code=0 cuts the connection without a word)
    silence     accept, and send nothing more on the socket
    slow        send each frame `ms` late (on HTTP: answer `ms` late)
    duplicate   send a frame twice
    reorder     send a frame after the one that follows it
    drop        leave a frame out
    garbage     send half a frame instead
    http        answer `status` (503) before anything is done
    timeout     do what is asked and never answer (the client gives up after its own time-out)
    unknown     do what is asked and answer -1007, "execution status unknown"
    reject      refuse with `code` (-1001)
    halt        stop trading in `symbol`
    skew        run the exchange's clock `ms` ahead (negative: behind)
    restart     close every connection and the port, and come back `s` seconds later with all state

Scope: `stream=` and `path=` are patterns (`*@depth*`, `user`, `*/order`), `method=` is an HTTP method. Dose: `after=`
how many to let pass first, `count=` how often at most (0: without end), `every=` only each n-th, `p=` with a
probability. `seed=` numbers the draws. What can strike sockets and requests strikes requests only if `path=` is given.
"""

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self

from quantai.core.errors import InputError, UnknownName

STREAM_FAULTS = ("disconnect", "silence", "slow", "duplicate", "reorder", "drop", "garbage")
HTTP_FAULTS = ("http", "timeout", "unknown", "reject", "slow", "disconnect", "garbage")
MARKET_FAULTS = ("halt", "skew", "restart")
NAMES = tuple(dict.fromkeys((*STREAM_FAULTS, *HTTP_FAULTS, *MARKET_FAULTS)))
_NUMBERS = {"after": 0, "count": 0, "every": 1, "seed": 1, "ms": 100, "status": 503, "code": 0}
_WORDS = {"stream": "*", "path": "*", "method": "*", "symbol": ""}


@dataclass(slots=True)
class Fault:
    """One fault; `done` counts how often it struck and `seen` how often it could have.

    >>> f = Fault.parse("drop:stream=*@depth*,every=2,count=1")
    >>> [f.strikes("btcusdt@depth@100ms") for _ in range(5)], f.strikes("btcusdt@trade")
    ([False, True, False, False, False], False)
    """

    name: str
    stream: str = "*"
    path: str = "*"
    method: str = "*"
    symbol: str = ""
    after: int = 0
    count: int = 0
    every: int = 1
    seed: int = 1
    ms: int = 100
    status: int = 503
    code: int = 0
    p: float = 1.0
    s: float = 1.0
    seen: int = 0
    done: int = 0
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UnknownName("fault", self.name, NAMES)
        if self.every < 1 or not 0 <= self.p <= 1:
            raise InputError(f"fault {self.name}: every must be 1 or more and p between 0 and 1")
        least = min(self.after, self.count, self.s, 0 if self.name == "skew" else self.ms)  # a clock can be behind
        if least < 0 or not 400 <= self.status <= 599:
            raise InputError(f"fault {self.name}: status is one of 400 to 599; after, count, ms and s are 0 or more")
        self._random.seed(self.seed)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME:key=value,…`; raises UnknownName or InputError."""
        name, _, rest = text.partition(":")
        said: dict[str, Any] = {}
        for part in filter(None, rest.split(",")):
            key, given, value = part.partition("=")
            if not given:
                raise InputError(f"fault {text!r}: write key=value instead of {part!r}")
            said[key] = value
        return cls.of(name, said)

    @classmethod
    def of(cls, name: str, said: dict[str, Any]) -> Self:
        """Return the fault `name` with settings as text or numbers; raises UnknownName or InputError."""
        settings: dict[str, Any] = {}
        for key, value in said.items():
            if key not in (*_NUMBERS, *_WORDS, "p", "s"):
                raise UnknownName(f"setting of fault {name}", key, (*_NUMBERS, *_WORDS, "p", "s"))
            kind = int if key in _NUMBERS else str if key in _WORDS else float
            try:
                settings[key] = kind(value)
            except (TypeError, ValueError):
                raise InputError(f"fault {name}: {key}={value!r} is not a number") from None
        return cls(name, **settings)

    @property
    def is_spent(self) -> bool:
        """Whether it has struck as often as it should."""
        return bool(self.count) and self.done >= self.count

    def strikes(self, stream: str) -> bool:
        """Say whether it strikes the next frame of `stream`, and count it."""
        wanted = self.name in STREAM_FAULTS and self.path == "*" and fnmatchcase(stream, self.stream)
        return wanted and self._draw()

    def strikes_request(self, method: str, path: str) -> bool:
        """Say whether it strikes a request, and count it; what can strike both strikes requests if a path is named."""
        if self.name not in HTTP_FAULTS or (self.name in STREAM_FAULTS and self.path == "*"):
            return False
        return self.method in ("*", method) and fnmatchcase(path, self.path) and self._draw()

    def _draw(self) -> bool:
        if self.is_spent:
            return False
        self.seen += 1
        if self.seen <= self.after or (self.seen - self.after) % self.every:
            return False
        if self.p < 1 and self._random.random() >= self.p:
            return False
        self.done += 1
        return True
