"""Cookies are read at exact boundaries from bytes, and written with the attributes that the policy gives."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.policy import SameSite, Session
from wardgate.service.cookies import (
    SeveralCookies,
    expire,
    expire_session,
    one,
    pairs,
    session_cookie,
    set_cookie,
    values,
)

NAME = "__Host-wardgate-session"
VALUES = st.text("abcXYZ019!#$%&'()*+-./:<=>?@[]^_`{|}~", max_size=60)


@pytest.mark.parametrize(
    "raw",
    [
        b"__Host-wardgate-session=v",
        b"a=1; __Host-wardgate-session=v; b=2",
        b"a=1;__Host-wardgate-session=v;b=2",
        b"a=1;  \t __Host-wardgate-session=v \t;b=2",
        b"; ;;__Host-wardgate-session=v;",
        b'theme="dark; __Host-wardgate-session=v',
    ],
)
def test_a_cookie_is_found_between_boundaries(raw: bytes) -> None:
    """Semicolons part cookies, with or without blanks; a quote does not hide one from us that Envoy would see."""
    assert one(raw, NAME) == "v"


@pytest.mark.parametrize("byte", [0x00, 0x0B, 0x0C, 0x1C, 0x1F, 0x7F, 0x85, 0xA0, 0xFF])
@pytest.mark.parametrize("form", [b"%b__Host-wardgate-session=v", b"__Host-wardgate-session%b=v"])
def test_a_look_alike_is_another_cookie(byte: int, form: bytes) -> None:
    """Bytes that Python takes for blanks stay part of the name: the cookie is not ours."""
    raw = form % bytes([byte])
    assert one(raw, NAME) is None
    assert one(b"a=1; " + raw + b"; __Host-wardgate-session=ours", NAME) == "ours"


@pytest.mark.parametrize(
    "raw",
    [
        b"__host-wardgate-session=v",
        b"x__Host-wardgate-session=v",
        b"__Host-wardgate-session2=v",
        b"__Host-wardgate-session",
        b"=__Host-wardgate-session=v",
        b"a=__Host-wardgate-session=v",
        b"a=1,__Host-wardgate-session=v",
        b"__Host-wardgate-session%3Dv",
        b"",
    ],
)
def test_another_name_is_another_cookie(raw: bytes) -> None:
    """Letter case, what surrounds a name, and names that are missing matter."""
    assert one(raw, NAME) is None


@pytest.mark.parametrize("second", [b"v", b"w", b""])
def test_two_with_one_name_are_refused(second: bytes) -> None:
    """Nobody can tell which is ours, also when both are equal, or one is empty."""
    raw = b"__Host-wardgate-session=v; a=1; __Host-wardgate-session=" + second
    with pytest.raises(SeveralCookies):
        one(raw, NAME)
    assert values(raw, NAME) == ["v", second.decode()]


def test_several_lines_are_one() -> None:
    """A client may send a line for each cookie; two with one name are two, wherever they stand."""
    assert one([b"a=1", b"__Host-wardgate-session=v", b"b=2"], NAME) == "v"
    with pytest.raises(SeveralCookies):
        one([b"__Host-wardgate-session=v", b"__Host-wardgate-session=v"], NAME)


def test_a_value_is_all_up_to_the_semicolon() -> None:
    """Equals signs and quotes belong to the value; nothing is decoded."""
    assert pairs(b'a=b=c; d="e"; f=%41') == [("a", "b=c"), ("d", '"e"'), ("f", "%41")]


@given(st.binary(max_size=60), VALUES, st.binary(max_size=60))
def test_what_is_written_is_read(before: bytes, value: str, after: bytes) -> None:
    """Whatever other cookies stand around it, ours is read as it was written."""
    written = set_cookie(NAME, value).partition(";")[0].encode()
    assert value in values(before + b"; " + written + b"; " + after, NAME)


@pytest.mark.parametrize("value", ["a b", "a;b", "a,b", 'a"b', "a\\b", "a\r\nb", "ä", "a\x00"])
def test_a_value_that_no_cookie_holds_is_an_error(value: str) -> None:
    """It would be cut, or be a header of its own; and it is not printed, as it may be a secret."""
    with pytest.raises(ValueError, match="cookie's value") as caught:
        set_cookie("a", value)
    assert value not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a=b", "a\n", "ä"])
def test_a_name_that_no_cookie_has_is_an_error(name: str) -> None:
    """What came with a request never becomes an attribute or a header."""
    with pytest.raises(ValueError, match="cookie's name"):
        set_cookie(name, "v")


def test_the_default_session_cookie() -> None:
    """It ends with the browser, is for this host only, and neither scripts nor other sites' forms have it."""
    assert (
        session_cookie(Session(), "v", ends_in_s=60)
        == "__Host-wardgate-session=v; Path=/; Secure; HttpOnly; SameSite=Lax"
    )


def test_a_session_cookie_as_it_is_configured() -> None:
    """Name, path, domain, Secure and SameSite are the policy's; a persistent one ends with the session."""
    session = Session(
        cookie_name="kc",
        cookie_path="/app",
        cookie_domain=".example.com",
        secure=False,
        same_site=SameSite.STRICT,
        persistent=True,
    )
    written = session_cookie(session, "v", ends_in_s=3600.9)
    assert written.startswith("kc=v; Path=/app; Domain=example.com; Max-Age=3600; Expires=")
    assert written.endswith(" GMT; HttpOnly; SameSite=Strict")


def test_none_is_written_out() -> None:
    """SameSite=None is said: without it browsers take Lax."""
    assert session_cookie(Session(same_site=SameSite.NONE), "v", ends_in_s=1).endswith(
        "Secure; HttpOnly; SameSite=None"
    )


def test_expiry_is_said_in_both_ways() -> None:
    """Max-Age for all browsers of today, the date for those that know no Max-Age."""
    written = set_cookie("a", "v", max_age_s=90, now=datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC))
    assert "Max-Age=90; Expires=Sun, 01 Mar 2026 12:01:30 GMT" in written


@pytest.mark.parametrize(
    ("session", "place"),
    [
        (Session(), "__Host-wardgate-session=; Path=/; "),
        (Session(cookie_domain="example.com"), "wardgate-session=; Path=/; Domain=example.com; "),
        (Session(cookie_path="/app"), "wardgate-session=; Path=/app; "),
    ],
)
def test_a_session_cookie_is_removed_where_it_was_set(session: Session, place: str) -> None:
    """Name, path and domain are those with which it was set: else browsers keep it."""
    (removal,) = expire_session(session)
    assert removal.startswith(place + "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure")


def test_a_removal_holds_no_value() -> None:
    """A removal is an empty cookie that was over in 1970."""
    assert expire("a", secure=False) == (
        "a=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax"
    )
