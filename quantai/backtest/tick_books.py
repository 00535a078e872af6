"""The memory behind the books of a replay: that of every simulated exchange, `quantai.venues.cells`."""

from quantai.venues.cells import STANDING, Books

__all__ = ["STANDING", "Books"]
