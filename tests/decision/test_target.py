"""Targets: what is judged, and what is refused. That Envoy reads them the same is tested in `tests/differential`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.decision.target import Target, Unsafe, normalize
from wardgate.policy import UNSAFE_PATH


@pytest.mark.parametrize(
    ("raw", "judged"),
    [
        ("/", "/"),
        ("/a/../b", "/b"),
        ("/../a", "/a"),
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a//b///", "/a/b/"),
        ("/a\\b", "/a/b"),
        ("/%41%2d%7e", "/A-~"),
        ("/%2e%2E/a", "/a"),
        ("/a/..;x/b", "/b"),
        ("/{a|b}", "/%7Ba%7Cb%7D"),
        ("/%c3%A9", "/%c3%A9"),
        ("/a?b//c/../%2f;#"[:-1], "/a?b//c/../%2f;"),
    ],
)
def test_spellings_of_one_path_become_one(raw: str, judged: str) -> None:
    """Dot segments, slashes and needless escapes go; the query stays as it was."""
    assert str(normalize(raw)) == judged


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "target-form"),
        ("*", "target-form"),
        ("http://x/", "target-form"),
        ("/a b", "target-bytes"),
        ("/a\n", "target-bytes"),
        ("/é", "target-bytes"),
        ("/a?é", "target-bytes"),
        ("/a#b", "target-fragment"),
        ("/a%2Fb", "path-escaped-slash"),
        ("/a%5cb", "path-escaped-slash"),
        ("/a%00", "path-nul"),
        ("/%2e%2e;/a", "path-ambiguous"),
        ("/a;b", "path-ambiguous"),
        ("/a%3Bb", "path-ambiguous"),
        ("/%252e", "path-ambiguous"),
        ("/%0d", "path-ambiguous"),
        ("/%zz", "path-ambiguous"),
        ("/%", "path-ambiguous"),
        ("/%2%41", "path-ambiguous"),
        ("//", "path-ambiguous"),
    ],
)
def test_what_could_be_read_twice_is_refused(raw: str, reason: str) -> None:
    """Each refusal has a stable reason."""
    assert normalize(raw) == Unsafe(reason)


@given(st.text(alphabet="/.;%2eE5cCaA\\?{", max_size=20).map(lambda text: "/" + text))
def test_normalizing_twice_changes_nothing(raw: str) -> None:
    """A judged path is safe and normal: a second reader finds no other path in it."""
    target = normalize(raw)
    if isinstance(target, Target):
        assert not UNSAFE_PATH.search(target.path)
        assert normalize(str(target)) == target
