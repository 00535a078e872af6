"""Ask a knowledge base in the browser: upload files, add pages, ask, open citations, say whether the answer helped.

    marimo run notebooks/apps/chat.py -- --store datasets/knowledge

Without --store it keeps what it is given in a scratch folder; --allow HOST:PORT lets it read pages of the own network. A chat
model answers, word by word, where one is configured; else the passages are the answer. The knowledge service shows it at
/chat, with the documents that the visitor's key may see.
"""

import marimo

__generated_with = "0.25.2"

app = marimo.App(width="medium", app_title="quantai: ask your documents")


@app.cell
def _():
    import json
    import tempfile
    from dataclasses import replace
    from datetime import UTC, datetime
    from html import escape
    from pathlib import Path

    import marimo as mo

    import quantai as qa
    from quantai.knowledge.readers import is_known
    from quantai.knowledge.web import WebPolicy

    def lines(text):
        return mo.Html(f'<div style="white-space:pre-wrap;overflow-wrap:anywhere">{escape(text)}</div>')

    return Path, UTC, WebPolicy, datetime, is_known, json, lines, mo, qa, replace, tempfile


@app.cell
def _(mo):
    request = mo.app_meta().request
    visit = (request.meta or {}).get("knowledge") if request is not None else None
    several = visit.collections if visit is not None and len(visit.collections) > 1 else []
    choice = mo.ui.dropdown(several, value=several[0], label="Collection") if several else None
    choice
    return choice, visit


@app.cell
def _(Path, WebPolicy, choice, lines, mo, qa, tempfile, visit):
    options = mo.cli_args()
    if visit is not None:
        kb = visit if choice is None else visit.within(choice.value)
        store, adds, uploads = kb.path, kb.adds, kb.path / "uploads" / (kb.collection or "default")
    else:
        store = Path(str(options.get("store") or Path(tempfile.mkdtemp()) / "knowledge"))
        limits = WebPolicy(allow=frozenset(str(options.get("allow") or "").split()))
        try:
            kb = qa.Knowledge(store, embedding=str(options.get("embedding") or "minilm"), web=limits)
        except qa.QuantaiError as error:
            mo.stop(True, mo.callout(lines(str(error)), kind="danger"))
        adds, uploads = True, store / "uploads"
    talk = kb.conversation()
    get_told, set_told = mo.state("")
    mo.md("# Ask your documents\n\nEvery answer cites. A click on a citation opens the passage it stands for.")
    return adds, get_told, kb, set_told, store, talk, uploads


@app.cell
def _(is_known, kb, mo, qa, set_told, tempfile, uploads):
    def add(sources, refused):
        try:
            done = kb.add(*sources, quiet=True)
        except qa.QuantaiError as error:
            said = [str(error)]
        else:
            said = [*done.failed.values(), f"{done.added + done.changed} added, {done.unchanged} unchanged"]
        set_told("\n".join([*refused, *said]).replace(f"{uploads.absolute()}/", ""))

    def take(files):
        names = [file.name.replace("/", "_").lstrip(".").encode()[-200:].decode(errors="ignore") for file in files]
        mo.status.toast("Reading …", ", ".join(names).replace("<", "&lt;"))
        uploads.mkdir(parents=True, exist_ok=True)
        kept = []
        for name, file in zip(names, files, strict=True):
            if is_known(name):
                with tempfile.NamedTemporaryFile(dir=uploads, prefix=".", delete=False) as temporary:
                    temporary.write(file.contents)
                kept.append(uploads.joinpath(temporary.name).rename(uploads / name))
        add(kept, [f"{name}: files of this kind cannot be read" for name in names if not is_known(name)])

    def fetch(url):
        if url and url.strip().lower().startswith(("http://", "https://")):
            mo.status.toast("Fetching …")
            add([url.strip()], [])
        elif url:  # never a path: it would be one of the machine that serves the page
            set_told(f"{url}: write the address of a page, such as https://example.org/page")

    upload = mo.ui.file(multiple=True, label="Upload files", on_change=take)
    page = mo.ui.text(placeholder="https://…", full_width=True).form(
        submit_button_label="Add page", clear_on_submit=True, on_change=fetch
    )
    return page, upload


@app.cell
def _(adds, get_told, kb, lines, mo, page, upload):
    told = get_told()
    listed = [f"{one.title} · {one.kind}, {one.chunks} passage{'s' * (one.chunks != 1)}" for one in kb.list()]
    mo.sidebar(
        [
            mo.md("### Sources"),
            *([upload, page] if adds else []),
            lines(told),
            lines("\n".join(listed) or "nothing yet"),
        ],
        width="24rem",
    )
    return


@app.cell
def _(mo):
    question = mo.ui.text_area(placeholder="What do you want to know?", full_width=True, rows=2).form(
        submit_button_label="Ask", clear_on_submit=True
    )
    question
    return (question,)


@app.cell
def _(Path, lines, mo, qa, question, replace, talk):
    def seen(passage):
        """A file of this machine has no address that a page may open: its passage is shown, without a link."""
        web = passage.source.startswith(("http://", "https://"))
        return passage if web else replace(passage, source=Path(passage.source).name)

    def shown(turn):
        passages = tuple(seen(passage) for passage in turn.passages)
        answer = replace(turn, passages=passages)._repr_html_()
        return mo.vstack([mo.callout(lines(turn.question)), mo.Html(answer)])

    earlier = [shown(turn) for turn in reversed(talk.turns)]
    nothing = mo.vstack(earlier, gap=2) if earlier else mo.md("*Nothing was asked yet.*")
    mo.stop(not (question.value or "").strip(), nothing)
    try:
        stream, written = talk.stream(question.value.strip()), ""
        for piece in stream:
            written += piece
            mo.output.replace(mo.vstack([lines(written), *earlier]))
        told_last = shown(stream.answer)
    except qa.QuantaiError as error:
        told_last = lines(str(error))
    mo.vstack([told_last, *earlier], gap=2)
    return


@app.cell
def _(UTC, datetime, json, mo, question, store):
    def keep(helped):
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        said = {"at": now, "question": question.value.strip(), "helped": helped}
        with (store / "feedback.jsonl").open("a") as file:
            file.write(json.dumps(said, ensure_ascii=False) + "\n")

    helped = mo.ui.radio(["yes", "no"], label="Did it help?", inline=True, on_change=keep)
    helped if (question.value or "").strip() else None
    return


if __name__ == "__main__":
    app.run()
