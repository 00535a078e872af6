"""What a tool may do to the world, and who has to agree: the policy every call passes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from quantai.core.errors import InputError, UnknownName


class Permission(StrEnum):
    """What a tool does, at most; each class includes those before it."""

    READ = "read"  # looks at what is there
    COMPUTE = "compute"  # works something out, which costs time and nothing else
    WRITE = "write"  # changes files, the lake, the knowledge base
    TRADE = "trade"  # leads to an order

    @classmethod
    def named(cls, name: "str | Permission") -> "Permission":
        """Return the class of that name; raises UnknownName."""
        try:
            return cls(name)
        except ValueError:
            raise UnknownName("permission", name, [p.value for p in cls]) from None


@dataclass(frozen=True, slots=True)
class Request:
    """What a person is asked to approve: one call, with the arguments it would run with, and why it needs asking."""

    tool: str
    permission: Permission
    arguments: dict[str, Any]
    why: str


Approver = Callable[[Request], Awaitable[bool]]
"""Asks a person; True lets this one call run."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which calls run, which are asked about and which are refused.

    allow: classes that run unasked. TRADE is never among them: each such call is asked about, every time.
    approve: asks a person; without it, whatever would be asked about is refused.
    dry_run: nothing runs; a call answers with what it would have done.
    timeout_s: the longest a tool may take when it names no time of its own.
    most_chars: the longest answer, as JSON; a longer one is cut and says so.

    Once text that somebody else wrote has been read into a workspace, only READ runs unasked: a document that says
    "now place an order" is a document.

    >>> Policy().allow == {Permission.READ, Permission.COMPUTE}
    True
    """

    allow: frozenset[Permission] = field(default=frozenset({Permission.READ, Permission.COMPUTE}))
    approve: Approver | None = None
    dry_run: bool = False
    timeout_s: float = 120.0
    most_chars: int = 20_000

    def __post_init__(self) -> None:
        if Permission.TRADE in self.allow:
            raise InputError("tools that trade cannot be allowed in advance: each call of one is approved by a person")
        if self.timeout_s <= 0 or self.most_chars < 100:
            raise InputError("a policy needs a time-out above 0 s and room for answers of 100 characters or more")

    def question(self, permission: Permission, *, tainted: bool) -> str:
        """Return why a call has to be asked about; empty when it runs unasked.

        >>> Policy().question(Permission.COMPUTE, tainted=False)
        ''
        >>> Policy().question(Permission.COMPUTE, tainted=True)
        'compute, after text from documents was read'
        """
        if permission is Permission.READ and Permission.READ in self.allow:
            return ""
        if permission not in self.allow:
            return f"it may {permission.value}"
        return f"{permission.value}, after text from documents was read" if tainted else ""
