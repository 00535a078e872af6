"""Which reader a suffix or a content type means, and what a reader may be given."""

import io
import re
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from quantai.core.errors import DataError
from quantai.knowledge.passages import Reading

MAX_UNPACKED = 256 << 20
"""Bytes that a packed document may unpack to."""

MAX_MARKUP = 32 << 20
"""Bytes of it that may be packed to less than a quarter, as XML is: in memory its elements take many times as much."""

KINDS = {
    "markdown": ("markup", ".md .markdown .mdx .rst", "text/markdown text/x-markdown"),
    "text": ("markup", ".txt .text .log", "text/plain"),
    "html": ("markup", ".html .htm .xhtml", "text/html application/xhtml+xml"),
    "pdf": ("paper", ".pdf", "application/pdf"),
    "docx": ("paper", ".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    "slides": ("paper", ".pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    "notebook": ("source", ".ipynb", "application/x-ipynb+json"),
    "python": ("source", ".py", "text/x-python"),
    "csv": ("tables", ".csv .tsv", "text/csv"),
    "parquet": ("tables", ".parquet .pq", "application/vnd.apache.parquet"),
}
"""Kind -> the module that reads it, its suffixes, its content types."""

_BY_SUFFIX = {suffix: kind for kind, (_, suffixes, _) in KINDS.items() for suffix in suffixes.split()}
_BY_TYPE = {content: kind for kind, (_, _, contents) in KINDS.items() for content in contents.split()}
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
_ENCODINGS = re.compile(
    r"(iso[-_]?8859|windows|cp|koi8|euc|big5|gb|mac|tis|utf[-_]?(8|16|32)|us-ascii|latin|shift[-_]?jis|sjis).*",
    re.IGNORECASE,
)
"""Encodings that pages are in; Python knows others, some of which are no text or take for ever."""


def is_known(name: str) -> bool:
    """Say whether a file of this name can be read.

    >>> is_known("a/paper.PDF"), is_known("movie.mp4")
    (True, False)
    """
    return PurePosixPath(name).suffix.lower() in _BY_SUFFIX


def is_known_type(content_type: str) -> bool:
    """Say whether a page of this content type can be read; one without a type is judged by its name."""
    plain = content_type.split(";", 1)[0].strip().lower()
    return plain in _BY_TYPE or plain in ("", "application/octet-stream", "application/xml", "text/xml")


def kind_of(name: str, content_type: str = "") -> str:
    """Return the kind of a file or page; a content type that says something wins over the name.

    Raises DataError when neither is known.

    >>> kind_of("https://host/page", "text/html; charset=utf-8")
    'html'
    """
    plain = content_type.split(";", 1)[0].strip().lower()
    path = urlsplit(name).path if "://" in name else name
    by_name = _BY_SUFFIX.get(PurePosixPath(path).suffix.lower())
    if plain == "text/plain" and by_name:  # servers call Markdown, Python and CSV so
        return by_name
    kind = _BY_TYPE.get(plain) or by_name
    if kind is None:
        known = " ".join(_BY_SUFFIX)
        raise DataError(f"{name}: cannot read {plain or 'files of this kind'}; known are {known}")
    return kind


def read(data: bytes, name: str, content_type: str = "") -> Reading:
    """Return the title and chunks of a document; raises DataError when it is not what it claims to be."""
    kind = kind_of(name, content_type)
    if kind in ("docx", "slides"):  # whatever they begin with: an archive is found from its end
        _check_unpacked(data, name)
    elif (charset := _CHARSET.search(content_type)) and kind in ("html", "text", "markdown", "python", "csv"):
        data = _as_utf8(data, charset[1])
    reader: Callable[[bytes, str], Reading] = getattr(
        import_module(f"quantai.knowledge.readers.{KINDS[kind][0]}"), f"read_{kind}"
    )
    try:
        return reader(data, name)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{name}: too large to be read") from error
    except Exception as error:
        raise DataError(f"{name}: not a readable {kind} file ({type(error).__name__}: {error})") from error


def _check_unpacked(data: bytes, name: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            sizes = [(entry.file_size, entry.compress_size) for entry in packed.infolist()]
    except zipfile.BadZipFile as error:
        raise DataError(f"{name}: damaged ({error})") from error
    tight = sum(size for size, packed in sizes if size > 4 * packed)
    for size, most in ((tight, MAX_MARKUP), (sum(size for size, _ in sizes), MAX_UNPACKED)):
        if size > most:
            raise DataError(f"{name}: unpacks to {size >> 20} MB, more than the {most >> 20} MB allowed")


def _as_utf8(data: bytes, charset: str) -> bytes:
    """Return text in UTF-8 that a server says is in another encoding; what is not in it stays for `decode`."""
    for encoding in ("utf-8", charset if _ENCODINGS.fullmatch(charset) else "utf-8"):  # many servers say it wrong
        try:
            return data.decode(encoding).encode()
        except (LookupError, UnicodeError):
            continue
    return data


def title_from(name: str) -> str:
    """Return a title where the document has none: its file name.

    >>> title_from("docs/fills.md"), title_from("https://host/a/b/")
    ('fills.md', 'host/a/b')
    """
    if "://" in name:
        at = urlsplit(name)
        return f"{at.netloc}{at.path}".rstrip("/")
    return PurePosixPath(name).name


_CONTROL = re.compile(r"[\0-\x06\x0e-\x1a\x1c-\x1f]")


def decode(data: bytes) -> str:
    """Return text in the encoding that it most likely is in, with plain line ends; raises ValueError for no text."""
    text = _decoded(data)
    if "\0" in text or 20 * len(_CONTROL.findall(text, 0, 10_000)) > len(text[:10_000]):
        raise ValueError("it holds no text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(data: bytes) -> str:
    for encoding in ("utf-8-sig", "utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("cp1252", errors="replace")
