"""
Sealed values: what leaves the service for a store or a browser, and comes back unread and unchanged, or not at all.

AES-256-GCM. A key is derived from the configured one for each purpose (HKDF-SHA256), so what was sealed for one never
opens for another; the context (a session's name, a login's state) is bound in, so it never opens in another's place. The
first key seals, all of them open: a key is rotated by putting the new one first. Source: NIST SP 800-38D, RFC 5869.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wardgate.policy import Session

NONCE_BYTES: Final = 12
KEY_SIZES: Final = (16, 24, 32)

STORE: Final = "session store"
LOGIN_COOKIE: Final = "login cookie"
SESSION_COOKIE: Final = "session cookie"
FORM: Final = "form"
"""The purposes."""


class SealBroken(ValueError):
    """Sealed by nobody here, for another purpose or place, with a key that was withdrawn, or changed on its way."""


class Sealer:
    """Seals and opens. `keys`: secrets of any form and length, the newest first; at least one."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("nothing can be sealed without a key")
        self._keys = tuple(keys)
        self._derived: dict[tuple[int, str], AESGCM] = {}

    @classmethod
    def of(cls, session: Session, state: Path) -> Sealer:
        """
        The configured key, or one of this machine's own, which is made once; then the old ones, which only open.

        Raises OSError, and ValueError for a key of another form.
        """
        old = [key_bytes(key.reveal()) for key in session.old_encryption_keys]
        given = session.encryption_key
        return cls([key_bytes(given.reveal()) if given else own_key(state / "sessions.key"), *old])

    def seal(self, purpose: str, plain: bytes, context: str) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._key(0, purpose).encrypt(nonce, plain, context.encode())

    def open(self, purpose: str, sealed: bytes, context: str) -> bytes:
        """Raises SealBroken."""
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        if len(rest) < 16:
            raise SealBroken("too short to be sealed")
        for number in range(len(self._keys)):
            try:
                return self._key(number, purpose).decrypt(nonce, rest, context.encode())
            except InvalidTag:
                continue
        raise SealBroken("it does not open with any key")

    def seal_text(self, purpose: str, plain: bytes, context: str) -> str:
        """The same as base64url without padding, for cookies and forms."""
        return base64.urlsafe_b64encode(self.seal(purpose, plain, context)).rstrip(b"=").decode("ascii")

    def open_text(self, purpose: str, sealed: str, context: str) -> bytes:
        """Raises SealBroken."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", sealed):
            raise SealBroken("not base64url")
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        except (binascii.Error, ValueError) as error:
            raise SealBroken("not base64url") from error
        if base64.urlsafe_b64encode(raw).rstrip(b"=") != sealed.encode():
            raise SealBroken("another spelling of the same bytes")
        return self.open(purpose, raw, context)

    def _key(self, number: int, purpose: str) -> AESGCM:
        found = self._derived.get((number, purpose))
        if found is None:
            kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"wardgate " + purpose.encode())
            found = self._derived[number, purpose] = AESGCM(kdf.derive(self._keys[number]))
        return found


def key_bytes(text: str) -> bytes:
    """A key as it is configured: 16, 24 or 32 bytes as they are, or in base64 (standard or URL-safe)."""
    if len(text.encode()) in KEY_SIZES:
        return text.encode()
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) not in KEY_SIZES:
        raise ValueError("a key is 16, 24 or 32 bytes, as they are or in base64")
    return decoded


def own_key(path: Path) -> bytes:
    """The key in a file that only this user can read. Of two that make it at once, the first wins for both."""
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return _read(path)


def _read(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != 32:
        raise OSError(f"{path} is not a key; remove it, and everybody logs in again")
    return key
