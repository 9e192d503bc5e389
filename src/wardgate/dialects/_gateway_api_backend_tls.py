"""
BackendTLSPolicies (Gateway API v1): how Services are spoken to by TLS. One that cannot be read closes what leads to its Service: nobody is
spoken to in the clear, or believed to be somebody else, because of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from wardgate import policy as model
from wardgate.dialects._gateway_api_objects import CORE, GATEWAY, Fields, Name, Object
from wardgate.dialects._gateway_api_world import ACCEPTED, RESOLVED, World

KIND: Final = "BackendTLSPolicy"
AUTHORITIES: Final = "ca.crt"
SYSTEM: Final = "System"
NAME: Final = r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"


class BackendTls:
    """Of one reading. `used`: by policy, the routes and policies whose requests it holds for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.used: dict[Object, dict[Object, None]] = {}
        self._found: dict[Object, model.ClientTls | None] = {}
        self._by_service: dict[Name, list[tuple[Object, str | None]]] = {}
        for policy in world.of(GATEWAY, KIND):  # the oldest first
            spec = policy.spec
            self._found[policy] = _validation(world, policy, spec)
            for target in spec.many("targetRefs"):
                group, kind = target.text("group", CORE) or CORE, target.text("kind", "")
                name, section = target.text("name", "") or "", target.text("sectionName")
                if (group, kind) != (CORE, "Service"):
                    target.complain("policy-target", "is no Service", "kind", got=kind)
                    continue
                service = Name(CORE, "Service", policy.name.namespace, name)
                self._by_service.setdefault(service, []).append((policy, section))
            spec.finish()
            if policy.problems:
                self._found[policy] = None
            _say(policy)

    def of(self, user: Object, service: Name, port: int) -> tuple[model.ClientTls | None, str | None]:
        """How the port of a Service is spoken to, None: in the clear; or why it cannot be."""
        policies = self._by_service.get(service)
        if policies is None:
            return None, None
        name = self._world.port_name(service, port)
        fitting = [policy for policy, section in policies if section is not None and section == name]
        fitting += [policy for policy, section in policies if section is None]
        if not fitting:
            return None, None
        self.used.setdefault(fitting[0], {})[user] = None
        tls = self._found[fitting[0]]
        return (tls, None) if tls is not None else (None, f"{KIND} {fitting[0].name} cannot be read")


def _validation(world: World, policy: Object, spec: Fields) -> model.ClientTls | None:
    fields = spec.one("validation")
    if fields is None:
        spec.complain("backend-tls", "says nothing of certificates", "validation")
        return None
    known, references = fields.text("wellKnownCACertificates"), fields.many("caCertificateRefs")
    hostname = fields.text("hostname")
    if not hostname or not re.fullmatch(NAME, hostname):
        for reference in references:
            reference.plain()
        fields.complain(
            "backend-tls", "names nobody whom the certificate is to be for", "hostname", got=hostname or ""
        )
        return None
    if (known is None) == (not references) or known not in (None, SYSTEM):
        hint = f"caCertificateRefs, or wellKnownCACertificates: {SYSTEM}"
        fields.complain("backend-tls", "needs certificates of authorities", got=known or "", hint=hint)
        return None
    bundle = "\n".join(_bundles(world, policy, references))
    return model.ClientTls(ca_pem=bundle or None, server_name=hostname)


def _bundles(world: World, policy: Object, references: list[Fields]) -> Iterator[str]:
    for reference in references:
        group, kind = reference.text("group", CORE) or CORE, reference.text("kind", "ConfigMap")
        name = reference.text("name", "") or ""
        wanted = Name(CORE, "ConfigMap", policy.name.namespace, name)
        if (group, kind) != (CORE, "ConfigMap"):
            reference.complain("backend-tls", "is no ConfigMap", "kind", got=kind)
            continue
        found = world.find(wanted)
        data = found.data.get("data") if found else None
        text = data.get(AUTHORITIES) if isinstance(data, dict) else None
        if not isinstance(text, str) or not _holds_certificates(text):
            message = f"{AUTHORITIES} with certificates not found in ConfigMap {wanted}"
            reference.complain("backend-tls-authorities", message, "name", got=name)
            continue
        yield text


@lru_cache(maxsize=256)
def _holds_certificates(text: str) -> bool:
    """Whether Envoy takes it: one that it refused would keep every other change out."""
    from cryptography import x509  # most manifests have none

    try:
        return bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False


def _say(policy: Object) -> None:
    missing = any(one.code == "backend-tls-authorities" for one in policy.problems)
    if not policy.problems:
        policy.say(ACCEPTED, True, "Accepted", "Policy has been accepted.")
        policy.say(RESOLVED, True, "ResolvedRefs", "Whatever it names is there.")
        return
    policy.say(ACCEPTED, False, "NoValidCACertificate" if missing else "Invalid", policy.said())
    if missing:
        policy.say(RESOLVED, False, "InvalidCACertificateRef", policy.said())
