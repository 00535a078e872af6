"""The loopback exchange: a server on 127.0.0.1 that speaks Binance's spot and USD-M futures protocol.

Any Binance client can be pointed at it: cryptofeed, ccxt, ccxt.pro, or one that is not ours at all. docs/loopback.md
says what is answered and how faults are made.

- `loopback`   LoopbackExchange: the exchange with its market, its port and its clock
- `exchange`   what is behind the sockets: engines, orders, accounts, time, the truth
- `listings`   what is listed: grids, limits, fees
- `orders`     orders and fills
- `book`, `matching`   an exact book and its engine: price, then time
- `accounts`, `money`   balances, wallets, positions and fees, exact
- `flow`, `recorded`   the market: synthetic from a seed, or acted out from rows
- `candles`, `streams`, `hub`   what is public: records, events, sockets
- `server`, `sockets`, `gate`, `routes`   requests: HTTP and WebSocket, keys and limits, the table of what is answered
- `public`, `spot_desk`, `futures_desk`, `algo_desk`, `entry`, `params`   what the requests do
- `spot_shapes`, `futures_shapes`, `refusals`   how answers, events and refusals look
- `faults`, `admin`   what goes wrong on demand, and the back door for tests
- `pointing`   a ccxt exchange pointed at it
"""

from quantai.venues.loopback.faults import Fault
from quantai.venues.loopback.listings import Listing, Product, listings
from quantai.venues.loopback.loopback import KEY, SECRET, LoopbackExchange
from quantai.venues.loopback.pointing import point_ccxt

__all__ = ["KEY", "SECRET", "Fault", "Listing", "LoopbackExchange", "Product", "listings", "point_ccxt"]
