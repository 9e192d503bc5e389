"""
Addresses to listen on, tried before Envoy takes them.

Envoy shares its ports (SO_REUSEPORT), so a second gateway would silently take half of the first one's connections:
each address is bound here once, exclusively, and given back.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from wardgate.policy import Address, Policy
from wardgate.problems import ConfigError, Problem, Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An address, the setting that names it, and where that stands."""

    address: Address
    setting: str
    where: Where


def wanted(policy: Policy) -> Iterator[Wanted]:
    """Every address of a policy."""
    for listener in policy.listeners:
        place = listener.address.where if str(listener.address.where) else listener.where
        yield Wanted(address=listener.address, setting="listen", where=place)
    if policy.admin is not None:
        setting = policy.admin.where.path or "listen-admin"  # each dialect has a key of its own
        yield Wanted(address=policy.admin, setting=setting, where=policy.admin.where)


def check(policy: Policy, held: Iterable[Address] = ()) -> None:
    """Raises ConfigError with a problem per address that cannot be had; ports in `held` are ours already."""
    ours = {address.port for address in held}
    problems = []
    for one in wanted(policy):
        if one.address.port in ours:
            continue
        try:
            _bound(one.address).close()
        except OSError as error:
            problems.append(_problem(one, error))
    if problems:
        raise ConfigError(problems)


def settled(policy: Policy, before: Mapping[str, Address]) -> Policy:
    """The policy with a real port wherever it says 0: the one of `before` (by listener name), else a free one."""
    listeners = tuple(
        replace(listener, address=_settled(listener.address, before.get(listener.name)))
        for listener in policy.listeners
    )
    admin = None if policy.admin is None else _settled(policy.admin, before.get(""))
    return replace(policy, listeners=listeners, admin=admin)


def addresses(policy: Policy) -> dict[str, Address]:
    """By listener name; the admin listener has none."""
    found = {listener.name: listener.address for listener in policy.listeners}
    return found if policy.admin is None else {**found, "": policy.admin}


def _settled(address: Address, before: Address | None) -> Address:
    if address.port != 0:
        return address
    if before is not None and before.host == address.host:
        return before
    with _bound(address) as probe:
        return replace(address, port=int(probe.getsockname()[1]))


def _bound(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not matter
        probe.bind((address.host, address.port))
        probe.listen(1)  # two exclusive sockets may both be bound; only one may listen
    except OSError:
        probe.close()
        raise
    return probe


def _problem(one: Wanted, error: OSError) -> Problem:
    other = replace(one.address, port=one.address.port + 1 if one.address.port < 65535 else 3000)
    change = f"or choose another address: {one.setting}: {other}"
    if one.setting == "listen":
        change += f" in the file, or --set listen={other}"
    match error.errno:
        case errno.EADDRINUSE:
            code, message = "port-in-use", f"{one.address} is in use by another program"
            hint = f"stop that program (ss -ltnp names it), {change}"
        case errno.EACCES | errno.EPERM:
            code, message = "port-forbidden", f"this user may not listen on {one.address}"
            hint = f"ports below 1024 need CAP_NET_BIND_SERVICE; grant it, {change}"
        case errno.EADDRNOTAVAIL:
            code, message = "address-unknown", f"this machine has no address {one.address.host}"
            hint = f"write 0.0.0.0 for every address, {change}"
        case _:
            code, message = "listen-failed", f"cannot listen on {one.address}: {error.strerror}"
            hint = change
    named = message if one.where.path else f"{one.setting}: {message}"
    return Problem(code=code, message=named, where=one.where, hint=hint)
