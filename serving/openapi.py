"""What the HTTP interfaces say of themselves, as OpenAPI 3.1: what is asked for, what comes back, and who may."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
ANY: Json = {"type": "object"}
NUMBERS: Json = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
_REFUSALS = {
    400: "The request makes no sense.",
    401: "A key is needed.",
    403: "This key may read only.",
    409: "It cannot be done now: the answer says why.",
    413: "More than the service takes at once.",
    429: "Too many calls with this key.",
}


def table(name: str) -> Json:
    """Return the schema of an answer that holds a list of objects under a name."""
    return fields({name: {"type": "array", "items": ANY}})


def fields(properties: Json, required: tuple[str, ...] | None = None) -> Json:
    """Return the schema of an object; all its fields are required unless said otherwise."""
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required)}


def operation(
    says: str,
    answer: Json,
    *,
    takes: Json | None = None,
    query: Mapping[str, Json] | None = None,
    refuses: tuple[int, ...] = (),
    decides: bool = False,
    media: str = "application/json",
) -> Json:
    """Describe one method of a path: its answer, its body, its query, and the statuses it refuses with."""
    codes = sorted({401, 429, *refuses, *((403, 409) if decides else ()), *((400, 413) if takes else ())})
    found: Json = {
        "summary": says,
        "responses": {
            "200": {"description": "Done.", "content": {media: {"schema": answer}}},
            **{str(code): {"$ref": f"#/components/responses/{code}"} for code in codes},
        },
        "tags": ["decide" if decides else "read"],
    }
    if takes is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": takes}}}
    if query:
        found["parameters"] = [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    return found


def probe(says: str) -> Json:
    """Describe a path that a load balancer asks, without a key."""
    answers = {"200": {"description": "Yes."}, "503": {"description": "No."}}
    return {"get": {"summary": says, "responses": answers, "security": [], "tags": ["read"]}}


def specification(title: str, about: str, version: str, paths: Mapping[str, Json]) -> Json:
    """Return the whole document; `paths` are operations by method, by path."""
    error = fields({"error": {"type": "string"}})
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "description": about, "version": version},
        "paths": dict(paths),
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "responses": {
                str(code): {"description": says, "content": {"application/json": {"schema": error}}}
                for code, says in _REFUSALS.items()
            },
        },
        "security": [{"key": []}, {"bearer": []}],
    }
