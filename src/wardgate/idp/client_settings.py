"""
What a client's attributes say about logins, logouts and its keys, as Keycloak's admin console stores them.

Lists inside one attribute are divided by `##`. What an attribute leaves out is what Keycloak 26.7.3 then does.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import load_der_x509_certificate
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, RSAKey

from wardgate.idp.realm import ClientLogin
from wardgate.idp.representation import ClientRep

MAX_KEYS = 32


def login_settings(rep: ClientRep) -> ClientLogin:
    """A client's part in logins and logouts."""
    attributes = rep.attributes
    return ClientLogin(
        allowed=rep.standard_flow_enabled and not rep.bearer_only,
        redirect_uris=tuple(rep.redirect_uris),
        post_logout_uris=_post_logout(attributes.get("post.logout.redirect.uris")),
        pkce=attributes.get("pkce.code.challenge.method") or "",
        pushed_only=attributes.get("require.pushed.authorization.requests") == "true",
        backchannel_url=attributes.get("backchannel.logout.url") or "",
        backchannel_session=attributes.get("backchannel.logout.session.required") == "true",
        frontchannel=rep.frontchannel_logout,
        frontchannel_url=attributes.get("frontchannel.logout.url") or "",
        frontchannel_session=attributes.get("frontchannel.logout.session.required") != "false",
    )


def _post_logout(text: str | None) -> tuple[str, ...] | None:
    """`+` (or nothing) stands for the redirect URIs, `-` for none."""
    if text in (None, "", "+"):
        return None
    return () if text == "-" else tuple(part for part in str(text).split("##") if part)


def client_keys(rep: ClientRep) -> tuple[Mapping[str, Any], ...]:
    """The public keys of a client that authenticates with signed JWTs. Raises ValueError when there is none."""
    attributes = rep.attributes
    if attributes.get("use.jwks.url") == "true":
        raise ValueError("its keys are behind an address (jwks.url), which is not fetched here")
    if attributes.get("use.jwks.string") == "true":
        return _jwks(attributes.get("jwks.string") or "")
    key = _stored_key(attributes)
    found = _jwk(key)
    kid = attributes.get("jwt.credential.kid") or _kid(key)
    return ({**found, "kid": kid},)


def _jwks(text: str) -> tuple[Mapping[str, Any], ...]:
    try:
        keys = json.loads(text)["keys"]
        found = tuple(dict(JWKRegistry.import_key(key).as_dict(private=False)) for key in keys[:MAX_KEYS])
    except (ValueError, KeyError, TypeError, JoseError) as error:
        raise ValueError("its jwks.string is not a JWK set") from error
    if not found:
        raise ValueError("its jwks.string has no key")
    return found


def _stored_key(attributes: Mapping[str, str | None]) -> PublicKeyTypes:
    """The key of `jwt.credential.public.key` or `.certificate`: base64, with or without the lines of PEM."""
    for name in ("jwt.credential.public.key", "jwt.credential.certificate"):
        text = attributes.get(name)
        if not text:
            continue
        body = "".join(line.strip() for line in text.splitlines() if "-----" not in line)
        try:
            der = base64.b64decode(body, validate=True)
            if name.endswith("certificate"):
                return load_der_x509_certificate(der).public_key()
            return load_der_public_key(der)
        except ValueError as error:
            raise ValueError(f"its {name} cannot be read") from error
    raise ValueError("it has no key")


def _jwk(key: PublicKeyTypes) -> dict[str, Any]:
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    match key:
        case RSAPublicKey():
            return dict(RSAKey.import_key(pem).as_dict(private=False))
        case EllipticCurvePublicKey():
            return dict(ECKey.import_key(pem).as_dict(private=False))
        case _:
            raise ValueError("its public key is neither of RSA nor of an elliptic curve")


def _kid(key: PublicKeyTypes) -> str:
    """Keycloak's kid for a key that has none: the hash of its SubjectPublicKeyInfo."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode("ascii")
