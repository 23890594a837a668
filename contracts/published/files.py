"""The published files' texts, the same on every machine: what is committed must be what this returns."""

import json
from collections.abc import Mapping
from typing import Any

from contracts.published import asyncapi, openapi
from contracts.published.catalogue import CATALOGUE, schema

#: The files of the AsyncAPI document, of messages, and of the OpenAPI document, of reads.
ASYNCAPI = "asyncapi.json"
OPENAPI = "openapi.json"


def texts() -> Mapping[str, str]:
    """Return every published file's text by its path below `contracts/schemas/`."""
    found = {publication.path: as_text(schema(publication)) for publication in CATALOGUE.values()}
    return {**found, ASYNCAPI: as_text(asyncapi.document()), OPENAPI: as_text(openapi.document())}


def as_text(document: Mapping[str, Any]) -> str:
    """Return a JSON document as it is published: indented, in UTF-8, with a line end."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
