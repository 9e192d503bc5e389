"""The application that the tests put behind the gateway tells the truth about what reached it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.echo import Echo
from tests.echo_websocket import accept_value, frame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as running:
        yield running


def test_the_answer_repeats_the_request(echo: Echo) -> None:
    """Method, path, every header line as it came and the length of the body are in the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", echo.port)
    connection.putrequest("PUT", "/a/b?c=d", skip_host=True, skip_accept_encoding=True)
    for name, value in (("Host", "app.test"), ("X-One", "1"), ("x-ONE", "2"), ("Content-Length", "3")):
        connection.putheader(name, value)
    connection.endheaders(b"abc")
    assert json.load(connection.getresponse()) == {
        "method": "PUT",
        "path": "/a/b?c=d",
        "headers": [["Host", "app.test"], ["X-One", "1"], ["x-ONE", "2"], ["Content-Length", "3"]],
        "body_length": 3,
    }
    connection.close()


def test_a_connection_serves_several_requests_and_counts_them_by_case(echo: Echo) -> None:
    """Requests on one connection are each answered, and each is counted under its own X-Case-Id."""
    connection = http.client.HTTPConnection("127.0.0.1", echo.port)
    for case, body in (("a", b""), ("b", b"12345"), ("a", b"")):
        connection.request("POST", "/", body, {"X-Case-Id": case})
        assert json.load(connection.getresponse())["body_length"] == len(body)
    connection.close()
    assert [len(echo.arrivals(case)) for case in ("a", "b", "c")] == [2, 1, 0]
    assert len(echo.arrivals()) == 3


def test_a_chunked_body_is_counted_as_it_streams(echo: Echo) -> None:
    """The length of a chunked body is the sum of its chunks, without their framing."""
    connection = http.client.HTTPConnection("127.0.0.1", echo.port)
    connection.request("POST", "/", (b"x" * 100_000 for _ in range(7)), encode_chunked=True)
    assert json.load(connection.getresponse())["body_length"] == 700_000
    connection.close()


def test_an_upload_that_breaks_off_has_arrived_but_is_not_complete(echo: Echo) -> None:
    """A body that ends too early counts as an arrival, with the bytes that came."""
    with socket.create_connection(("127.0.0.1", echo.port)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nX-Case-Id: cut\r\nContent-Length: 10\r\n\r\nabc")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    (arrival,) = echo.arrivals("cut")
    assert (arrival.body_length, arrival.complete) == (3, False)


def test_a_websocket_sends_every_message_back(echo: Echo) -> None:
    """Below /ws the handshake is answered, a message comes back, a ping is a pong, a close is a close."""
    with socket.create_connection(("127.0.0.1", echo.port)) as client:
        upgrade = f"GET /chat/ws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        client.sendall(upgrade.encode())
        answer = _until(client, b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert accept_value(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert accept_value(KEY).encode() in answer
        for sent, expected in ((0x81, 0x81), (0x89, 0x8A), (0x88, 0x88)):
            client.sendall(frame(sent, b"hello", b"mask"))
            assert client.recv(100) == frame(expected, b"hello")
        assert client.recv(100) == b""


def test_a_port_in_use_is_an_error(echo: Echo) -> None:
    """A second application on the same port does not start, and does not hang."""
    with pytest.raises(OSError, match="address already in use"):
        Echo(echo.port).start()


def _until(client: socket.socket, end: bytes) -> bytes:
    answer, deadline = b"", time.monotonic() + 10
    while not answer.endswith(end) and time.monotonic() < deadline:
        answer += client.recv(1)
    return answer
