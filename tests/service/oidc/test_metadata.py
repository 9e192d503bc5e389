"""The discovery document: fetched once, kept, and good for a start while the issuer is away."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.holding.certificates import Authority
from tests.service.oidc.issuer import OidcIssuer
from wardgate.keystore import KeyStore, source_of
from wardgate.policy import ClientTls
from wardgate.service.issuer_http import IssuerAway, IssuerHttp
from wardgate.service.oidc.metadata import FRESH_S, RETRY_S, Metadata, _read
from wardgate.verify import Discovery


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Asked:
    """Metadata of an issuer, and its clock."""

    def __init__(self, issuer: OidcIssuer, store: KeyStore) -> None:
        source = source_of(issuer.provider())
        self.clock = Clock()
        self.http = IssuerHttp(source)
        self.metadata = Metadata(source, self.http, store.path, self.clock)

    async def close(self) -> None:
        await self.metadata.close()
        await self.http.close()


def run(issuer: OidcIssuer, store: KeyStore, scenario: Any) -> None:
    async def whole() -> None:
        asked = Asked(issuer, store)
        try:
            await scenario(asked)
        finally:
            await asked.close()

    asyncio.run(whole())


def documents(issuer: OidcIssuer) -> int:
    return len(issuer.asked("openid-configuration"))


def test_it_is_fetched_once_and_again_after_five_minutes(issuer: OidcIssuer, store: KeyStore) -> None:
    """Many askers share one fetch; an old document is used while a new one is fetched beside."""

    async def scenario(asked: Asked) -> None:
        found = await asyncio.gather(*(asked.metadata.get() for _ in range(20)))
        assert {document.token_endpoint for document in found} == {issuer.url + "/token"}
        assert documents(issuer) == 1
        issuer.discovery_changes = {"token_endpoint": issuer.url + "/token2"}
        asked.clock.now = FRESH_S + 1
        assert (await asked.metadata.get()).token_endpoint == issuer.url + "/token"
        async with asyncio.timeout(10):
            while (await asked.metadata.get()).token_endpoint != issuer.url + "/token2":
                await asyncio.sleep(0.01)
        assert documents(issuer) == 2

    run(issuer, store, scenario)


def test_the_last_good_one_stays(issuer: OidcIssuer, store: KeyStore) -> None:
    """An issuer that is away, or says nonsense, changes nothing; it is asked again every few seconds only."""

    async def scenario(asked: Asked) -> None:
        await asked.metadata.get()
        issuer.answers["discovery"] = lambda _: (503, {}, b"")
        asked.clock.now = FRESH_S + 1
        for _ in range(10):
            assert (await asked.metadata.get()).token_endpoint == issuer.url + "/token"
        async with asyncio.timeout(10):
            while documents(issuer) < 2:
                await asyncio.sleep(0.01)
        await asked.metadata.close()
        for _ in range(10):
            await asked.metadata.get()
        assert documents(issuer) == 2

    run(issuer, store, scenario)


def test_a_restart_while_the_issuer_is_away_uses_the_copy(issuer: OidcIssuer, store: KeyStore) -> None:
    """The copy on disk is ours only, and belongs to this issuer at this address."""

    async def first(asked: Asked) -> None:
        await asked.metadata.get()

    async def second(asked: Asked) -> None:
        assert (await asked.metadata.get()).token_endpoint == issuer.url + "/token"

    run(issuer, store, first)
    [copy] = store.path.glob("discovery-*.json")
    assert copy.stat().st_mode & 0o777 == 0o600
    issuer.answers["discovery"] = lambda _: (500, {}, b"")
    run(issuer, store, second)
    copy.write_text(copy.read_text().replace(issuer.url, "https://evil.example"))

    async def spoiled(asked: Asked) -> None:
        with pytest.raises(IssuerAway):
            await asked.metadata.get()

    run(issuer, store, spoiled)


def test_without_any_it_is_said_and_asked_again_soon(issuer: OidcIssuer, store: KeyStore) -> None:
    """The problem is repeated for some seconds without a request each, then asked again."""

    async def scenario(asked: Asked) -> None:
        issuer.answers["discovery"] = lambda _: (500, {}, b"")
        for _ in range(5):
            with pytest.raises(IssuerAway) as caught:
                await asked.metadata.get()
            assert caught.value.code == "issuer-status"
        assert documents(issuer) == 1
        del issuer.answers["discovery"]
        asked.clock.now = RETRY_S + 1
        assert await asked.metadata.get()

    run(issuer, store, scenario)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"issuer": "https://other.example"}, "issuer-discovery"),
        ({"issuer": "…/"}, "issuer-discovery"),
        ({"token_endpoint": "file:///etc/passwd"}, "issuer-discovery"),
        ({"token_endpoint": "http://[::1"}, "issuer-discovery"),
        ({"jwks_uri": ...}, "issuer-discovery"),
    ],
)
def test_a_document_that_is_not_the_issuers_is_refused(
    issuer: OidcIssuer, store: KeyStore, changes: dict[str, Any], code: str
) -> None:
    """It must name the configured issuer, letter by letter, and real addresses."""

    async def scenario(asked: Asked) -> None:
        named = {name: issuer.url + "/" if value == "…/" else value for name, value in changes.items()}
        issuer.discovery_changes = named
        with pytest.raises(IssuerAway) as caught:
            await asked.metadata.get()
        assert caught.value.code == code
        assert not list(store.path.glob("discovery-*"))

    run(issuer, store, scenario)


def test_a_document_that_came_by_https_names_no_plain_http(issuer: OidcIssuer) -> None:
    """Any endpoint without TLS in such a document refuses all of it."""
    url = "https://id.example"
    body = f'{{"issuer": "{url}", "jwks_uri": "{url}/k", "token_endpoint": "http://id.example/t"}}'
    source = source_of(issuer.provider(issuer=url))
    with pytest.raises(IssuerAway) as caught:
        _read(source, body.encode())
    assert caught.value.code == "issuer-redirect"
    assert isinstance(_read(source, body.replace("http:", "https:").encode()), Discovery)


def test_tls_files_are_read_again_when_they_change(tmp_path: Path, store: KeyStore) -> None:
    """A certificate authority that is replaced on disk holds for the next request, without a restart."""
    ca, served = tmp_path / "ca.pem", tmp_path / "served"
    Authority("one").write(ca)
    other = Authority("two")
    other.pair("127.0.0.1").write(served)
    with OidcIssuer() as issuer:
        assert issuer._server is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(served / "tls.crt", served / "tls.key")
        issuer._server.socket = context.wrap_socket(issuer._server.socket, server_side=True)
        address = issuer.url.replace("http:", "https:") + "/certs"
        source = source_of(issuer.provider(tls=ClientTls(ca=str(ca))))

        async def scenario() -> None:
            http = IssuerHttp(source)
            with pytest.raises(IssuerAway) as caught:
                await http.fetch(address)
            assert caught.value.code == "issuer-tls"
            other.write(tmp_path / "new.pem")
            (tmp_path / "new.pem").replace(ca)
            async with asyncio.timeout(10):
                while True:
                    try:
                        assert b"keys" in await http.fetch(address)
                        break
                    except IssuerAway:
                        await asyncio.sleep(0.05)
            ca.unlink()  # being replaced again: those of before stay
            deadline = asyncio.get_running_loop().time() + 1.5
            while asyncio.get_running_loop().time() < deadline:
                assert b"keys" in await http.fetch(address)
                await asyncio.sleep(0.1)
            await http.close()

        asyncio.run(scenario())
