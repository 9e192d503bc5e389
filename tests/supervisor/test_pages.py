"""The page for people who may not do something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.supervisor.trivial import policy
from wardgate.authn import jwt
from wardgate.envoy.replies import REQUEST_ID_MARK, local_reply_config
from wardgate.policy import Provider, Session, UncheckedAudience
from wardgate.supervisor.pages import forbidden_page

KC = Provider(name="kc", issuer="https://id.example", audience=UncheckedAudience(), client_id="gate")


def test_nobody_logs_in() -> None:
    """Where nobody can log in there is no such page."""
    assert forbidden_page(policy(1, 2)) is None
    assert forbidden_page(replace(policy(1, 2), session=Session())) is None


def test_ours_and_ones_own(tmp_path: Path) -> None:
    """It names the request and a way out; a template of one's own is taken, as long as it can be used."""
    ours = forbidden_page(replace(policy(1, 2), session=Session(), providers=(KC,)))
    assert ours is not None
    assert REQUEST_ID_MARK in ours.html
    assert 'href="/oauth/logout"' in ours.html
    own = tmp_path / "403.html"
    own.write_text("<p>100% not for you, {{ company }}</p>", "utf-8")
    session = Session(pages=(("forbidden", str(own)),), page_values=(("company", "<Acme>"),))
    found = forbidden_page(replace(policy(1, 2), session=session, providers=(KC,)))
    assert found is not None
    assert found.html == "<p>100% not for you, &lt;Acme&gt;</p>"
    own.write_text("{% broken", "utf-8")
    fallback = forbidden_page(replace(policy(1, 2), session=session, providers=(KC,)))
    assert fallback == ours


def test_envoy_prints_it_as_it_is(tmp_path: Path) -> None:
    """What Envoy would take for a format is text there, but for the request's id."""
    own = tmp_path / "403.html"
    own.write_text("100% {{ request_id }}", "utf-8")
    session = Session(pages=(("forbidden", str(own)),))
    page = forbidden_page(replace(policy(1, 2), session=session, providers=(KC,)))
    mappers = local_reply_config(jwt.REASONS, False, "/oauth/start", page)["mappers"]
    texts = [
        mapper.get("body_format_override", {}).get("text_format_source", {}).get("inline_string")
        for mapper in mappers
    ]
    assert "100%% %REQ(X-REQUEST-ID)%" in texts
