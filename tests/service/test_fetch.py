"""Fetching an issuer's keys: what is good comes through, and everything else has a name."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.service.issuer import Answer, Issuer, jwks, ok, public_jwk
from wardgate.keystore import KeySource
from wardgate.policy import ClientTls
from wardgate.service.fetch import CODES as FETCH_CODES
from wardgate.service.fetch import Fetched, fetch
from wardgate.service.issuer_http import CODES, IssuerAway, printable


def fetched(source: KeySource) -> Fetched:
    return asyncio.run(fetch(source))


def refused(source: KeySource) -> IssuerAway:
    with pytest.raises(IssuerAway) as error:
        fetched(source)
    assert error.value.code in {*CODES, *FETCH_CODES}
    return error.value


def test_keys_come_by_discovery() -> None:
    """The discovery document names the key set, and the key set is cleaned."""
    with Issuer() as issuer:
        found = fetched(issuer.source())
        assert [key.kid for key in found.keys.keys] == ["k1"]
        assert found.address == issuer.url + "/keys"


def test_a_jwks_url_needs_no_discovery() -> None:
    """With the address of the keys configured, nothing else is asked for."""
    with Issuer() as issuer:
        fetched(issuer.source(jwks_url=issuer.url + "/keys"))
        assert issuer.requests == ["/realms/r/keys"]


def test_headers_of_the_provider_are_sent_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configured request headers reach the issuer's server, and a proxy in the environment is not asked."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Issuer() as issuer:
        assert fetched(issuer.source(headers=(("x-tenant", "a"),)))
        assert issuer.headers["x-tenant"] == "a"


BAD_KEYS: dict[str, tuple[Callable[[], Answer], str, str]] = {
    "html": (lambda: ok(b"<!doctype html><p>maintenance"), "issuer-keys", "HTML"),
    "no keys": (lambda: ok(b'{"keys": []}'), "issuer-keys", "empty"),
    "an empty body": (lambda: ok(b""), "issuer-keys", "read"),
    "50 MB": (lambda: ok(b" " * 50_000_000), "issuer-answer", "1024 KiB"),
    "a kid twice": (
        lambda: ok(json.dumps({"keys": [public_jwk("a"), {**public_jwk("b"), "kid": "a"}]}).encode()),
        "issuer-keys",
        "'a'",
    ),
    "a private key": (
        lambda: ok(json.dumps({"keys": [{**public_jwk("a"), "d": "AQAB"}]}).encode()),
        "issuer-keys",
        "private",
    ),
    "a gzip bomb": (
        lambda: ok(gzip.compress(b" " * 10_000_000), **{"content-encoding": "gzip"}),
        "issuer-answer",
        "compressed",
    ),
    "an error": (lambda: (503, {}, b""), "issuer-status", "503"),
    "another server": (
        lambda: (302, {"location": "http://127.0.0.2:9/keys"}, b""),
        "issuer-redirect",
        "127.0.0.2",
    ),
    "a circle": (lambda: (302, {"location": "/realms/r/keys"}, b""), "issuer-redirect", "more than"),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_bad_key_sets_have_a_name(case: str) -> None:
    """Each way in which a key set can be bad gives its own code and a message that says what came."""
    answer, code, text = BAD_KEYS[case]
    with Issuer() as issuer:
        issuer.keys = answer
        error = refused(issuer.source())
        assert error.code == code
        assert text in error.message


def test_another_issuer_in_the_discovery_document_is_refused() -> None:
    """The document must speak for the provider's issuer; the message names both and says what to do."""
    with Issuer() as issuer:
        other = {"issuer": "https://other.example", "jwks_uri": issuer.url + "/keys"}
        issuer.discovery = lambda: ok(json.dumps(other).encode())
        error = refused(issuer.source())
        assert error.code == "issuer-discovery"
        assert "other.example" in error.message
        assert issuer.url in error.message
        assert "letter by letter" in error.hint
        assert len(issuer.requests) == 1


def test_a_server_that_is_away_is_unreachable() -> None:
    """A closed port is said as such, with the address."""
    with Issuer() as issuer:
        source = issuer.source()
    error = refused(source)
    assert error.code == "issuer-unreachable"
    assert source.discovery in error.message


def test_a_slow_server_is_given_up() -> None:
    """Discovery and keys together end at the timeout, even when bytes drip."""
    with Issuer() as issuer:
        release = threading.Event()

        def never() -> Answer:
            release.wait(10)
            return 500, {}, b""

        issuer.keys = never
        error = refused(issuer.source(timeout_s=0.3))
        release.set()
        assert error.code == "issuer-slow"


def test_a_redirect_on_the_same_server_is_followed() -> None:
    """A moved path is no problem as long as the server stays the same."""
    with Issuer() as issuer:
        answers = iter([(302, {"location": "/elsewhere"}, b""), ok(jwks("k2"))])
        issuer.keys = lambda: next(answers)
        assert [key.kid for key in fetched(issuer.source()).keys.keys] == ["k2"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A self-signed certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return {"cert": folder / "cert.pem", "key": folder / "key.pem"}


def tls_issuer(certificate: dict[str, Path]) -> Issuer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate["cert"], certificate["key"])
    return Issuer(tls=context)


def test_the_issuers_certificate_is_judged(certificate: dict[str, Path]) -> None:
    """An unknown authority is refused with a hint; the configured one, or no verification, lets the keys through."""
    with tls_issuer(certificate) as issuer:
        error = refused(issuer.source())
        assert error.code == "issuer-tls"
        assert "tls.ca" in error.hint
        assert fetched(issuer.source(tls=ClientTls(ca=str(certificate["cert"]))))
        assert fetched(issuer.source(tls=ClientTls(verify=False)))


def test_a_missing_authority_file_is_said(tmp_path: Path) -> None:
    """A CA file that is not there is a problem of its own, not a crash."""
    with Issuer() as issuer:
        error = refused(issuer.source(tls=ClientTls(ca=str(tmp_path / "absent.pem"))))
        assert error.code == "issuer-tls"


def test_https_never_becomes_http(certificate: dict[str, Path]) -> None:
    """A discovery document that came by https cannot send us to plain http for the keys."""
    with tls_issuer(certificate) as issuer:
        plain: dict[str, Any] = {"issuer": issuer.url, "jwks_uri": "http://127.0.0.1:9/keys"}
        issuer.discovery = lambda: ok(json.dumps(plain).encode())
        assert refused(issuer.source(tls=ClientTls(verify=False))).code == "issuer-redirect"


def test_addresses_print_without_secrets() -> None:
    """User, password and query never reach a log."""
    assert printable("https://u:p@id.example:8443/r?token=x") == "https://id.example:8443/r"
    assert printable("http://[::1]:80/x") == "http://[::1]:80/x"
