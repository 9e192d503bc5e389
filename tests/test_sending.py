"""The client of the tests sends bodies of any size and understands an answer that comes before their end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.echo import Echo
from tests.sending import Body, send

HOST = ("Host", "app.test")


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as running:
        yield running


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_arrives_whole(echo: Echo, chunked: bool) -> None:
    """Five million bytes arrive, declared or in chunks, and the headers are those that were given."""
    answer = send(echo.port, "POST", "/up", [HOST, ("X-A", "b")], Body(size_bytes=5_000_000, chunked=chunked))
    assert answer.status == 200
    seen = json.loads(answer.body)
    assert seen["body_length"] == 5_000_000
    last = ["Transfer-Encoding", "chunked"] if chunked else ["Content-Length", "5000000"]
    assert seen["headers"] == [["Host", "app.test"], ["X-A", "b"], last]


def test_without_a_body_nothing_announces_one(echo: Echo) -> None:
    """A GET has no Content-Length of our making."""
    assert json.loads(send(echo.port, "GET", "/", [HOST]).body)["headers"] == [["Host", "app.test"]]


@pytest.mark.parametrize("withheld", [False, True])
def test_an_answer_before_the_end_of_the_body_is_the_answer(withheld: bool) -> None:
    """A server that refuses at the head and closes is understood, however much of the body is left."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = threading.Thread(target=_refuse_once, args=(server,))
        refusing.start()
        body = Body(size_bytes=500_000_000, withheld=withheld)
        answer = send(server.getsockname()[1], "POST", "/", [HOST], body)
        refusing.join()
    assert (answer.status, answer.header("content-type"), answer.body) == (413, "text/plain", b"no\n")
    assert answer.sent_bytes < body.size_bytes
    assert not (withheld and answer.sent_bytes)


def _refuse_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(
            b"HTTP/1.1 413 Too Large\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nno\n"
        )
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass
