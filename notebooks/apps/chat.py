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
    from datetime import UTC, datetime
    from pathlib import Path

    import marimo as mo

    import quantai as qa
    from quantai.knowledge.web import WebPolicy

    return Path, UTC, WebPolicy, datetime, json, mo, qa, tempfile


@app.cell
def _(mo):
    request = mo.app_meta().request
    visit = (request.meta or {}).get("knowledge") if request is not None else None
    several = visit.collections if visit is not None and len(visit.collections) > 1 else []
    choice = mo.ui.dropdown(several, value=several[0], label="Collection") if several else None
    choice
    return choice, visit


@app.cell
def _(Path, WebPolicy, choice, mo, qa, tempfile, visit):
    options = mo.cli_args()
    if visit is not None:
        kb = visit if choice is None else visit.within(choice.value)
        store, adds, uploads = kb.path, kb.adds, kb.path / "uploads" / (kb.collection or "default")
    else:
        store = Path(str(options.get("store") or Path(tempfile.mkdtemp()) / "knowledge"))
        limits = WebPolicy(allow=frozenset(str(options.get("allow") or "").split()))
        kb = qa.Knowledge(store, embedding=str(options.get("embedding") or "minilm"), web=limits)
        adds, uploads = True, store / "uploads"
    talk = kb.conversation()
    get_told, set_told = mo.state("")
    mo.md("# Ask your documents\n\nEvery answer cites. A click on a citation opens the passage it stands for.")
    return adds, get_told, kb, set_told, store, talk, uploads


@app.cell
def _(kb, mo, qa, set_told, uploads):
    def add(*sources):
        try:
            done = kb.add(*sources, quiet=True)
        except qa.QuantaiError as error:
            set_told(str(error))
        else:
            count = f"{done.added + done.changed} added, {done.unchanged} unchanged"
            set_told("; ".join([*done.failed.values(), count]))

    def take(files):
        uploads.mkdir(parents=True, exist_ok=True)
        paths = [uploads / (file.name.replace("/", "_").lstrip(".") or "unnamed") for file in files]
        for path, file in zip(paths, files, strict=True):
            path.write_bytes(file.contents)
        add(*paths)

    upload = mo.ui.file(multiple=True, label="Upload files", on_change=take)
    page = mo.ui.text(placeholder="https://…", full_width=True).form(
        submit_button_label="Add page", clear_on_submit=True, on_change=lambda url: add(url) if url else None
    )
    return page, upload


@app.cell
def _(adds, get_told, kb, mo, page, upload):
    told = get_told()
    listed = [f"{one.title} · {one.kind}, {one.chunks} passage{'s' * (one.chunks != 1)}" for one in kb.list()]
    mo.sidebar(
        [
            mo.md("### Sources"),
            *([upload, page] if adds else []),
            mo.plain_text(told),
            mo.plain_text("\n".join(listed) or "nothing yet"),
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
def _(mo, qa, question, talk):
    mo.stop(not (question.value or "").strip(), mo.md("*Nothing was asked yet.*"))

    def shown(turn):
        return mo.vstack([mo.callout(mo.plain_text(turn.question)), mo.Html(turn._repr_html_())])

    earlier = [shown(turn) for turn in reversed(talk.turns)]
    try:
        stream, written = talk.stream(question.value.strip()), ""
        for piece in stream:
            written += piece
            mo.output.replace(mo.vstack([mo.plain_text(written), *earlier]))
        told_last = shown(stream.answer)
    except qa.QuantaiError as error:
        told_last = mo.plain_text(str(error))
    mo.vstack([told_last, *earlier], gap=2)
    return


@app.cell
def _(UTC, datetime, json, mo, question, store, talk):
    def keep(helped):
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        said = {"at": now, "question": talk.turns[-1].question, "helped": helped}
        with (store / "feedback.jsonl").open("a") as file:
            file.write(json.dumps(said, ensure_ascii=False) + "\n")

    helped = mo.ui.radio(["yes", "no"], label="Did it help?", inline=True, on_change=keep)
    helped if (question.value or "").strip() else None
    return


if __name__ == "__main__":
    app.run()
