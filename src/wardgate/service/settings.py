"""
What the supervisor tells the service: one file of JSON that only this user can read.

It holds parts of the policy as they are, secrets in the clear (the service has to use them), and where things are. The
service is told again by SIGHUP. The form is not for people: `encode` and `decode` follow the types of the fields.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from wardgate.keystore import KeySource
from wardgate.policy import (
    Approvals,
    Audiences,
    Credentials,
    Endpoints,
    Kind,
    Login,
    Mode,
    Policy,
    Provider,
    RawToken,
    Secret,
    Session,
    Source,
    UncheckedAudience,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTerms:
    """What login has to know of one virtual host: its names, and the origins that CORS lets in."""

    names: tuple[str, ...]
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """
    `hosts` are those of every listener. `sources` are the issuers whose keys are fetched.

    `forwards` are the tokens that some route hands to its upstream: no others leave the service.
    """

    public_socket: str
    control_socket: str
    keys: str
    state: str
    sources: tuple[KeySource, ...] = ()
    providers: tuple[Provider, ...] = ()
    session: Session | None = None
    approvals: Approvals | None = None
    endpoints: Endpoints = field(default_factory=Endpoints)
    hosts: tuple[HostTerms, ...] = ()
    forwards: tuple[Source, ...] = ()
    userinfo: bool = False

    def as_json(self) -> str:
        return json.dumps(encode(self))

    @classmethod
    def from_json(cls, text: str) -> ServiceSettings:
        """Raises ValueError, KeyError or TypeError for what `as_json` did not write."""
        return decode(cls, json.loads(text))

    @property
    def login_providers(self) -> tuple[Provider, ...]:
        """Where browsers can log in (`policy.Policy.login_providers`)."""
        return tuple(p for p in self.providers if p.client_id is not None) if self.session else ()

    @property
    def callback_path(self) -> str:
        """Where issuers send browsers back to."""
        return next((one.callback for one in self.login_of.values()), f"{self.endpoints.prefix}/callback")

    @property
    def logout_path(self) -> str:
        """Where our own pages let people log out."""
        return next((one.logout for one in self.login_of.values()), f"{self.endpoints.prefix}/logout")

    def of_login(self, login: Login) -> ServiceSettings:
        """The same for logins that have a session of their own."""
        providers = tuple(p for p in self.providers if p.login == login)
        return replace(self, session=login.session, providers=providers)

    @property
    def login_of(self) -> Mapping[str, Login]:
        """By the provider's name."""
        return {p.name: p.login for p in self.login_providers if p.login is not None}


def of_policy(policy: Policy) -> dict[str, Any]:
    """The fields of `ServiceSettings` that a policy gives."""
    hosts = tuple(
        HostTerms(names=host.names, origins=host.cors.origins if host.cors else ())
        for listener in policy.listeners
        for host in listener.hosts
    )
    return {
        "providers": policy.providers,
        "session": policy.session,
        "approvals": policy.approvals,
        "endpoints": policy.endpoints,
        "hosts": hosts,
        "forwards": _forwards(policy),
        "userinfo": _reads_userinfo(policy),
    }


def _forwards(policy: Policy) -> tuple[Source, ...]:
    if policy.session is None:
        return ()
    found = set()
    for _, _, route in policy.routes():
        if not _takes_sessions(route.credentials):
            continue
        forward, session = route.forward_authorization, policy.session_of(route.credentials) or policy.session
        if session.forward_authorization if forward is None else forward:
            found.add(Source.ACCESS)
        found |= {h.value.source for h in route.identity if isinstance(h.value, RawToken)}
    return tuple(sorted(found))


def _reads_userinfo(policy: Policy) -> bool:
    sources = (header.value.source for _, _, route in policy.routes() for header in route.identity)
    return Source.USERINFO in sources


def _takes_sessions(credentials: Credentials) -> bool:
    return credentials.mode is not Mode.IGNORED and Kind.SESSION in credentials.kinds


# --- The form


def encode(value: object) -> Any:
    """A value as JSON: data classes as objects, times in seconds, secrets as they are."""
    match value:
        case Secret():
            return {"value": value.reveal(), "reference": value.reference}
        case StrEnum():
            return value.value
        case timedelta():
            return value.total_seconds()
        case tuple() | list() | frozenset():
            return [encode(item) for item in value]
        case str() | int() | float() | bool() | None:
            return value
        case _ if is_dataclass(value):
            return {f.name: encode(getattr(value, f.name)) for f in fields(value) if f.name != "where"}
        case _:
            raise TypeError(f"no form for {type(value).__name__}")


def decode(kind: type[T], data: Any) -> T:
    """The value of this type that `encode` wrote. Raises ValueError, KeyError or TypeError for anything else."""
    return typing.cast(T, _decoded(kind, data))


def _decoded(kind: Any, data: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        inner = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if data is None else _decoded(inner[0], data)
    if origin is tuple:
        return _tuple(typing.get_args(kind), data)
    if kind is Secret:
        return Secret(data["value"], data["reference"])
    if kind is timedelta:
        return timedelta(seconds=data)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(data)
    if is_dataclass(kind):
        return _data_class(kind, data)
    return data


def _tuple(items: tuple[Any, ...], data: Iterable[Any]) -> tuple[Any, ...]:
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_decoded(items[0], item) for item in data)
    return tuple(_decoded(item, value) for item, value in zip(items, data, strict=True))


def _data_class(kind: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise TypeError(f"not the fields of {kind.__name__}")
    hints = _hints(kind)
    # the audience is the one field whose classes differ by what is in them
    if "audience" in hints and kind is Provider:
        data = dict(data)

        found = data.pop("audience")
        audience = Audiences(any_of=tuple(found["any_of"])) if found else UncheckedAudience()
        return kind(audience=audience, **{n: _decoded(hints[n], v) for n, v in data.items()})
    return kind(**{name: _decoded(hints[name], value) for name, value in data.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
