"""What reaches the application and what comes back: every protocol, every edge, as it is or not at all."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.attack.http2 import Http2Connection
from tests.differential.running_envoy import RunningEnvoy
from tests.echo import Arrival, Echo
from tests.echo_websocket import accept_value, frame
from tests.holding import upstreams
from tests.holding.awkward import Awkward
from tests.holding.certificates import Authority, Pair
from tests.holding.conftest import Minted
from tests.holding.running import Running
from tests.parts.loopback import free_port
from tests.sending import Answer, Body
from tests.service.issuer import wait_for
from wardgate.idp import IdpServer

pytestmark = pytest.mark.xdist_group("holding-forwarding")

NAMES = ("localhost", "app.internal")
"""What the TLS application's certificate is for."""

STRANGER = "127.0.0.2"
"""A peer that is no trusted proxy; 127.0.0.1 is one."""

ORIGIN = "https://app.example"
SECURITY = {"X-Frame-Options": "DENY", "Strict-Transport-Security": "max-age=31536000"}
LIMIT = 1000


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("the authority of this test")


@pytest.fixture(scope="module")
def others(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, echo: Echo
) -> Iterator[RunningEnvoy]:
    """The applications that speak HTTP/2 and TLS."""
    folder = tmp_path_factory.mktemp("upstreams")
    with upstreams.envoy(folder, authority.pair(*NAMES), echo.port) as envoy:
        yield envoy


@pytest.fixture(scope="module")
def awkward() -> Iterator[Awkward]:
    with Awkward() as found:
        yield found


@pytest.fixture(scope="module")
def twin() -> Iterator[Echo]:
    with Echo() as server:
        yield server


class Edges(Running):
    """A gateway with three listeners: `port`, `tls_port`, and `redirecting_port`, which sends http to https."""

    tls_port: int
    redirecting_port: int
    certificates: Path
    authority: Path

    def shown(self) -> x509.Certificate:
        """The certificate that a new connection is shown; it has been verified."""
        with self.tls() as connection:
            found = connection.getpeercert(binary_form=True)
            assert found is not None
            return x509.load_der_x509_certificate(found)

    def tls(self, **settings: Any) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.authority)
        for name, value in settings.items():
            getattr(context, name)(value) if callable(getattr(context, name)) else setattr(
                context, name, value
            )
        plain = socket.create_connection(("127.0.0.1", self.tls_port), timeout=20)
        return context.wrap_socket(plain, server_hostname="localhost")


@pytest.fixture(scope="module")
def first_pair(authority: Authority) -> Pair:
    return authority.pair("localhost")


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    idp: IdpServer,
    echo: Echo,
    twin: Echo,
    awkward: Awkward,
    others: RunningEnvoy,
    authority: Authority,
    first_pair: Pair,
) -> Iterator[Edges]:
    folder = tmp_path_factory.mktemp("edges")
    certificates, ports = folder / "certificates", others.ports()
    first_pair.write(certificates)
    authority.write(folder / "ca.pem")
    Authority("another authority").write(folder / "other.pem")
    trusting = {"ca": str(folder / "ca.pem")}
    tls = f"https://localhost:{ports['tls']}"
    applications: dict[str, Any] = {
        "echo": echo.url,
        "brief": {"endpoints": echo.url, "response-timeout": "600ms"},
        "h2c": {"endpoints": f"http://127.0.0.1:{ports['h2c']}", "protocol": "http2"},
        "tls": {"endpoints": tls, "tls": trusting},
        "tls-h2": {"endpoints": tls, "tls": trusting, "protocol": "http2"},
        "tls-named": {
            "endpoints": f"https://127.0.0.1:{ports['tls']}",
            "tls": {**trusting, "server-name": "app.internal"},
        },
        "tls-misnamed": {"endpoints": tls, "tls": {**trusting, "server-name": "app.test"}},
        "tls-unnamed": {"endpoints": f"https://127.0.0.1:{ports['tls']}", "tls": trusting},
        "tls-other": {"endpoints": tls, "tls": {"ca": str(folder / "other.pem")}},
        "tls-system": {"endpoints": tls},
        "turns": [echo.url, twin.url],
        "awkward": {"endpoints": awkward.url, "response-timeout": "600ms"},
        "patient": {"endpoints": awkward.url, "response-timeout": "30s"},
        "once": {"endpoints": awkward.url, "keep-alive": "off"},
    }
    routes: list[dict[str, Any]] = [
        {"path": f"/{name}/**", "public": True, "upstream": name}
        for name in applications
        if name not in ("echo", "brief")
    ]
    routes += [
        {"path": "/open/**", "public": True},
        {"path": "/user/**", "roles": ["user"]},
        {"path": "/brief/**", "roles": ["user"], "upstream": "brief"},
        {"path": "/n/**", "roles": ["n"]},
        {"path": "/limited/**", "roles": ["user"], "body-limit": LIMIT},
        {"path": "/grpc/**", "roles": ["user"], "upstream": "h2c"},
        {"path": "/no-upgrade/**", "public": True, "websockets": False},
        {"path": "/timed/**", "public": True, "upstream": "patient", "timeout": "700ms"},
        {"path": "/closed/**", "deny": "for the test"},
    ]
    routes = [{"upstream": "echo", **route} for route in routes]
    tls_port, redirecting_port = free_port(), free_port()
    files = {"certificate": str(certificates / "tls.crt"), "key": str(certificates / "tls.key")}
    content = {
        "listen": None,
        "listeners": {
            "main": {"listen": "127.0.0.1:${GATEWAY_PORT}"},
            "tls": {"listen": f"127.0.0.1:{tls_port}", "tls": files},
            "redirecting": {"listen": f"127.0.0.1:{redirecting_port}", "redirect-to-https": True},
        },
        "provider": {"issuer": idp.issuer, "audience": "demo-gateway"},
        "upstreams": applications,
        "routes": routes,
        "trusted-proxies": ["127.0.0.1/32"],
        "response-headers": SECURITY,
        "compression": True,
        "cors": {
            "origins": [ORIGIN],
            "methods": ["GET", "PUT"],
            "headers": ["X-Own"],
            "exposed": ["X-Seen"],
            "max-age": "10m",
            "credentials": True,
        },
    }
    with Edges(folder, content) as found:
        found.tls_port, found.redirecting_port = tls_port, redirecting_port
        found.certificates, found.authority = certificates, folder / "ca.pem"
        yield found


def received(answer: Answer) -> dict[str, str]:
    """The headers that the application received, by lower-case name."""
    assert answer.status == 200, answer
    return {name.lower(): value for name, value in json.loads(answer.body)["headers"]}


def problem(answer: Answer) -> str:
    """The code of a problem document."""
    assert answer.header("content-type") == "application/problem+json", answer
    return str(json.loads(answer.body)["code"])


# --- upgrades and protocols


def websocket(gateway: Running, target: str, token: str = "") -> tuple[bytes, socket.socket]:
    """The head of the answer to a handshake, and the connection."""
    lines = [f"GET {target} HTTP/1.1", "Host: app.test", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines += [f"Authorization: Bearer {token}"] if token else []
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(1)
        assert piece, head
        head += piece
    return head, connection


def test_a_websocket_passes_with_a_bearer(gateway: Edges, token: str) -> None:
    """With a token the connection becomes a WebSocket, and messages go both ways, also after a reload."""
    head, connection = websocket(gateway, "/user/ws", token)
    with connection:
        assert head.startswith(b"HTTP/1.1 101 ")
        assert accept_value("dGhlIHNhbXBsZSBub25jZQ==").encode() in head
        for message in (b"hello", b"x" * 100):
            connection.sendall(frame(0x81, message, os.urandom(4)))
            expected = frame(0x81, message)
            echoed = b""
            while len(echoed) < len(expected):
                echoed += connection.recv(4096)
            assert echoed == expected
            before = gateway.text(gateway.content)
            gateway.reload(before.replace("max-age=31536000", "max-age=1"))
            gateway.reload(before)


def test_a_websocket_needs_what_its_route_needs(gateway: Edges, echo: Echo, token: str) -> None:
    """Without a token the handshake is 401, and where WebSockets are off 403; neither reaches the application."""
    before = len(echo.arrivals())
    for target, status in (("/user/ws", b"401"), ("/n/ws", b"401"), ("/no-upgrade/ws", b"403")):
        head, connection = websocket(gateway, target)
        connection.close()
        assert head.startswith(b"HTTP/1.1 " + status)
    head, connection = websocket(gateway, "/n/ws", token)
    connection.close()
    assert head.startswith(b"HTTP/1.1 403")
    assert len(echo.arrivals()) == before


def test_an_upstream_may_speak_http2(gateway: Edges) -> None:
    """`protocol: http2` speaks HTTP/2 without TLS to the application, whatever the client speaks."""
    assert received(gateway.ask("/h2c/x"))["x-came-by"] == "HTTP/2"


def test_grpc_passes_with_a_bearer(gateway: Edges, token: str) -> None:
    """A gRPC call over HTTP/2 reaches an HTTP/2 application with `te`; without a token it is refused as gRPC does."""

    async def call(*fields: tuple[str, str]) -> bytes:
        connection = await Http2Connection.to(gateway.port, STRANGER)
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/grpc/pkg.Service/Do")]
        usual = [(":authority", "app.test"), ("content-type", "application/grpc"), ("te", "trailers")]
        answer = await connection.exchange([*pseudo, *usual, *fields], data=b"\0\0\0\0\0")
        await connection.close()
        assert answer.status == 200  # gRPC has its own status, in a header
        return answer.body

    told = json.loads(asyncio.run(call(("authorization", f"Bearer {token}"))))
    came = {name.lower(): value for name, value in told["headers"]}
    assert (came["x-came-by"], came["x-came-te"]) == ("HTTP/2", "trailers")
    assert (came["content-type"], told["body_length"]) == ("application/grpc", 5)
    assert asyncio.run(call()) == b""


# --- TLS


def test_https_is_served(gateway: Edges, first_pair: Pair) -> None:
    """A listener with a certificate serves TLS 1.3, HTTP/1.1 and HTTP/2, and the application hears https."""
    assert gateway.shown().serial_number == first_pair.serial
    with gateway.tls(set_alpn_protocols=["h2"]) as connection:
        assert (connection.version(), connection.selected_alpn_protocol()) == ("TLSv1.3", "h2")
    with pytest.raises(ssl.SSLError):
        gateway.tls(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert _https(gateway)["x-forwarded-proto"] == "https"
    with pytest.raises(OSError):
        gateway.ask("/open/x", port=gateway.tls_port)


def _https(gateway: Edges) -> dict[str, str]:
    with gateway.tls() as connection:
        return _exchange(connection)


def _exchange(connection: ssl.SSLSocket) -> dict[str, str]:
    """One request on an open connection; the headers that the application received."""
    connection.sendall(b"GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while b"}" not in answer:
        answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200")
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    return {name.lower(): value for name, value in told["headers"]}


def test_certificates_are_renewed(gateway: Edges, authority: Authority) -> None:
    """Files that are replaced, or swapped by a link as Kubernetes does, are shown to new connections; old ones go on."""
    with gateway.tls() as open_before:
        second = authority.pair("localhost")
        second.write(gateway.certificates)
        gateway.until(lambda: gateway.shown().serial_number == second.serial, "the second certificate")
        third = authority.pair("localhost")
        folder = gateway.certificates
        third.write(folder / "..third")
        _link(folder / "..data", "..third")
        for name in ("tls.key", "tls.crt"):
            _link(folder / name, f"..data/{name}")
        gateway.until(lambda: gateway.shown().serial_number == third.serial, "the third certificate")
        fourth = authority.pair("localhost")
        fourth.write(folder / "..fourth")
        _link(folder / "..data", "..fourth")
        gateway.until(lambda: gateway.shown().serial_number == fourth.serial, "the fourth certificate")
        assert _exchange(open_before)["host"] == "localhost"


def _link(place: Path, target: str) -> None:
    temporary = place.with_name("..tmp")
    temporary.symlink_to(target)
    temporary.replace(place)


def test_a_broken_renewal_changes_nothing(gateway: Edges, authority: Authority) -> None:
    """A certificate without its key is not shown; the one before stays until the pair fits again."""
    before = gateway.shown().serial_number
    broken, good = authority.pair("localhost"), authority.pair("localhost")
    Pair(certificate=broken.certificate, key=good.key, serial=0).write(gateway.certificates / "..broken")
    _link(gateway.certificates / "..data", "..broken")
    assert gateway.shown().serial_number == before
    good.write(gateway.certificates / "..good")
    _link(gateway.certificates / "..data", "..good")
    gateway.until(lambda: gateway.shown().serial_number == good.serial, "the good pair")


@pytest.mark.parametrize(
    ("upstream", "trusted"),
    [
        ("tls", True),
        ("tls-h2", True),
        ("tls-named", True),
        ("tls-misnamed", False),
        ("tls-unnamed", False),
        ("tls-other", False),
        ("tls-system", False),
    ],
)
@pytest.mark.parametrize("host", ["app.test", "app.internal", "localhost"])
def test_an_applications_certificate_is_judged(
    gateway: Edges, upstream: str, trusted: bool, host: str
) -> None:
    """It must come from the configured authority, for the configured name or the endpoint's, whatever Host is asked for."""
    answer = gateway.ask(f"/{upstream}/x", headers=[("Host", host)])
    if trusted:
        came = received(answer)
        assert came["host"] == host
        assert came["x-came-by"] == ("HTTP/2" if upstream == "tls-h2" else "HTTP/1.1")
        assert came["x-came-for"] == ("app.internal" if upstream == "tls-named" else "localhost")
    else:
        assert (answer.status, problem(answer)) == (502, "upstream-unreachable")


# --- proxies in front


def test_only_a_trusted_proxy_says_where_a_request_came_from(gateway: Edges) -> None:
    """X-Forwarded-* of a stranger are replaced, those of a trusted proxy are passed on with the peer's address added."""
    own = [
        ("X-Forwarded-For", "198.51.100.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
    ]
    own += [("X-Real-IP", "198.51.100.7"), ("Forwarded", "for=198.51.100.7")]
    trusted = received(gateway.ask("/open/x", headers=own))
    assert trusted["x-forwarded-for"].split(",")[0] == "198.51.100.7"
    assert len(trusted["x-forwarded-for"].split(",")) == 2
    assert trusted["x-forwarded-proto"] == "https"
    stranger = received(gateway.ask("/open/x", headers=own, source=STRANGER))
    assert "198.51.100.7" not in stranger["x-forwarded-for"]
    assert "," not in stranger["x-forwarded-for"]
    assert stranger["x-forwarded-proto"] == "http"
    assert not {"x-real-ip", "forwarded", "x-forwarded-host"} & stranger.keys()


@pytest.mark.parametrize(
    ("source", "said", "redirected"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", "http", True),
        ("127.0.0.1", "HTTP", True),
        ("127.0.0.1", "https", False),
        (STRANGER, None, True),
        (STRANGER, "https", True),
        (STRANGER, "http", True),
    ],
)
def test_http_is_redirected(
    gateway: Edges, token: str, source: str, said: str | None, redirected: bool
) -> None:
    """Requests that came by http are sent to https; https is believed of a trusted proxy only; health is never sent away."""
    headers = [("X-Forwarded-Proto", said)] if said else []
    where: dict[str, Any] = {"port": gateway.redirecting_port, "source": source, "headers": headers}
    for target, credential in (("/open/x?a=b%20c", ""), ("/user/x?a=b%20c", token)):
        answer = gateway.ask(target, credential, **where)
        assert answer.status == (301 if redirected else 200)
        if redirected:
            assert answer.header("location") == f"https://app.test{target}"
    assert gateway.ask("/user/x", **where).status == (301 if redirected else 401)
    assert gateway.ask("/oauth/health", **where).status == 200


def test_a_request_id_is_kept_from_a_trusted_proxy(gateway: Edges) -> None:
    """A trusted proxy's X-Request-ID goes through and comes back; a stranger's is replaced; refusals have one too."""
    own = [("X-Request-ID", "from-the-balancer-1")]
    kept = gateway.ask("/open/x", headers=own)
    assert received(kept)["x-request-id"] == kept.header("x-request-id") == "from-the-balancer-1"
    replaced = gateway.ask("/open/x", headers=own, source=STRANGER)
    assert received(replaced)["x-request-id"] == replaced.header("x-request-id") != "from-the-balancer-1"
    refused = gateway.ask("/user/x", headers=own)
    assert json.loads(refused.body)["request_id"] == "from-the-balancer-1"


# --- headers of answers


def test_security_headers_are_on_every_answer(gateway: Edges, token: str) -> None:
    """The response headers of the configuration are on what the application answers, and on every refusal."""
    large = Body(size_bytes=LIMIT + 1)
    answers = {
        200: gateway.ask("/user/x", token),
        401: gateway.ask("/user/x"),
        403: gateway.ask("/closed/x", token),
        413: gateway.ask("/limited/x", token, method="POST", body=large),
        502: gateway.ask("/tls-other/x"),
        504: gateway.ask("/awkward/never"),
    }
    assert {status: answer.status for status, answer in answers.items()} == {
        status: status for status in answers
    }
    for answer in answers.values():
        assert {name: answer.header(name) for name in SECURITY} == SECURITY, answer


def test_answers_are_compressed_when_asked(gateway: Edges) -> None:
    """With compression on, a client that takes gzip gets it, and one that does not gets the plain text."""
    filling = [("X-Filling", "x" * 2000)]
    packed = gateway.ask("/open/x", headers=[("Accept-Encoding", "gzip"), *filling])
    assert packed.header("content-encoding") == "gzip"
    assert "accept-encoding" in (packed.header("vary") or "").lower()
    told = dict(json.loads(gzip.decompress(packed.body))["headers"])
    assert len(packed.body) < 1000 < len(told["x-filling"])
    plain = gateway.ask("/open/x", headers=filling)
    assert plain.header("content-encoding") is None
    assert received(plain)["x-filling"] == "x" * 2000


def test_preflights_are_answered_here(gateway: Edges, echo: Echo) -> None:
    """A preflight of an allowed origin is answered with what is allowed, another's with nothing; none goes further."""
    before = len(echo.arrivals())
    for target in ("/user/x", "/open/x", "/closed/x", "/nowhere"):
        asked = [("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-own")]
        answer = gateway.ask(target, method="OPTIONS", headers=[("Origin", ORIGIN), *asked])
        assert answer.status in (200, 204)
        assert answer.header("access-control-allow-origin") == ORIGIN
        assert answer.header("access-control-allow-methods") == "GET,PUT"
        assert answer.header("access-control-allow-headers") == "X-Own"
        assert answer.header("access-control-allow-credentials") == "true"
        assert answer.header("access-control-max-age") == "600"
        other = gateway.ask(target, method="OPTIONS", headers=[("Origin", "https://evil.example"), *asked])
        assert other.header("access-control-allow-origin") is None
    assert len(echo.arrivals()) == before
    assert gateway.ask("/user/x", method="OPTIONS", headers=[("Origin", ORIGIN)]).status == 401


def test_an_allowed_origin_may_read_every_answer(gateway: Edges, token: str) -> None:
    """Scripts of an allowed origin may read answers and refusals; those of others neither."""
    for target, credential, status in (
        ("/user/x", token, 200),
        ("/user/x", "", 401),
        ("/closed/x", token, 403),
    ):
        answer = gateway.ask(target, credential, headers=[("Origin", ORIGIN)])
        assert (answer.status, answer.header("access-control-allow-origin")) == (status, ORIGIN)
        assert answer.header("access-control-expose-headers") == "X-Seen"
        other = gateway.ask(target, credential, headers=[("Origin", "https://evil.example")])
        assert (other.status, other.header("access-control-allow-origin")) == (status, None)


# --- bodies


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_limit_holds(gateway: Edges, token: str, chunked: bool) -> None:
    """A body of exactly the limit passes, one byte more is 413, declared or not; other routes have no limit."""
    just = gateway.ask("/limited/x", token, method="POST", body=Body(size_bytes=LIMIT, chunked=chunked))
    assert json.loads(just.body)["body_length"] == LIMIT
    for size in (LIMIT + 1, 3_000_000):
        over = gateway.ask("/limited/x", token, method="POST", body=Body(size_bytes=size, chunked=chunked))
        assert (over.status, problem(over)) == (413, "body-too-large")
    free = gateway.ask("/user/x", token, method="POST", body=Body(size_bytes=3_000_000, chunked=chunked))
    assert json.loads(free.body)["body_length"] == 3_000_000


def test_an_anonymous_upload_is_refused_before_its_body(gateway: Edges, echo: Echo) -> None:
    """401 comes before a byte of the body, also when the client waits for a 100; nothing reaches the application."""
    before = len(echo.arrivals())
    withheld = Body(size_bytes=50_000_000, withheld=True)
    for headers in ([], [("Expect", "100-continue")]):
        assert gateway.ask("/user/x", method="POST", body=withheld, headers=headers).status == 401
        assert gateway.ask("/limited/x", method="POST", body=withheld, headers=headers).status in (401, 413)
    assert len(echo.arrivals()) == before


@pytest.mark.parametrize("target", ["/user/slow-upload", "/limited/slow-upload"])
def test_an_upload_streams_through(gateway: Edges, echo: Echo, token: str, target: str) -> None:
    """The first bytes of a body are with the application before the last are sent."""
    head = f"POST {target} HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\nContent-Length: 20\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(head.encode() + b"0123456789")

        def arrived() -> list[Arrival]:
            return [arrival for arrival in echo.arrivals() if arrival.path == target]

        wait_for(lambda: [one.body_length for one in arrived()] == [10], "the first half")
        connection.sendall(b"0123456789")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert arrived()[0].body_length == 20


# --- upstreams


def test_a_silent_application_is_504(gateway: Edges) -> None:
    """An application that does not answer in time is a problem document with status 504, soon after that time."""
    began = time.monotonic()
    answer = gateway.ask("/awkward/never")
    assert (answer.status, problem(answer)) == (504, "upstream-timeout")
    assert 0.5 < time.monotonic() - began < 5


def test_a_slow_answer_is_no_silent_one(gateway: Edges, token: str) -> None:
    """The timeout is for the head of an answer: one that takes long, or pauses for longer, comes through."""
    assert gateway.ask("/awkward/pause").body == b"." * 30
    head, connection = websocket(gateway, "/brief/ws", token)
    with connection:
        assert head.startswith(b"HTTP/1.1 101 ")
        connection.settimeout(1.0)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(20)
        connection.sendall(frame(0x81, b"late", os.urandom(4)))
        assert connection.recv(100) == frame(0x81, b"late")


def test_a_route_may_bound_the_whole_answer(gateway: Edges) -> None:
    """A route's own timeout is for the answer from its first byte to its last: it is cut, and never said to be whole."""
    silent = gateway.ask("/timed/never")
    assert (silent.status, problem(silent)) == (504, "upstream-timeout")
    began = time.monotonic()
    with pytest.raises(Exception, match=r"IncompleteRead|reset"):
        gateway.ask("/timed/drip")
    assert time.monotonic() - began < 2.5


def test_a_broken_answer_is_asked_for_once(gateway: Edges, awkward: Awkward) -> None:
    """An application that closes instead of answering is 502; the request is never sent to it twice."""
    for method in ("GET", "POST"):
        before = awkward.asked["/awkward/close"]
        answer = gateway.ask(
            "/awkward/close", method=method, body=Body(size_bytes=3) if method == "POST" else None
        )
        assert (answer.status, problem(answer)) == (502, "upstream-reset")
        assert awkward.asked["/awkward/close"] == before + 1
    with pytest.raises(Exception, match=r"IncompleteRead|reset"):
        gateway.ask("/awkward/half")


def test_connections_to_an_application_are_kept_or_not(gateway: Edges, awkward: Awkward) -> None:
    """Connections are used again, unless keep-alive is off: then each request has one of its own."""
    for target, most in (("/patient/x", 2), ("/once/x", 10)):
        before = awkward.connections
        for _ in range(10):
            assert gateway.ask(target).status == 200
        used = awkward.connections - before
        assert used == 10 if most == 10 else used <= most  # a worker has connections of its own


def test_endpoints_take_turns(gateway: Edges, echo: Echo, twin: Echo) -> None:
    """Several endpoints of an upstream share its requests."""
    for number in range(12):
        assert gateway.ask(f"/turns/{number}").status == 200
    counts = [sum(arrival.path.startswith("/turns/") for arrival in one.arrivals()) for one in (echo, twin)]
    assert sum(counts) == 12
    assert min(counts) >= 3


def test_a_role_named_n_opens_its_route(gateway: Edges, minted: Minted, token: str) -> None:
    """`n` is a role's name, in the file as in a token."""
    assert gateway.ask("/n/x", minted("u", "n")).status == 200
    for wrong in (token, minted("u", "no"), minted("u", "false"), minted("u")):
        assert gateway.ask("/n/x", wrong).status == 403
