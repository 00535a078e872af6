"""The parameters of a request: read by name, with Binance's refusal when one is missing or malformed."""

from decimal import Decimal, InvalidOperation

from quantai.venues.loopback.refusals import Refused


class Params(dict[str, str]):
    """What a request carries, all text.

    >>> Params(symbol="BTCUSDT", quantity="0.5").decimal("quantity")
    Decimal('0.5')
    """

    def need(self, name: str) -> str:
        """Return a parameter that must be there; raises Refused."""
        value = self.get(name, "")
        if not value:
            raise Refused.missing(name)
        return value

    def decimal(self, name: str) -> Decimal | None:
        """Return a decimal, None when it was not sent; raises Refused for what is none."""
        text = self.get(name, "")
        if not text:
            return None
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise Refused.illegal(name) from None
        if not value.is_finite():
            raise Refused.illegal(name)
        return value

    def integer(self, name: str, default: int | None = None) -> int | None:
        """Return a whole number; raises Refused for what is none."""
        text = self.get(name, "")
        if not text:
            return default
        try:
            return int(text)
        except ValueError:
            raise Refused.illegal(name) from None

    def limit(self, default: int, most: int) -> int:
        """Return how many entries are wanted, at most `most`."""
        return max(1, min(self.integer("limit", default) or default, most))

    def flag(self, name: str) -> bool:
        """Return whether a parameter says true."""
        return self.get(name, "").lower() == "true"
