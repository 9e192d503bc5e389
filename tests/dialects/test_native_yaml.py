"""YAML as a person would write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.strategies import TRICKY
from wardgate import document
from wardgate.dialects._native_yaml import WIDTH, Inline, Items, Reference, key, scalar, yaml

TEXTS = st.one_of(st.sampled_from(TRICKY), st.text(), st.text(st.characters(codec="utf-8"), max_size=8))


@given(TEXTS)
def test_text_is_read_back_as_it_was(text: str) -> None:
    """Whatever the text, alone, in a line and in a block: it is read as the same text, variables and all."""
    written = yaml({"a": text, "b": [text, text], "c": Inline(d=text), "e": {"f": text}})
    assert document.read(written, "w", {}).data == {
        "a": text,
        "b": [text, text],
        "c": {"d": text},
        "e": {"f": text},
    }


@given(TEXTS.filter(lambda text: text not in ("", "<<") and len(text) < 500))
def test_a_key_is_read_back_as_it_was(text: str) -> None:
    """Whatever the key, nothing in it is taken for a variable."""
    assert document.read(yaml({text: 1, "x": Inline({text: 2})}), "w", {"HOME": "x"}).data == (
        {text: 1, "x": {text: 2}} if text != "x" else {"x": {text: 2}}
    )


@given(TEXTS.filter(lambda text: "${" not in text))
def test_yaml_1_1_reads_the_same(text: str) -> None:
    """Older readers, to which `n`, `yes` and `12:30:45` are no text, see text too."""
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)  # type: ignore[assignment]
    assert reader.load(f"a: {scalar(text)}\n") == {"a": text}


@pytest.mark.parametrize(
    "text",
    [
        "admin",
        "/api/**",
        "http://app:8080",
        "0.0.0.0:3000",
        "10.0.0.0/8",
        "30s",
        "realm_access.roles",
        "https://a.test/realms/x",
        "two words",
        "mitarbeiter-köln",
        "a.*",
        "GET POST /x",
    ],
)
def test_common_texts_have_no_quotes(text: str) -> None:
    """What people write without quotes is written without quotes."""
    assert scalar(text) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("n", '"n"'),
        ("yes", '"yes"'),
        ("1.0", '"1.0"'),
        ("1e3", '"1e3"'),
        ("12:30:45", '"12:30:45"'),
        ("2020-01-01", '"2020-01-01"'),
        ("", '""'),
        ("a: b", '"a: b"'),
        ("#1", '"#1"'),
        ("*", '"*"'),
        ('{"keys": []}', "'{\"keys\": []}'"),
        (r"a\.b", r"'a\.b'"),
        ('it\'s "so"', r'"it' + "'" + r's \"so\""'),
        ("a\nb\u2028\U0001f989", '"a\\nb\\u2028🦉"'),
        ("\ud800", '"\\ud800"'),
        ("${HOME}", '"${WARDGATE_DOLLAR:-$}{HOME}"'),
    ],
)
def test_other_texts_are_quoted(text: str, written: str) -> None:
    """What YAML could take for something else stands in quotes, the plainest that will do."""
    assert scalar(text) == written


def test_keys_are_not_escaped() -> None:
    """Nothing is substituted in keys, so nothing is hidden from it there."""
    assert key("${HOME}") == '"${HOME}"'


def test_layout() -> None:
    """Short things stand in one line, long ones in a block, references without quotes."""
    long = Inline(any=Items(Inline(role=f"a-rather-long-role-{number}") for number in range(5)))
    data = {
        "listen": "0.0.0.0:3000",
        "secret": Reference("${NAME}"),
        "none": [],
        "nothing": {},
        "flag": True,
        "number": 7,
        "list": ["a", "b"],
        "routes": [{"path": "/a", "roles": ["x"], "inner": {"deep": 1}}, {"allow": long}],
    }
    assert yaml(data) == (
        "listen: 0.0.0.0:3000\n"
        "secret: ${NAME}\n"
        "none: []\n"
        "nothing: {}\n"
        "flag: true\n"
        "number: 7\n"
        "list: [a, b]\n"
        "routes:\n"
        "  - path: /a\n"
        "    roles: [x]\n"
        "    inner:\n"
        "      deep: 1\n"
        "  - allow:\n"
        "      any:\n"
        "        - {role: a-rather-long-role-0}\n"
        "        - {role: a-rather-long-role-1}\n"
        "        - {role: a-rather-long-role-2}\n"
        "        - {role: a-rather-long-role-3}\n"
        "        - {role: a-rather-long-role-4}\n"
    )
    assert all(len(line) <= WIDTH for line in yaml(data).splitlines())
