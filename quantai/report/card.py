"""The card a notebook shows for a result: the key numbers and the rules behind them, in a few lines of HTML."""

from collections.abc import Sequence
from html import escape

from quantai.report.glossary import STATISTICS, shown
from quantai.report.stats import Summary
from quantai.report.tables import TILES


def card(title: str, stats: Summary, notes: Sequence[str]) -> str:
    """Return HTML with `title`, the statistics of the tear sheet's header, and `notes` folded away.

    Colours are inherited, so that it reads in light and dark notebooks alike.

    >>> "Total return" in card("Cross", {"total_return": 0.5}, ["a touch is no fill"])
    True
    """
    cells = "".join(
        f'<td style="text-align:right;padding:2px 14px" title="{escape(STATISTICS[name].meaning)}">'
        f'<span style="opacity:.65">{escape(STATISTICS[name].label)}</span><br><b>{shown(name, stats[name])}</b></td>'
        for name in TILES
        if name in stats
    )
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f'<div><b>{escape(title)}</b><table style="margin:6px 0"><tr>{cells}</tr></table>'
        f'<details><summary style="opacity:.65">what it assumes</summary><ul>{items}</ul></details></div>'
    )
