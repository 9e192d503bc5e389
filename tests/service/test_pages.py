"""Pages escape what they print, load nothing, run nothing; templates of one's own are used, or said not to be usable."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from wardgate.policy import Session
from wardgate.service.diagnosis import Cause
from wardgate.service.pages import MAX_TEMPLATE_BYTES, PAGES, Pages

EVIL = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>{{ 7*7 }}"

VALUES: dict[str, dict[str, Any]] = {
    "sign-in": {
        "providers": [{"title": EVIL, "url": "/oauth/start?provider=a"}, {"title": "Partners", "url": EVIL}],
        "email_url": "/oauth/start",
        "email_fields": [("to", EVIL)],
    },
    "forbidden": {"who": EVIL, "logout_url": EVIL},
    "error": {"title": EVIL, "message": EVIL, "detail": EVIL, "code": EVIL, "again_url": EVIL},
    "diagnosis": {
        "title": EVIL,
        "message": EVIL,
        "code": EVIL,
        "causes": [Cause(title=EVIL, text=EVIL, remedy=EVIL), Cause(title="Two", text="Without a remedy.")],
        "again_url": EVIL,
    },
    "onward": {"url": "https://app.example.com/?x=" + EVIL},
    "logged-out": {"again_url": EVIL},
    "confirm-logout": {"action": "/oauth/logout", "fields": [("token", EVIL)], "back_url": EVIL, "at_issuer": True},
    "unavailable": {"message": EVIL, "again_url": EVIL},
}  # fmt: skip


class Page(HTMLParser):
    """What a browser and a screen reader make of a page: elements with their attributes, and text."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.source = bytes(answer.body).decode()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.style = ""
        self._within: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._within.append("")

    def handle_data(self, data: str) -> None:
        if self._within and self._within[-1] == "style":
            self.style += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(params=PAGES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def shown(name: str, **values: Any) -> Page:
    return Page(Pages(Session()).html(name, **values))


def test_whatever_is_printed_is_escaped(name: str) -> None:
    """Text of issuers, addresses and people is text: it adds no element, no attribute, and is no template."""
    page = shown(name, request_id=EVIL, **VALUES[name])
    plain = shown(
        name, request_id="r", **json.loads(json.dumps(VALUES[name], default=_plain).replace("EVIL", ""))
    )
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(found) for _, found in page.elements] == [sorted(found) for _, found in plain.elements]
    assert "<script" not in page.source
    assert "49" not in page.text
    assert "alert(1)" in page.text or name in ("confirm-logout", "logged-out", "onward")


def _plain(value: object) -> object:
    return {"title": "t", "text": "t", "remedy": "r" if isinstance(value, Cause) and value.remedy else ""}


def test_nothing_is_loaded_and_nothing_runs(name: str) -> None:
    """No scripts, handlers, pictures, fonts or styles from anywhere; no style that the policy would not let in."""
    page = shown(name, request_id="r", **VALUES[name])
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "video", "base"}
    attributes = {attribute for _, found in page.elements for attribute in found}
    assert not {
        one for one in attributes if one.startswith("on") or one in ("src", "srcset", "style", "background")
    }
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_the_headers_of_a_page(name: str) -> None:
    """Kept by nobody, framed by nobody, taken for nothing else; the policy lets exactly our own style in."""
    answer = Pages(Session()).html(name, 403, **VALUES[name])
    page, policy = Page(answer), answer.headers["content-security-policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert policy.endswith("; base-uri 'none'; frame-ancestors 'none'")
    assert "unsafe" not in policy


def test_forms_may_lead_to_issuers_and_say_where_they_come_from(name: str) -> None:
    """A page with a form can be sent, and its Origin is told; a page without one can send nothing, and tells nothing."""
    answer = Pages(Session()).html(name, **VALUES[name])
    has_form = bool(Page(answer).all("form"))
    policy, referrer = answer.headers["content-security-policy"], answer.headers["referrer-policy"]
    assert has_form == (name in ("sign-in", "confirm-logout"))
    assert ("form-action 'none'" in policy) != has_form
    assert ("form-action 'self' https: http:" in policy) == has_form
    assert referrer == ("same-origin" if has_form else "no-referrer")


def test_a_page_can_be_read_by_ear_and_used_by_keys(name: str) -> None:
    """A language, a title, one heading, one main part; labels for fields; no order of its own; pictures are silent."""
    page = shown(name, request_id="r", **VALUES[name])
    assert page.all("html")[0]["lang"] == "en"
    assert re.search(r"<title>[^<]+</title>", page.source)
    assert len(page.all("h1")) == len(page.all("main")) == 1
    (viewport,) = [one for one in page.all("meta") if one.get("name") == "viewport"]
    assert viewport["content"].startswith("width=device-width")
    fields = [one for one in page.all("input") if one.get("type") != "hidden"]
    assert {one["id"] for one in fields} == {one["for"] for one in page.all("label")}
    assert all(one.get("aria-hidden") == "true" for one in page.all("svg"))
    assert not [found for _, found in page.elements if "tabindex" in found or "autofocus" in found]
    named = {found["id"] for _, found in page.elements if "id" in found}
    assert {found["aria-labelledby"] for _, found in page.elements if "aria-labelledby" in found} <= named


def test_a_page_is_whole_without_any_value(name: str) -> None:
    """What is not given is left out: no empty links, no lists without a point, no `None`."""
    page = shown(name)
    assert all(one.get("href") for one in page.all("a")) or name == "onward"
    assert "None" not in page.text
    assert not page.all("footer")


def test_the_title_is_the_heading() -> None:
    """A page that is given another heading has it as its title, too: it is what is read first."""
    for name in ("error", "diagnosis"):
        page = shown(name, title="Something else")
        assert "<title>Something else</title>" in page.source
        assert "<h1>Something else</h1>" in page.source


def test_the_request_and_the_code_are_shown() -> None:
    """People can tell whoever looks after the service what to look for."""
    page = shown("error", request_id="4a1d-2f6e", code="login-error", message="m")
    assert "Request 4a1d-2f6e" in page.text
    assert "Code login-error" in page.text


def test_the_chooser_offers_all_and_asks_for_an_address() -> None:
    """Each provider is a link; the form for an e-mail address works without scripts, and only where it is of use."""
    page = shown("sign-in", **VALUES["sign-in"])
    assert [one["href"] for one in page.all("a")] == ["/oauth/start?provider=a", EVIL]
    (form,) = page.all("form")
    assert (form["method"], form["action"]) == ("get", "/oauth/start")
    assert [one.get("name") for one in page.all("input")] == ["to", "email"]
    without = shown("sign-in", providers=VALUES["sign-in"]["providers"])
    assert not without.all("form")


def test_the_logout_is_sent_by_post_with_its_token() -> None:
    """A link that somebody else wrote would not do."""
    page = shown("confirm-logout", **VALUES["confirm-logout"])
    (form,) = page.all("form")
    assert (form["method"], form["action"]) == ("post", "/oauth/logout")
    assert [(one["type"], one["name"], one["value"]) for one in page.all("input")] == [
        ("hidden", "token", EVIL)
    ]


def test_onward_goes_on_by_itself_and_by_a_link() -> None:
    """The address is kept letter by letter in both, whatever is in it."""
    url = "https://app.example.com/x?a='b'&c=\"d\";url=https://evil.test"
    page = shown("onward", url=url)
    (refresh,) = [one for one in page.all("meta") if one.get("http-equiv") == "refresh"]
    assert refresh["content"] == f"0;url={url}"
    assert [one["href"] for one in page.all("a")] == [url]


def test_the_diagnosis_parts_causes_from_remedies() -> None:
    """People read what is the matter, and whoever looks after the service what to do; without remedies it is left out."""
    causes = [
        Cause(title="Cookies are blocked.", text="It does not come back.", remedy="Compare the attributes.")
    ]
    page = shown("diagnosis", causes=causes)
    assert "The likely cause" in page.text
    assert page.text.index("Cookies are blocked.") < page.text.index("For whoever looks after")
    assert page.text.index("For whoever looks after") < page.text.index("Compare the attributes.")
    assert "For whoever" not in shown("diagnosis", causes=[Cause(title="a", text="b")]).text


# --- templates of one's own


def own(folder: Path, text: str, page: str = "error", **values: str) -> Pages:
    file = folder / f"{page}.html"
    file.write_text(text)
    return Pages(Session(pages=((page, str(file)),), page_values=tuple(values.items())))


def test_a_template_of_ones_own_is_used(tmp_path: Path) -> None:
    """With our values, its own ones by name and as `tags`, all escaped."""
    text = "<h1>{{ title }}|{{ tags.title }}|{{ tags['support'] }}|{{ message }}|{{ request_id }}</h1>"
    pages = own(tmp_path, text, title="Shop", support="a@b")
    answer = pages.html("error", 400, request_id="r-1", message="<b>")
    assert bytes(answer.body) == b"<h1>Shop|Shop|a@b|&lt;b&gt;|r-1</h1>"
    assert answer.status_code == 400
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(
        "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self';"
    )
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert b"Signing" in pages.html("unavailable", 503).body


def test_a_value_of_ones_own_hides_none_of_ours(tmp_path: Path) -> None:
    """The file cannot say another request id or address than there is."""
    pages = own(
        tmp_path,
        "{{ request_id }} {{ again_url }} {{ tags.request_id }}",
        request_id="mine",
        again_url="/evil",
    )
    assert bytes(pages.html("error", request_id="r", again_url="/start").body) == b"r /start mine"


def test_values_of_ones_own_disturb_none_of_our_pages() -> None:
    """Whatever they are called."""
    values = tuple(
        (name, "x") for name in ("style", "self", "name", "title", "message", "range", "request_id", "tags")
    )
    for name in PAGES:
        for given in ({}, VALUES[name]):
            answer = Pages(Session(page_values=values)).html(name, **given)
            assert bytes(answer.body) == bytes(Pages(Session()).html(name, **given).body)


def test_a_page_that_was_written_for_gatekeeper(tmp_path: Path) -> None:
    """Go's fields are understood, and `redirect` is where the first provider's login begins."""
    pages = own(
        tmp_path, '<a href="{{ .redirect }}">{{.title}}</a>{{- .missing -}} !', "sign-in", title="Shop"
    )
    answer = pages.html("sign-in", providers=[{"title": "Staff", "url": "/oauth/start?to=x&provider=a"}])
    assert bytes(answer.body) == b'<a href="/oauth/start?to=x&amp;provider=a">Shop</a>!'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ if .redirect }}{{ end }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ missing.field }}", "UndefinedError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "SecurityError"),
        ("{{ tags.update({'a': 'b'}) }}", "SecurityError"),
        ("{{ range(99999999) }}", "OverflowError"),
        ("x" * (MAX_TEMPLATE_BYTES + 1), "ValueError"),
        ("\udcff", "UnicodeDecodeError"),
    ],
)
def test_a_broken_template_gives_way_to_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    """People see our page with the same status, and the log says which file is the matter, and why."""
    file = tmp_path / "error.html"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    answer = Pages(Session(pages=(("error", str(file)),))).html("error", 400, message="What went wrong.")
    assert answer.status_code == 400
    assert b"What went wrong." in answer.body
    assert b"uid=" not in answer.body
    assert "'sha256-" in answer.headers["content-security-policy"]
    event = json.loads(capsys.readouterr().err)
    assert (event["level"], event["page"], event["file"]) == ("warning", "error", str(file))
    assert words in event["problem"]


def test_a_template_that_is_not_there_gives_way_to_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may come later: it is looked for each time."""
    pages = own(tmp_path, "mine")
    (tmp_path / "error.html").unlink()
    assert b"went wrong" in pages.html("error", message="It went wrong.").body
    assert "FileNotFoundError" in capsys.readouterr().err
    (tmp_path / "error.html").write_text("back")
    assert pages.html("error").body == b"back"


def test_a_changed_template_is_seen_without_a_restart(tmp_path: Path) -> None:
    """The next page is of the file as it is then, also when it is as long as before."""
    pages = own(tmp_path, "one")
    assert pages.html("error").body == b"one"
    (tmp_path / "error.html").write_text("two")
    os.utime(tmp_path / "error.html", ns=(1, 1))
    assert pages.html("error").body == b"two"
