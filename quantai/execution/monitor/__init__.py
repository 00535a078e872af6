"""What a run that trades shows of itself: nothing here decides anything, and nothing here runs for each row.

- `logs`: JSON lines, one an event, without secrets
- `status`: what a run is doing at one instant
- `monitor`: the look once a second: feeds and the disk, as alarms
- `metrics`: every metric with its meaning, measured from counters when it is asked for
- `exporter`: the metrics on a port of this machine
- `scene`: books, orders, positions and accounts, for a page
"""
