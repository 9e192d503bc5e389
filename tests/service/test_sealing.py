"""What is sealed comes back unchanged, in its place, or not at all."""

from __future__ import annotations

import base64
import multiprocessing
import string
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from wardgate.policy import Secret, Session
from wardgate.service.sealing import FORM, STORE, SealBroken, Sealer, key_bytes


def test_only_its_purpose_place_and_key_open_it() -> None:
    """Another purpose, context or key, a changed or a cut value: none of them opens."""
    sealer = Sealer([b"k" * 32])
    sealed = sealer.seal(STORE, b"value", "name")
    assert sealer.open(STORE, sealed, "name") == b"value"
    for purpose, text, context in (
        (FORM, sealed, "name"),
        (STORE, sealed, "other"),
        (STORE, sealed[:-1], "name"),
        (STORE, sealed[:-1] + bytes([sealed[-1] ^ 1]), "name"),
        (STORE, b"", "name"),
    ):
        with pytest.raises(SealBroken):
            sealer.open(purpose, text, context)
    with pytest.raises(SealBroken):
        Sealer([b"x" * 32]).open(STORE, sealed, "name")


def test_keys_rotate() -> None:
    """The first key seals, all open; a key that is gone opens nothing."""
    old, new = Sealer([b"a" * 32]), Sealer([b"b" * 32, b"a" * 32])
    assert new.open(STORE, old.seal(STORE, b"v", "n"), "n") == b"v"
    with pytest.raises(SealBroken):
        old.open(STORE, new.seal(STORE, b"v", "n"), "n")


def test_text_has_one_form() -> None:
    """Sealed text is base64url without padding, and nothing else is read."""
    sealer = Sealer([b"k" * 32])
    text = sealer.seal_text(FORM, b"v", "n")
    assert sealer.open_text(FORM, text, "n") == b"v"
    for other in (text + "=", text + " ", "", "é", text.replace(text[0], "+", 1)):
        with pytest.raises(SealBroken):
            sealer.open_text(FORM, other, "n")


def test_keys_as_people_write_them() -> None:
    """16, 24 or 32 bytes, as they are or in base64; nothing else."""
    raw = bytes(range(32))
    for text in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")):
        assert key_bytes(text) == raw
    assert key_bytes("0123456789abcdef") == b"0123456789abcdef"
    for bad in ("short", "", "x" * 33):
        with pytest.raises(ValueError, match="16, 24 or 32"):
            key_bytes(bad)


def test_without_a_configured_key_this_machine_has_one(tmp_path: Path) -> None:
    """It is made once, for this user only, and found again; a configured key comes before it."""
    session = Session()
    sealed = Sealer.of(session, tmp_path).seal(STORE, b"v", "n")
    assert Sealer.of(session, tmp_path).open(STORE, sealed, "n") == b"v"
    assert (tmp_path / "sessions.key").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["sessions.key"]
    configured = Session(encryption_key=Secret("0123456789abcdef", "${KEY}"))
    with pytest.raises(SealBroken):
        Sealer.of(configured, tmp_path).open(STORE, sealed, "n")


def test_a_text_has_one_spelling() -> None:
    """Bits that the last character has and no byte needs are not free: another character does not open it."""
    sealer = Sealer([b"k" * 32])
    for plain in (b"", b"a", b"ab"):
        sealed = sealer.seal_text(STORE, plain, "n")
        assert sealer.open_text(STORE, sealed, "n") == plain
        for last in string.ascii_letters + string.digits + "-_":
            if last != sealed[-1]:
                with pytest.raises(SealBroken):
                    sealer.open_text(STORE, sealed[:-1] + last, "n")


def test_without_a_current_key_an_old_one_only_opens(tmp_path: Path) -> None:
    """A key that is left among the old ones seals nothing any more."""
    old = Secret("0123456789abcdef", "${OLD}")
    sealer = Sealer.of(Session(old_encryption_keys=(old,)), tmp_path)
    before = Sealer.of(Session(encryption_key=old), tmp_path)
    assert sealer.open(STORE, before.seal(STORE, b"v", "n"), "n") == b"v"
    with pytest.raises(SealBroken):
        before.open(STORE, sealer.seal(STORE, b"v", "n"), "n")


def _sealed_at_once(state: Path, start: Barrier) -> bytes:
    start.wait(30)
    return Sealer.of(Session(), state).seal(STORE, b"v", "n")


def test_processes_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    """Of several that find no key, one makes it for all, and nothing else is left in the folder."""
    together = 6
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(together) as pool:
        start = manager.Barrier(together)
        for turn in range(5):
            state = tmp_path / str(turn)
            state.mkdir()
            made = pool.starmap(_sealed_at_once, [(state, start)] * together, chunksize=1)
            assert [Sealer.of(Session(), state).open(STORE, one, "n") for one in made] == [b"v"] * together
            assert [file.name for file in state.iterdir()] == ["sessions.key"]
