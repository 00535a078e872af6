"""Market-data feeds and the recorder. The only room that imports cryptofeed.

- `feed`: Batch: the rows of one venue message. Feed: connect, subscribe, batches out
- `venues`: what each venue sends: channels, candle intervals, sandbox; `describe(venue)`
- `symbols`: cryptofeed's symbol names and ours, both ways; instruments with the ticks cryptofeed knows
- `messages`: cryptofeed's messages as rows
- `outlet`: from cryptofeed's callbacks to the consumer: counted, numbered, bounded
- `crypto`: CryptoFeed: a venue over the network, or at a redirected address
- `capture`: CaptureFeed: recorded wire frames through the same parsers
- `redirect`: the private hooks of cryptofeed that point a feed at another address
- `watch`: supervision: silence, disconnections and reconnect storms
- `quarantine`: messages that cannot be read, put aside and counted
- `health`: how a feed is: connections, silence, delays, clocks
- `raw`: the wire frames beside the rows, and back into a feed
- `tally`: what a recording counted: messages, rows, gaps, reconnects, latency
- `recorder`: rows into the lake, acknowledged once, resumed after a crash
"""

from quantai.feeds.capture import CaptureFeed
from quantai.feeds.crypto import CryptoFeed
from quantai.feeds.feed import Batch, Feed
from quantai.feeds.recorder import record_capture, record_live
from quantai.feeds.venues import describe, venues

__all__ = ["Batch", "CaptureFeed", "CryptoFeed", "Feed", "describe", "record_capture", "record_live", "venues"]
