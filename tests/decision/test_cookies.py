"""Which cookies are ours, and what is left for the upstream."""

from __future__ import annotations

import pytest

from wardgate.decision.cookies import Cookies, read

NAME = "__Host-wardgate-session"


@pytest.mark.parametrize(
    ("header", "session", "others"),
    [
        (None, None, None),
        ("", None, None),
        (f"{NAME}=abc", "abc", None),
        (f"a=1; {NAME}=abc; b=2", "abc", "a=1; b=2"),
        (f"a=1;{NAME}=abc \t;b=2", "abc", "a=1; b=2"),
        (f"{NAME}=", "", None),
        (f"{NAME}= abc", " abc", None),
        (f'{NAME}="abc"', '"abc"', None),
        (f"{NAME}=a=b", "a=b", None),
        # names that another reader could take for ours
        (f"{NAME}x=abc; x{NAME}=abc", None, f"{NAME}x=abc; x{NAME}=abc"),
        (f"{NAME} =abc", None, f"{NAME} =abc"),
        (f"\x1f{NAME}=abc", None, f"\x1f{NAME}=abc"),
        (f"{NAME}", None, NAME),
        (f"a={NAME}=abc", None, f"a={NAME}=abc"),
        (NAME.upper() + "=abc", None, NAME.upper() + "=abc"),
        # ours, and no session
        ("wardgate-login-1=x; __Host-wardgate-login-2=y; a=1", None, "a=1"),
        (f"{NAME}-1=x; {NAME}-12=y", None, f"{NAME}-12=y"),
    ],
)
def test_the_session_cookie_is_its_exact_name_at_a_boundary(
    header: str | None, session: str | None, others: str | None
) -> None:
    """One spelling is the session; all of ours are taken away; everything else stays as it was."""
    assert read(header, NAME, chunks=False) == Cookies(session=session, others=others)


@pytest.mark.parametrize(
    ("header", "several"),
    [
        (f"{NAME}=a; {NAME}=a", True),
        (f"{NAME}=a; {NAME}=", True),
        (f"{NAME}=a; {NAME}x=a", False),
        (f"{NAME}-1=a; {NAME}-1=b", False),
    ],
)
def test_a_session_cookie_that_is_there_twice_is_told(header: str, several: bool) -> None:
    """Which of two would count? Neither, whatever they hold."""
    assert read(header, NAME, chunks=False).several is several


def test_pieces_are_joined_in_their_order() -> None:
    """A session in cookies goes on in numbered ones; a gap ends it, and a piece that is there twice is told."""
    whole = read(f"{NAME}-2=c; {NAME}=a; x=1; {NAME}-1=b; {NAME}-4=e", NAME, chunks=True)
    assert whole == Cookies(session="abc", others="x=1")
    assert read(f"{NAME}-1=b", NAME, chunks=True) == Cookies()
    assert read(f"{NAME}=a; {NAME}-1=b; {NAME}-1=b", NAME, chunks=True).several
