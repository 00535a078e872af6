"""Real exchanges through ccxt.pro: the one room, beside `data.history`, that imports it.

- `venue`: CcxtVenue, a Venue for any exchange that has a profile
- `profiles`: what is particular about each exchange; `docs/new-venue.md` says how to add one
- `order_ids`: our client order ids in the alphabets and lengths of exchanges
- `keys`: keys from the environment or the keyring, and texts without them
- `limiter`: the rate limit, orders before polling
- `verdicts`: what an error of ccxt means for the request
- `client`: the exchange object, watched from inside: every order and execution as it is parsed
- `facts`: what an exchange says of orders and executions, in exact numbers
- `ledger`: our orders at the exchange, and which answers follow from facts
- `calls`: requests as calls of ccxt
- `stream`: the user stream kept alive
- `funding`: what was charged for holding perpetuals
- `questions`: asking by REST what the stream did not tell
"""

from quantai.venues.ccxt.keys import Keys
from quantai.venues.ccxt.profiles import PROFILES, Profile, profile
from quantai.venues.ccxt.venue import CcxtVenue

__all__ = ["PROFILES", "CcxtVenue", "Keys", "Profile", "profile"]
