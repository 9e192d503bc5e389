"""A login ends on our own hosts and on listed ones, however an address is spelled, and at the very page that was asked for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attack.cases import SECURITY
from wardgate.policy import ALIASES
from wardgate.service.redirects import RedirectRefused, landing, redirect

OWN = "https://app.example.com"
LISTED = frozenset({"partner.test", "reports.test:8443"})


def to(asked: str | None, own: str = OWN, *, allow_http: bool = False, prefix: str = "/oauth") -> str:
    return landing(
        asked,
        own=own,
        hosts=LISTED,
        cookie_domain=".corp.test",
        allow_http=allow_http,
        prefix=prefix,
    )


def refused(asked: str, own: str = OWN, *, allow_http: bool = False, prefix: str = "/oauth") -> bool:
    try:
        to(asked, own, allow_http=allow_http, prefix=prefix)
    except RedirectRefused as error:
        assert asked not in str(error) or len(asked) < 3
        return True
    return False


# --- where a login may end


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/orders",
        "/orders?page=2&sort=-date",
        "/orders?page=2&page=3&&=&x",
        "/orders/7/items?next=%2Fother%3Fa%3D1",
        "/search?q=caf%C3%A9+%26+bar",
        "/d/abc?from=now-6h&to=now&var-x=a|b&y={z}^`",
        "/caf%C3%A9",
        "/files/a,b(c)'d!e*f~g=h:i+j&k$l",
        "/spa?tab=1#/deep/link?x=1",
        "/?",
        "/a%20b",
        "/users/me@example.com",
        "/@ada",
        "/oauthentic",
        "/oauth2/clients",
        "/app/oauth/logout",
    ],
)
def test_a_path_of_ours_is_kept_letter_by_letter(path: str) -> None:
    """Path, query and fragment of a deep link come back as they went."""
    assert to(path) == OWN + path
    assert to(OWN + path) == OWN + path
    assert to("https://partner.test" + path) == "https://partner.test" + path


@pytest.mark.parametrize("asked", [None, ""])
def test_without_a_wish_it_ends_at_the_root(asked: str | None) -> None:
    """Who asks for nothing comes to the beginning of our own host."""
    assert to(asked) == OWN + "/"


@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("https://app.example.com:443/x", "https://app.example.com"),
        ("https://app.example.com/x", "https://app.example.com:443"),
        ("http://app.example.com:80/x", "http://app.example.com"),
        ("https://APP.Example.COM/x", "https://app.example.com"),
        ("https://app.example.com/x", "https://App.Example.com"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("https://partner.test:443/x", OWN),
        ("https://reports.test:8443/x", OWN),
        ("https://corp.test/x", OWN),
        ("https://a.b.corp.test/x", OWN),
        ("https://a.corp.test:9443/x", "https://app.corp.test:9443"),
    ],
)
def test_absolute_addresses_of_allowed_hosts(asked: str, own: str) -> None:
    """Our own host, listed ones, and those below the cookie's domain; a scheme's own port may be written or not."""
    assert to(asked, own) == asked


def test_an_absolute_address_without_a_path_is_its_root() -> None:
    """A slash is all that is ever added."""
    assert to("https://partner.test") == "https://partner.test/"


@pytest.mark.parametrize(
    ("asked", "own"),
    [
        ("https://app.example.com:8443/", OWN),
        ("https://app.example.com:80/", OWN),
        ("http://127.0.0.1:9090/", "http://127.0.0.1:8080"),
        ("https://evil.test/", OWN),
        ("https://example.com/", OWN),
        ("https://x.app.example.com/", OWN),
        ("https://partner.test:8443/", OWN),
        ("https://x.partner.test/", OWN),
        ("https://reports.test/", OWN),
        ("https://evilcorp.test/", OWN),
        ("https://corp.test.evil.test/", OWN),
        ("https://a.corp.test:9443/", OWN),
        ("https://corp/", OWN),
        ("https://test/", OWN),
        ("https://app.example.com./", OWN),
        ("https://app..example.com/", OWN),
        ("https://app.example.com:/", OWN),
        ("https://app.example.com:0443/x", OWN + ":444"),
        ("https://app.example.com:443443/", OWN),
    ],
)
def test_other_hosts_and_ports_are_refused(asked: str, own: str) -> None:
    """Names and ports are compared whole: what begins or ends alike is another."""
    assert refused(asked, own, allow_http=True)


def test_an_address_of_numbers_is_below_no_domain() -> None:
    """A cookie's domain is a suffix of names, not of addresses."""
    with pytest.raises(RedirectRefused):
        landing("https://10.0.0.1/", own=OWN, cookie_domain="0.0.1")


def test_http_only_where_it_is_ours_or_allowed() -> None:
    """From https nobody is sent to http, unless the configuration says so."""
    for host in ("app.example.com", "partner.test", "a.corp.test"):
        assert refused(f"http://{host}/")
    assert to("http://partner.test/", allow_http=True) == "http://partner.test/"
    assert to("http://a.corp.test/", allow_http=True) == "http://a.corp.test/"
    own = "http://app.example.com"
    assert to(own + "/x", own) == own + "/x"
    assert refused("http://partner.test/", own)
    assert to("https://partner.test/", own) == "https://partner.test/"


@pytest.mark.parametrize(
    "own",
    [
        "",
        "https://",
        "http://",
        "https:///",
        "https://a/b",
        "https://u@a",
        "//a",
        "https://a\\b",
        "https://a b",
    ],
)
@pytest.mark.parametrize("asked", ["/evil.test/", "/", "", None])
def test_without_an_address_of_ours_nothing_is_one(own: str, asked: str | None) -> None:
    """An empty host of ours would make `/evil.test/` an address of evil.test."""
    with pytest.raises(RedirectRefused):
        to(asked, own)


# --- our own endpoints


@pytest.mark.parametrize(
    "path",
    [
        "/oauth",
        "/oauth/",
        "/oauth/logout",
        "/oauth/start?rd=/x",
        "/OAuth/Logout",
        "/%6Fauth/logout",
        "/o%61uth/%6Cogout",
        "/%4fAUTH/callback",
        "/oauth?x",
        "/oauth#x",
        "/oauth/../oauth/logout",
        "/x/../oauth/logout",
        "/./oauth/logout",
        "/x/%2e%2e/oauth/logout",
        "/oauth%2Flogout",
        "/oauth;x/logout",
        "//oauth/logout",
        "/%256Fauth/logout",
        *ALIASES,
    ],
)
def test_our_own_endpoints_are_no_place_to_end(path: str) -> None:
    """A login that ends at the logout, or at a login, is an attack or a circle, however it is written."""
    assert refused(path)
    assert refused(OWN + path)
    assert refused("https://partner.test" + path)


@given(st.data())
def test_no_spelling_of_an_endpoint_is_accepted(data: st.DataObject) -> None:
    """Each letter as it is, in the other case, or encoded."""
    letters = [
        data.draw(st.sampled_from([letter, letter.swapcase(), f"%{ord(letter):02x}", f"%{ord(letter):02X}"]))
        for letter in "auth/logout"
    ]
    assert refused("/" + "".join(letters), prefix="/Auth")
    assert refused("/" + "".join(letters), prefix="/auth")


# --- what attackers write

EVIL = "evil.test"
_SLASHES = (
    "//",
    "///",
    "////",
    "\\\\",
    "/\\",
    "\\/",
    "/\t/",
    "/\n/",
    "/\r/",
    "/ /",
    "/%09/",
    "/%0a/",
    "/%0d/",
)
_ENCODED = (
    "/%2f",
    "/%2F%2f",
    "/%5c",
    "/%5C%5c",
    "/.//",
    "/..//",
    "/%2e//",
    "/%2e%2e//",
    "/;//",
    "/%00/",
    "/x//",
    "/%252f",
)
_SCHEMES = (
    "http:",
    "https:",
    "HtTpS:",
    "//",
    "https:/",
    "https:\\\\",
    "https:///",
    "https://\\",
    "ftp://",
    "ws://",
    "blob:https://",
)
_USERS = (
    "",
    "app.example.com@",
    "app.example.com:443@",
    "app.example.com%40",
    "app.example.com%00@",
    "app.example.com\\@",
)
_TAILS = (
    "",
    "/",
    "/app.example.com",
    "?app.example.com",
    "#app.example.com",
    "\\app.example.com",
    "/%2e%2e",
    "//",
)
_WORDS = (
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "java%0ascript:alert(1)", "\x01javascript:alert(1)"),
    *("data:text/html,x", "vbscript:x", "file:///etc/passwd", "about:blank", "mailto:a@b", "view-source:https://evil.test"),
    *("evil.test", ".evil.test", "@evil.test", ":80", ":@evil.test/", "?x", "#x", "x/y", "./x", "../x", " /x", "/x ", "\t/x", "/x\n"),
    *("/\u2044/evil.test", "/\u2215evil.test", "/\uff0fevil.test", "\uff0f\uff0fevil.test", "https://evil\u3002test/", "https://evil\uff0etest"),
    *("https://evil%E3%80%82test/", "https://app.example.com%2eevil.test", "https://\u0430pp.example.com/", "https://app.example.com\u2024evil.test"),
    *("https://app.ex\u00adample.com/", "https://app.example\u200d.com/", "https://0x7f000001/", "https://2130706433/", "https://127.1/"),
    *("https://[::ffff:127.0.0.1]/", "https://[app.example.com]/", "https://[::1]evil.test/", "https://app.example.com:evil.test/"),
    *("https://app.example.com,evil.test/", "https://app.example.com;evil.test/", "https://app.example.com&evil.test/", "https://evil.test$app.example.com"),
    *("/%0d%0aLocation:%20https://evil.test", "/x\r\nLocation: https://evil.test", "/\x00", "/\x7f", "/x\u2028y", "/\xa0/evil.test", "/\x85/evil.test"),
    *("/%", "/%2", "/%zz", "/x%", "/" + "x" * 9000, "https://" + "a" * 9000),
)  # fmt: skip


def attacks() -> Iterator[str]:
    """Forms that have led browsers or libraries elsewhere, each with every host and end that goes with it."""
    yield from _WORDS
    for lead in (*_SLASHES, *_ENCODED, *_SCHEMES):
        for user in _USERS:
            for tail in _TAILS:
                yield f"{lead}{user}{EVIL}{tail}"
    for user in _USERS[1:]:
        for tail in _TAILS:
            yield f"https://{user}{EVIL}{tail}"
    for tail in _TAILS:
        yield f"https://{EVIL}{tail}"
        yield f"https://app.example.com.{EVIL}{tail}"
        yield f"https://{EVIL}/app.example.com{tail}"


def test_every_form_of_attack_is_refused() -> None:
    """As it is and decoded once more, by https and by http, with http allowed and not."""
    forms = {form for attack in attacks() for form in (attack, unquote(attack))}
    assert len(forms) > 1000
    accepted = [
        form
        for form in sorted(forms)
        for own in (OWN, "http://app.example.com")
        if not refused(form, own, allow_http=True)
    ]
    # decoded, these are plain paths of our own host, and mean what they say
    assert set(accepted) <= {"/x", "/x/y", "/"}


SHARED = SECURITY / "openredirects.txt"

if SHARED.is_file():

    def test_the_shared_list_of_open_redirects_is_refused() -> None:
        """All lines that others have collected, as they are and decoded once and twice."""
        lines = [line for line in SHARED.read_text("utf-8").split("\n") if line]
        assert len(lines) == 558
        for own in (OWN, "http://127.0.0.1:8080"):
            for line in lines:
                for form in (line, unquote(line), unquote(unquote(line))):
                    assert refused(form, own, allow_http=True), form


# --- what is accepted leads where it says, whoever reads it

ALLOWED = re.compile(r"app\.example\.com|partner\.test|reports\.test|(.+\.)?corp\.test")


def browser_host(base: str, asked: str) -> str | None:
    """
    Where a browser goes: the host, None for an address without one. After the URL Standard, as lenient as it is.

    Source: WHATWG URL, 4.4 (blanks and controls around, tabs and line ends anywhere, backslashes as slashes, any
    number of slashes after a special scheme) and 3.5 (hosts: decoded, then IDNA's mapping).
    """
    text = re.sub(r"[\t\n\r]", "", asked.strip("".join(map(chr, range(0x21)))))
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    ours = urlsplit(base)
    if scheme is None:
        if not re.match(r"[/\\]{2}", text):
            return ours.hostname
        rest = text
    else:
        name = scheme[1].lower()
        rest = text[scheme.end() :]
        if name not in ("http", "https", "ws", "wss", "ftp"):
            return None
        if name == ours.scheme and not re.match(r"[/\\]{2}", rest):
            return ours.hostname
    authority = re.split(r"[/\\?#]", re.sub(r"^[/\\]+", "", rest))[0]
    host = re.sub(r":[0-9]*$", "", authority.rpartition("@")[2])
    return re.sub(r"[\u3002\uff0e\uff61]", ".", unicodedata.normalize("NFKC", unquote(host))).lower()


def test_the_reader_reads_as_browsers_do() -> None:
    """The judge of the next test knows the forms that it is there for."""
    for asked in (
        "//evil.test",
        "/\\evil.test",
        "\\\\evil.test/",
        "/\t/evil.test",
        " //evil.test",
        "https:/evil.test",
    ):
        base = "http://app.example.com" if asked.startswith("https") else OWN
        assert browser_host(base, asked) == "evil.test", asked
    assert browser_host(OWN, "https://app.example.com@evil.test/") == "evil.test"
    assert browser_host(OWN, "https://app.example.com\\@evil.test/") == "app.example.com"
    assert browser_host(OWN, "https://evil%E3%80%82test/") == "evil.test"
    assert browser_host(OWN, "https:evil.test") == "app.example.com"
    assert browser_host(OWN, "/x") == "app.example.com"
    assert browser_host(OWN, "javascript:alert(1)") is None


_PIECES = st.sampled_from(
    [
        *("/", "//", "\\", ":", "@", "?", "#", ".", "..", ";", "%", "%2f", "%5c", "%09", "%0a", "%00", "%2e", "%40", "%25", "%3a"),
        *("https:", "http:", "https://", "http://", "javascript:", "\t", "\n", " ", "\x00", "\u3002", "\uff0f", "\u2044", "[", "]"),
        *("app.example.com", "partner.test", "reports.test:8443", "a.corp.test", "corp.test", "evil.test", "evil", ":443", ":8443"),
        *("x", "oauth", "logout", "=", "&", "-", "a|b", "%6f", "xn--", "1", "127.0.0.1", "[::1]"),
    ]
)  # fmt: skip


@settings(max_examples=600)
@given(
    st.lists(_PIECES, max_size=9).map("".join) | st.text(max_size=30) | st.text(max_size=30).map("/".__add__),
    st.sampled_from([OWN, "http://app.example.com", "https://app.example.com:8443"]),
    st.booleans(),
)
def test_what_is_accepted_has_an_allowed_host(asked: str, own: str, allow_http: bool) -> None:
    """For a browser, for Python, for a second decoder, and for who resolves what was asked against our own address."""
    try:
        found = to(asked, own, allow_http=allow_http)
    except RedirectRefused:
        return
    assert found in (asked, asked + "/", own + asked, own + "/")
    for form in (found, unquote(found), unquote(unquote(found))):
        host = browser_host(own, form)
        assert host is not None
        assert ALLOWED.fullmatch(host), form
    assert ALLOWED.fullmatch(urlsplit(found).hostname or "")
    assert urlsplit(found).scheme in ("http", "https")
    assert ALLOWED.fullmatch(urlsplit(urljoin(own, asked)).hostname or "")
    decoded = unquote(urlsplit(found).path).lower()
    assert decoded != "/oauth"
    assert not decoded.startswith("/oauth/")
    assert found.isascii()
    assert found.isprintable()


_SEGMENT = st.text("abcXYZ019-_~!$&'()*+,=:|", min_size=1, max_size=8)
_QUERY = st.text("abcXYZ019-_~!$'()*+,=:|&.?{}^`@/;%", max_size=20).map(
    lambda q: q.replace("//", "/").replace("%", "%25")
)


@given(st.lists(_SEGMENT, max_size=4), _QUERY)
def test_ordinary_pages_are_accepted(segments: list[str], query: str) -> None:
    """What applications have as addresses is no attack, and comes back as it is."""
    page = "/" + "/".join(segments) + (f"?{query}" if query else "")
    assert to(page) == OWN + page


# --- sending


@pytest.mark.parametrize("url", [OWN + "/x?f=a|b&g={h}^`", OWN + "/caf%C3%A9?x=%2f%2F", OWN + "/?q='\"<>\\"])
def test_a_browser_is_sent_letter_by_letter(url: str) -> None:
    """Nothing that a header can hold is encoded on the way."""
    answer = redirect(url)
    assert (answer.status_code, answer.headers["location"]) == (303, url)
    assert answer.headers["cache-control"] == "no-store"


def test_what_no_header_holds_is_encoded() -> None:
    """Line ends and bytes beyond ASCII become their codes, so that nothing is added to the answer."""
    answer = redirect(OWN + "/\r\nSet-Cookie: a=1 \xe9")
    assert answer.headers["location"] == OWN + "/%0D%0ASet-Cookie:%20a=1%20%E9"
