"""
Gateways (Gateway API v1): their listeners, the certificates that they show, and who may attach routes to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from wardgate import policy as model
from wardgate.dialects._gateway_api_objects import CORE, Fields, Name, Object, held, selector
from wardgate.dialects._gateway_api_world import ACCEPTED, PROGRAMMED, RESOLVED, World

PROTOCOLS: Final = ("HTTP", "HTTPS")
CONFLICTED: Final = "Conflicted"


@dataclass(slots=True, kw_only=True, eq=False)
class Section:
    """One listener of a Gateway. `takes`: whether routes of that namespace may attach. `pairs`: of HTTPS."""

    gateway: Object
    name: str
    port: int
    protocol: str
    hostname: str | None
    takes: Callable[[str], bool]
    pairs: tuple[model.KeyPair, ...] = ()
    usable: bool = True

    @property
    def label(self) -> str:
        return f"{self.gateway.name}/{self.name}"


def every_section(world: World) -> list[Section]:
    """
    The listeners of all Gateways that are served; those that cannot be served say why, and serve nothing. Of two Gateways
    that want one port for two protocols, the older has it.
    """
    found: list[Section] = []
    taken: dict[int, Section] = {}
    for gateway in world.gateways():
        own = _sections(world, gateway)
        for section in own:
            first = taken.get(section.port)
            if section.usable and first is not None and first.protocol != section.protocol:
                message = f"port {section.port} is {first.protocol} by {first.label}"
                _refuse(section, "PortUnavailable", message)
        taken |= {one.port: one for one in own if one.usable and one.port not in taken}
        _say(gateway, own)
        found += own
    return found


def _sections(world: World, gateway: Object) -> list[Section]:
    spec = gateway.spec
    spec.text("gatewayClassName")
    found = [_section(world, gateway, fields) for fields in spec.many("listeners")]
    spec.finish()
    _say_conflicts(found)
    return found


def _section(world: World, gateway: Object, fields: Fields) -> Section:
    name, port = fields.text("name", "") or "", fields.number("port") or 0
    section = Section(
        gateway=gateway,
        name=name,
        port=port,
        protocol=fields.text("protocol", "HTTP") or "HTTP",
        hostname=fields.text("hostname"),
        takes=_takes(world, gateway, fields),
    )
    gateway.say(RESOLVED, True, "ResolvedRefs", "Whatever it names is there.", name)
    if section.protocol not in PROTOCOLS:
        hint = f"{' or '.join(PROTOCOLS)}; other protocols are not served"
        fields.complain("gateway-protocol", "is not served", "protocol", got=section.protocol, hint=hint)
        _refuse(section, "UnsupportedProtocol", f"{section.protocol} is not served.")
    if not 0 < port < 65536:
        fields.complain("gateway-port", "is no port", "port", got=port)
        _refuse(section, "PortUnavailable", f"{port} is no port.")
    tls = fields.one("tls")
    if section.protocol == "HTTPS" and section.usable:
        section.pairs = tuple(_pairs(world, section, fields, tls))
    return section


def _takes(world: World, gateway: Object, fields: Fields) -> Callable[[str], bool]:
    allowed = fields.one("allowedRoutes")
    namespaces = allowed.one("namespaces") if allowed else None
    source = (namespaces.text("from", "Same") if namespaces else "Same") or "Same"
    if source == "All":
        return lambda _: True
    if source == "Selector" and namespaces is not None:
        chosen = selector(namespaces.one("selector"))
        if chosen is not None:
            return lambda namespace: chosen(world.labels_of(namespace))
    elif source != "Same":
        hint = "Same, All or Selector; routes of other namespaces are not attached"
        at = ("allowedRoutes", "namespaces")
        fields.complain("gateway-namespaces", "is not read", *at, got=source, hint=hint)
    own = gateway.name.namespace
    return lambda namespace: source == "Same" and namespace == own


# --- Conflicts, and what is said


def _say_conflicts(found: Sequence[Section]) -> None:
    """Listeners of one Gateway that nobody can tell apart: none of them is served (Gateway API, Listener)."""
    protocols = {(one.port, one.protocol) for one in found}
    of_port = Counter(port for port, _ in protocols)
    alike = Counter(map(_key, found))
    for one in found:
        if of_port[one.port] > 1:
            _conflict(one, "ProtocolConflict", f"Port {one.port} has another protocol, too.")
        elif alike[_key(one)] > 1:
            _conflict(one, "HostnameConflict", "Another listener has the same port and hostname.")


def _key(section: Section) -> tuple[int, str]:
    return section.port, (section.hostname or "").lower()


def _conflict(section: Section, reason: str, message: str) -> None:
    section.gateway.complain("gateway-conflict", message, ("spec", "listeners"), got=section.name)
    section.gateway.say(CONFLICTED, True, reason, message, section.name)
    _refuse(section, reason, message)


def _refuse(section: Section, reason: str, message: str) -> None:
    section.usable = False
    section.gateway.say(ACCEPTED, False, reason, message, section.name)
    section.gateway.say(PROGRAMMED, False, "Invalid", message, section.name)


def _say(gateway: Object, found: Sequence[Section]) -> None:
    for one in found:
        if one.usable:
            gateway.say(ACCEPTED, True, "Accepted", "It is served.", one.name)
            gateway.say(PROGRAMMED, True, "Programmed", "It is served.", one.name)
    if gateway.problems or not all(one.usable for one in found):
        gateway.say(ACCEPTED, False, "ListenersNotValid", gateway.said() or "A listener is not served.")
    else:
        gateway.say(ACCEPTED, True, "Accepted", "The Gateway has been scheduled by Wardgate.")
    if any(one.usable for one in found):
        gateway.say(PROGRAMMED, True, "Programmed", "Its listeners are served.")
    else:
        gateway.say(PROGRAMMED, False, "Invalid", "None of its listeners can be served.")


# --- Certificates


def _pairs(world: World, section: Section, fields: Fields, tls: Fields | None) -> Iterator[model.KeyPair]:
    mode = tls.text("mode", "Terminate") if tls else "Terminate"
    references = tls.many("certificateRefs") if tls else []
    if mode != "Terminate":
        fields.complain("gateway-tls", "is not served", "tls", "mode", got=mode, hint="Terminate")
        _refuse(section, "UnsupportedProtocol", f"TLS of mode {mode} is not served.")
        return
    if not references:
        hint = "a Secret of type kubernetes.io/tls, by tls.certificateRefs"
        fields.complain("gateway-tls", "names no certificate", "tls", hint=hint)
        _unresolved(section, "InvalidCertificateRef", "names no certificate")
    for reference in references:
        pair, reason, why = _pair(world, section, reference)
        if pair is not None:
            yield pair
        else:
            reference.complain("gateway-tls", why, "name", got=reference.text("name"))
            _unresolved(section, reason, why)


def _unresolved(section: Section, reason: str, why: str) -> None:
    section.usable = False
    section.gateway.say(RESOLVED, False, reason, why, section.name)
    section.gateway.say(ACCEPTED, True, "Accepted", "It is served once what it names is there.", section.name)
    section.gateway.say(PROGRAMMED, False, "Invalid", why, section.name)


def _pair(world: World, section: Section, fields: Fields) -> tuple[model.KeyPair | None, str, str]:
    """The certificate and key of a Secret; or the reason and the message of a condition."""
    invalid = "InvalidCertificateRef"
    group, kind = fields.text("group", CORE) or CORE, fields.text("kind", "Secret")
    namespace = fields.text("namespace") or section.gateway.name.namespace
    name = Name(CORE, "Secret", namespace, fields.text("name", "") or "")
    if (group, kind) != (CORE, "Secret"):
        return None, invalid, f"{kind} {name} is no Secret"
    if not world.permitted(section.gateway.name, name):
        return None, "RefNotPermitted", f"Secret {name} is not permitted by any ReferenceGrant"
    found = world.find(name)
    if found is None:
        return None, invalid, f"Secret {name} does not exist"
    try:
        chain, key = held(found, "tls.crt"), held(found, "tls.key")
    except ValueError:
        return None, invalid, f"Secret {name} is no base64 of PEM"
    if (wrong := _wrong(chain, key)) is not None:
        return None, invalid, f"Secret {name}: {wrong}"
    return model.KeyPair(certificate=chain, key=model.Secret(key, f"secret {name} tls.key")), "", ""


MIN_RSA_BITS: Final = 2048
CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


@lru_cache(1000)
def _wrong(chain: str, key: str) -> str | None:
    """
    What Envoy would refuse, and everything else that changes with it; nothing of the key is told. Remembered: a key takes
    some twenty milliseconds, and a cluster's are all read at every change.
    """
    # here, as no command without an HTTPS listener waits for it
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    for called, text in (("tls.crt", chain), ("tls.key", key)):
        if not text:
            return f"it holds no {called}"
    try:
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    except ValueError:
        return "tls.crt is no certificate in PEM"
    try:
        private = load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError):
        return "tls.key is no private key in PEM without a password"
    if isinstance(private, RSAPrivateKey):
        if private.key_size < MIN_RSA_BITS:
            return f"an RSA key of fewer than {MIN_RSA_BITS} bits"
    elif not isinstance(private, EllipticCurvePrivateKey) or private.curve.name not in CURVES:
        return "a key that is neither RSA nor of the curves P-256, P-384 and P-521"
    return None if private.public_key() == leaf.public_key() else "tls.key is not the key of tls.crt"
