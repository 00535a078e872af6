"""What can stand at a place in an SQL query over the lake: tables, their columns, words of SQL."""

import re

from quantai.data.tables import TABLES

WORDS = [
    "select",
    "from",
    "where",
    "group",
    "by",
    "order",
    "limit",
    "join",
    "left",
    "asof",
    "on",
    "as",
    "and",
    "or",
    "not",
    "in",
    "is",
    "null",
    "between",
    "distinct",
    "having",
    "with",
    "union",
    "all",
    "case",
    "when",
    "then",
    "else",
    "end",
    "over",
    "partition",
    "desc",
    "asc",
    "using",
    "qualify",
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "first",
    "last",
    "arg_min",
    "arg_max",
    "median",
    "quantile_cont",
    "stddev",
    "time_bucket",
    "date_trunc",
    "interval",
]
"""Words that are offered; not all that DuckDB knows."""

_NAME = re.compile(r"([A-Za-z_][\w]*\.)?([A-Za-z_]\w*)?$")


def columns_of(table: str) -> list[str]:
    """Return the columns of a view of the lake.

    >>> columns_of("quotes")[:4]
    ['venue', 'symbol', 'date', 'ts_exch']
    """
    spec = TABLES[table]
    own = ["venue", "symbol", spec.key, *spec.schema.names, "ts", "date"]
    return list(dict.fromkeys(own))


def complete(query: str, at: int) -> list[tuple[str, str]]:
    """Return what may stand at offset `at` of a query, each with what it is: table, column or word.

    Columns of tables that the query names come first; behind `alias.` only those of its table.

    >>> complete("select q.bi from quotes q", 11)
    [('q.bid', 'column'), ('q.bid_qty', 'column')]
    >>> complete("select * from tra", 17)
    [('trades', 'table')]
    """
    found = _NAME.search(query, 0, at)
    owner, begun = (found[1] or "", (found[2] or "").lower()) if found else ("", "")
    aliases = _aliases(query)
    if owner:
        table = aliases.get(owner[:-1].lower())
        return [(owner + name, "column") for name in columns_of(table) if name.startswith(begun)] if table else []
    offered = [(name, "column") for table in dict.fromkeys(aliases.values()) for name in columns_of(table)]
    if re.search(r"\b(from|join)\s+\w*$", query[:at], re.IGNORECASE):
        offered = []
    tables = [(name, "table") for name in TABLES]
    words = [(word, "word") for word in WORDS]
    everything = dict.fromkeys([*offered, *tables, *words])
    return [(name, kind) for name, kind in everything if name.startswith(begun) and name != begun]


def _aliases(query: str) -> dict[str, str]:
    """Return the tables of a query by the names it gives them, and by their own."""
    found: dict[str, str] = {}
    for table in re.finditer(rf"\b({'|'.join(TABLES)})\b(?:\s+(?:as\s+)?([A-Za-z_]\w*))?", query, re.IGNORECASE):
        name = table[1].lower()
        found[name] = name
        if table[2] and table[2].lower() not in WORDS:
            found[table[2].lower()] = name
    return found
