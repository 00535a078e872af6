"""From an intention to an order that may be sent.

- `reasons`: why a request is denied, in the order in which it is answered
- `limits`: the limits of an account, from one validated TOML file
- `exposure`: the rows that risk reads: account, instruments, working orders, recent requests
- `risk`: the pre-trade check itself, compiled and pure
"""
