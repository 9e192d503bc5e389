"""
The types of single values in the native format: how each is read (`_native_values`), and how an editor checks it.

The JSON Schema beside a type also takes `${NAME}` where the value can come from the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from wardgate.dialects import _native_values as values
from wardgate.dialects._native_values import HostPort, PathForm, Target, refused
from wardgate.policy import PathKind

Schema = dict[str, Any]

REFERENCE: Final[Schema] = {"type": "string", "pattern": r"\$\{.+\}"}
TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {
    "anyOf": [{"type": "boolean"}, {"type": "string", "pattern": r"^(true|false)$|\$\{.+\}"}]
}
COUNT: Final[Schema] = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+$|\$\{.+\}"}]
}
DURATION: Final[Schema] = {
    "type": "string",
    "pattern": r"^([0-9]+(\.[0-9]+)?(us|ms|d|h|m|s))+$|\$\{.+\}",
    "examples": ["30s", "5m", "1h30m", "250ms"],
}
SIZE: Final[Schema] = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {
            "type": "string",
            "pattern": r"^[0-9]+(B|[kKMG]B|[KMG]iB)?$|\$\{.+\}",
            "examples": ["50MB", "64KiB"],
        },
    ]
}
PATH: Final[Schema] = {
    "anyOf": [
        {"type": "string", "pattern": r"^/|\$\{.+\}", "examples": ["/health", "/api/**"]},
        {
            "type": "object",
            "properties": {kind.value: TEXT for kind in PathKind},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ]
}


def read_by(read: Callable[[Any], Any], schema: Schema) -> tuple[PlainValidator, WithJsonSchema]:
    """What a type is annotated with: how it is read, and how an editor checks it."""
    return PlainValidator(read), WithJsonSchema(schema)


def one_of(kind: type[StrEnum]) -> tuple[PlainValidator, WithJsonSchema]:
    """A word out of a few."""
    names = [str(member) for member in kind]

    def read(value: object) -> StrEnum:
        if isinstance(value, str) and value in names:
            return kind(value)
        raise refused(
            "value-choice", "is not one of the words that can stand here", f"one of {', '.join(names)}"
        )

    return read_by(read, {"anyOf": [{"enum": names}, REFERENCE]})


def wrapped(value: object) -> object:
    """One value as a list of one: a key that takes several takes one without brackets too."""
    return [value] if isinstance(value, str) else value


def several(item: Schema) -> tuple[BeforeValidator, WithJsonSchema]:
    """What a list is annotated with, where one item needs no brackets."""
    return BeforeValidator(wrapped), WithJsonSchema({"anyOf": [item, {"type": "array", "items": item}]})


Text = Annotated[str, *read_by(values.text, TEXT)]
Filled = Annotated[str, *read_by(values.filled, {"type": "string", "minLength": 1})]
Flag = Annotated[bool, *read_by(values.flag, FLAG)]
Count = Annotated[int, *read_by(values.count, COUNT)]
Size = Annotated[int, *read_by(values.size, SIZE)]
Duration = Annotated[timedelta, *read_by(values.duration, DURATION)]
Keepalive = Annotated[
    timedelta | None, *read_by(values.keepalive, {"anyOf": [{"enum": ["off", False]}, DURATION]})
]
Listen = Annotated[HostPort, *read_by(values.host_port, {"type": "string", "examples": ["0.0.0.0:3000"]})]
Network = Annotated[str, *read_by(values.network, TEXT)]
Method = Annotated[str, *read_by(values.method, {"type": "string", "examples": ["GET", "POST"]})]
RoutePath = Annotated[PathForm, *read_by(values.path, PATH)]
ClaimPath = Annotated[
    tuple[str, ...],
    *read_by(values.claim_path, {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}),
]
HostNames = Annotated[
    tuple[Annotated[str, *read_by(values.host_name, TEXT)], ...], *several(TEXT), Field(min_length=1)
]
ExactHosts = Annotated[
    tuple[Annotated[str, *read_by(values.exact_host, TEXT)], ...], *several(TEXT), Field(min_length=1)
]
RedirectHosts = Annotated[
    tuple[Annotated[str, *read_by(values.redirect_host, TEXT)], ...], *several(TEXT), Field(min_length=1)
]
EmailDomains = Annotated[
    tuple[Annotated[str, *read_by(values.email_domain, TEXT)], ...], *several(TEXT), Field(min_length=1)
]
CookieName = Annotated[str, *read_by(values.cookie_name, TEXT)]
CookieDomain = Annotated[str, *read_by(values.cookie_domain, TEXT)]
CookiePath = Annotated[str, *read_by(values.cookie_path, {"type": "string", "examples": ["/"]})]
StoreAddress = Annotated[
    str, *read_by(values.store, {"type": "string", "examples": ["local", "cookie", "redis://redis:6379/0"]})
]
Url = Annotated[str, *read_by(values.url, TEXT)]
OwnAddress = Annotated[
    str, *read_by(values.own_address, {"type": "string", "examples": ["https://app.example.com"]})
]
OwnPath = Annotated[str, *read_by(values.own_path, {"type": "string", "examples": ["/home"]})]
Audience = Annotated[tuple[str, ...] | None, *read_by(values.audience, several(TEXT)[1].json_schema or TEXT)]
Prefix = Annotated[str, *read_by(values.prefix, {"type": "string", "examples": ["/oauth"]})]
Segment = Annotated[str, *read_by(values.segment, {"type": "string", "examples": ["health"]})]
TlsVersion = Annotated[str, *read_by(values.tls_version, {"enum": ["1.2", "1.3", 1.2, 1.3]})]
Jwks = Annotated[str, *read_by(values.jwks, {"anyOf": [TEXT, {"type": "object", "required": ["keys"]}]})]
Texts = Annotated[tuple[Text, ...], *several(TEXT)]
Filleds = Annotated[tuple[Filled, ...], *several({"type": "string", "minLength": 1})]
Methods = Annotated[tuple[Method, ...], *several({"type": "string", "examples": ["GET", "POST"]})]
Networks = Annotated[tuple[Network, ...], *several(TEXT)]
Targets = Annotated[
    tuple[Annotated[Target, *read_by(values.target, TEXT)], ...],
    *several({"type": "string", "pattern": r"^https?://|\$\{.+\}", "examples": ["http://app:8080"]}),
]
