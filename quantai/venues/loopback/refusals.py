"""How the exchange says no: Binance's error codes with the HTTP status and the words that go with them."""

from typing import Any

from quantai.core.errors import VenueError

_WORDS = {
    -1000: "An unknown error occurred while processing the request.",
    -1001: "Internal error; unable to process your request. Please try again.",
    -1003: "Too many requests; please use the websocket for live updates to avoid bans.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1008: "Server is currently overloaded with other requests. Please try again in a few minutes.",
    -1013: "Filter failure: LOT_SIZE",
    -1015: "Too many new orders.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1121: "Invalid symbol.",
    -2010: "Account has insufficient balance for requested action.",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2015: "Invalid API-key, IP, or permissions for action.",
    -2019: "Margin is insufficient.",
}


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
    def of(cls, code: int, status: int = 400) -> "Refused":
        """Return a refusal with a code and Binance's own words for it."""
        return cls(code, _WORDS.get(code, "Refused."), status)

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
        return cls.of(-1121)

    @classmethod
    def filter(cls, name: str) -> "Refused":
        """Return the refusal of a spot order that breaks a filter."""
        return cls(-1013, f"Filter failure: {name}")

    @classmethod
    def unknown_order(cls) -> "Refused":
        """Return the refusal to cancel what is not open."""
        return cls.of(-2011)

    @classmethod
    def no_such_order(cls) -> "Refused":
        """Return the refusal to show an order that never was."""
        return cls.of(-2013)
