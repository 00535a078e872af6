"""Venues: whatever turns intents into rows.

- `venue`     Venue, Request, Answer: what all of them have in common
- `answers`   answers on their way to who reads them
- `paper`     the simulated exchange on live rows, as a venue
- `simulated` its exchange, fed while time goes on
- `holdings`  what an account at it holds; `funding` what it is charged for that
- `ccxt`      real exchanges, through ccxt.pro

The simulated exchange, compiled and without any I/O:

- `rules`     SimVenue, every assumption of a simulated exchange by its name
- `latency`   Latency: constant, normal or recorded
- `queue`     where a resting order stands in its level
- `book`      books by tick, dense or hashed
- `cells`     the memory behind them
- `matching`  what a market row does to our resting orders
- `requests`  what the exchange does with a request of ours
- `stops`     stops that wait, and what wakes them
- `reporting` what the exchange tells us
- `exchange`  the exchange in batches
- `tiles`     the books of a stretch of rows, for many runs at once
- `shared`    the exchange of a run that shares them
- `wire`      requests and reports on their way
"""

from quantai.venues.latency import RECORDED, Latency
from quantai.venues.rules import SimVenue

__all__ = ["RECORDED", "Latency", "SimVenue"]
