"""History from venues: bars and trades downloaded through ccxt into the lake.

- `pull`: download what the lake does not have yet of a range of time
- `Pulled`: what a pull did
- `names`: venues and symbols, as we and as ccxt spell them
- `client`: a venue's public REST interface, with retries
- `pages`: a range of time cut into requests that cannot lose rows
"""

from quantai.data.history.download import Pulled, pull

__all__ = ["Pulled", "pull"]
