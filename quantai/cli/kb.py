"""`quantai kb`: a knowledge base of files and pages, searched and asked offline."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantai.cli.output import Json, console, emit
from quantai.cli.passages import show_answer, show_hits, show_writing

if TYPE_CHECKING:
    from quantai.knowledge import Knowledge
    from quantai.knowledge.answers import ChatSettings

EXAMPLES = """
quantai kb add docs/ paper.pdf https://example.org/sitemap.xml --tag research
quantai kb search "queue position of a limit order" --k 5
quantai kb ask "How does a stop order fill when the market gaps?"
quantai kb eval ../shared/data/knowledge/tatqa --json
quantai kb list --json | jq '.documents[].source'
"""

Store = Annotated[Path | None, typer.Option(help="Folder of the store; the setting knowledge.path when not given.")]
Collection = Annotated[str | None, typer.Option(help="Only this collection.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be given several times.", metavar="TAG")]
Since = Annotated[str, typer.Option(help="First day, 2024-01-31.", metavar="DATE")]
Until = Annotated[str, typer.Option(help="Last day.", metavar="DATE")]
Source = Annotated[str | None, typer.Option(help="Only this document, or those under this folder.")]
Embedding = Annotated[str, typer.Option(help='"minilm" (offline), "none", or LangChain\'s "provider:model".')]


def kb() -> None:
    """A knowledge base: files and pages go in, passages with citations come out.

    It works offline; a chat model answers only where QUANTAI_CHAT_MODEL or --model names one. Every command takes
    --json.
    """


def add(
    sources: Annotated[list[str], typer.Argument(help="Files, folders, URLs, sitemaps.")],
    store: Store = None,
    collection: Annotated[str, typer.Option(help="The collection they go into.")] = "default",
    tags: Tags = None,
    date: Annotated[str, typer.Option(help="Their day, if not the day the file changed.", metavar="DATE")] = "",
    embedding: Embedding = "minilm",
    allow: Annotated[
        list[str] | None, typer.Option(help="HOST:PORT of the own network that may be fetched.", metavar="HOST:PORT")
    ] = None,
    json: Json = False,
) -> None:
    """Add files, folders, pages; or bring them up to date.

    What is unchanged costs nothing, what is gone from a folder is removed. What cannot be read is listed as failed and
    stops nothing else.
    """
    from quantai.core.errors import InputError
    from quantai.knowledge.passages import printable
    from quantai.knowledge.web import WebPolicy

    if wrong := [each for each in allow or () if not re.fullmatch(r"\S+:\d{1,5}", each)]:
        raise InputError(f"--allow {wrong[0]}: write HOST:PORT, such as wiki.lan:443")
    with _open(store, embedding, web=WebPolicy(allow=frozenset(allow or ()))) as base:
        done = base.add(*sources, collection=collection, tags=tags or (), date=date, quiet=json)
        answer = {**done.as_dict(), "documents": len(base.list()), "store": base.path}
    if done.failed and not (done.added or done.changed or done.unchanged or done.removed):
        raise InputError("; ".join(done.failed.values()))
    if not (json or done.failed or done.added or done.changed or done.unchanged or done.removed):
        answer["notes"] = [*done.notes, f"there is nothing to read in {', '.join(sources)}"]
    # a reason names its source: for people that is enough
    emit(answer if json else {**answer, "failed": list(map(printable, done.failed.values()))}, json)


def listing(store: Store = None, collection: Collection = None, json: Json = False) -> None:
    """List the documents of the store."""
    from quantai.knowledge.passages import printable

    with open_existing(store, "none") as base:
        documents = base.list(collection)
        if json:
            emit({"documents": documents, "count": len(documents), "store": base.path}, json)
            return
        lines = [
            printable(f"{each.source} ({each.title}, {each.chunks} chunk{'s' * (each.chunks != 1)}, {each.collection})")
            for each in documents
        ]
        emit({"store": base.path, "count": len(documents), "documents": lines}, json)


def remove(
    sources: Annotated[list[str], typer.Argument(help="Documents, or folders whose documents go.")],
    store: Store = None,
    collection: Collection = None,
    json: Json = False,
) -> None:
    """Remove documents from the store; the files themselves stay."""
    from quantai.core.errors import InputError

    removed, failed = 0, dict[str, str]()
    with open_existing(store, "none") as base:
        for source in sources:
            try:
                removed += base.remove(source, collection)
            except InputError as error:
                failed[source] = str(error)
        left = len(base.list())
    if not removed:
        raise InputError("; ".join(failed.values()))
    answer: dict[str, Any] = {"removed": removed, "documents": left}
    if json:
        emit({**answer, "failed": failed}, json)
    else:
        emit({**answer, "failed": list(failed.values())} if failed else answer, json)


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option(help="How many passages.", min=1)] = 10,
    store: Store = None,
    collection: Collection = None,
    source: Source = None,
    tags: Tags = None,
    since: Since = "",
    until: Until = "",
    stage: Annotated[str, typer.Option(help="How to rank: fused, rrf, bm25 or dense.")] = "fused",
    embedding: Embedding = "minilm",
    json: Json = False,
) -> None:
    """Find passages, best first, each with where it stands."""
    from quantai.core.errors import UnknownName
    from quantai.knowledge.search import STAGES

    if stage not in STAGES:
        raise UnknownName("stage", stage, STAGES)
    with open_existing(store, embedding) as base:
        hits = base.search(
            query, k, collection=collection, source=source, tags=tags or (), since=since, until=until, stage=stage
        )
    if json:
        emit(hits.as_dict(), json)
    else:
        show_hits(hits)


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    k: Annotated[int, typer.Option(help="How many passages to answer from.", min=1)] = 5,
    store: Store = None,
    collection: Collection = None,
    source: Source = None,
    tags: Tags = None,
    since: Since = "",
    until: Until = "",
    embedding: Embedding = "minilm",
    model: Annotated[str | None, typer.Option(help='Chat model, "provider:model"; $QUANTAI_CHAT_MODEL.')] = None,
    url: Annotated[str | None, typer.Option(help="A server that speaks OpenAI's protocol; $QUANTAI_CHAT_URL.")] = None,
    json: Json = False,
) -> None:
    """Answer a question, with citations.

    The answer is the passages themselves or, where a chat model is configured, a text of the model that cites them.
    """
    with open_existing(store, embedding, chat=_chat(model, url)) as base:
        stream = base.stream(
            question, k, collection=collection, source=source, tags=tags or (), since=since, until=until
        )
        if not json:
            show_writing(stream, console())
        answer = stream.answer
    if json:
        emit(answer.as_dict(), json)
    else:
        show_answer(answer)


def evaluate(
    folder: Annotated[Path, typer.Argument(help="corpus.jsonl, queries.jsonl, qrels/*.tsv.", metavar="DIR")],
    store: Annotated[
        Path | None, typer.Option(help="Where the set is indexed; kept in a scratch folder if not given.")
    ] = None,
    embedding: Embedding = "minilm",
    json: Json = False,
) -> None:
    """Measure the search on a set in BEIR's layout, stage by stage."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch, _open(store or Path(scratch), embedding) as base:
        emit(base.evaluate(folder, quiet=json), json)


VERBS = {"add": add, "list": listing, "remove": remove, "search": search, "ask": ask, "eval": evaluate}
"""The commands below `quantai kb`."""


def _open(store: Path | None, embedding: str, **settings: Any) -> "Knowledge":
    from quantai.knowledge import Knowledge

    return Knowledge(store, embedding=embedding, **settings)


def open_existing(store: Path | None, embedding: str = "minilm", **settings: Any) -> "Knowledge":
    """Open a store to look into it: one that is not there is not made, as a misspelt one would be.

    `store` None is the setting knowledge.path; `settings` are those of `Knowledge`. Raises InputError.
    """
    from quantai.core.errors import InputError
    from quantai.knowledge.embedding import choose
    from quantai.ops import config

    choose(embedding)  # a wrong word is refused first
    path = (store or config.settings().knowledge.path).expanduser()
    if not (path / "manifest.sqlite").exists():
        raise InputError(f"there is no knowledge base in {path}: make one with `quantai kb add PATH`")
    return _open(store, embedding, **settings)


def _chat(model: str | None, url: str | None) -> "ChatSettings | None":
    from quantai.core.errors import InputError
    from quantai.knowledge.answers import ChatSettings

    if url and not url.startswith(("http://", "https://")):
        raise InputError(f"--url {url}: write it like http://127.0.0.1:11434/v1")
    if model:
        return ChatSettings(model, url)
    if url:
        raise InputError("--url names a server: say with --model which of its models answers")
    return None
