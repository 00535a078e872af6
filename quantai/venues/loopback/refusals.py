"""How the exchange says no: Binance's error codes with the HTTP status and the words that go with them."""

from typing import Any

from quantai.core.errors import VenueError


class Refused(VenueError):
    """A request the exchange refuses; it becomes an answer on the wire and never leaves the server.

    >>> Refused.unknown_symbol().body()
    {'code': -1121, 'msg': 'Invalid symbol.'}
    """

    def __init__(self, code: int, message: str, status: int = 400, data: Any = None) -> None:
        super().__init__(f"{code} {message}")
        self.code, self.message, self.status, self.data = code, message, status, data

    def body(self) -> dict[str, Any]:
        """Return what the answer holds."""
        return {"code": self.code, "msg": self.message} | ({} if self.data is None else {"data": self.data})

    @classmethod
    def missing(cls, name: str) -> "Refused":
        """Return the refusal of a request without a parameter it needs."""
        return cls(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")

    @classmethod
    def illegal(cls, name: str) -> "Refused":
        """Return the refusal of a parameter that is not what it should be."""
        return cls(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^([0-9]{{1,20}})$'.")

    @classmethod
    def unknown_symbol(cls) -> "Refused":
        """Return the refusal of a symbol that is not listed."""
        return cls(-1121, "Invalid symbol.")

    @classmethod
    def filter(cls, name: str) -> "Refused":
        """Return the refusal of a spot order that breaks a filter."""
        return cls(-1013, f"Filter failure: {name}")

    @classmethod
    def unknown_order(cls) -> "Refused":
        """Return the refusal to cancel what is not open."""
        return cls(-2011, "Unknown order sent.")

    @classmethod
    def no_such_order(cls) -> "Refused":
        """Return the refusal to show an order that never was."""
        return cls(-2013, "Order does not exist.")
