"""
Notices that configuration files changed: by looking, since every kind of storage supports that.

A file is looked at twice a second (time, size, inode; through links, as Kubernetes swaps them) and read only when
one of these moved. A change counts once the files have stood still for one look: editors write in pieces.
"""

from __future__ import annotations

import hashlib
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

POLL_S = 0.5

Marks = tuple[tuple[str, int, int, int], ...]


class Watch:
    """`files` gives the files as they are now: a folder may have got another one."""

    def __init__(self, files: Callable[[], Iterable[Path]]) -> None:
        self._files = files
        self._lock = threading.Lock()
        self.read()

    def read(self) -> None:
        """The files are about to be read: what they hold now is no change any more."""
        with self._lock:
            self._marks = self._look()
            self._content = self._digest()
            self._moving = False

    def changed(self) -> bool:
        """Whether the content differs from when the files were last read, or this was last true."""
        with self._lock:
            return self._changed()

    def _changed(self) -> bool:
        marks = self._look()
        if marks != self._marks:
            self._marks, self._moving = marks, True
            return False
        if not self._moving:
            return False
        self._moving = False
        content = self._digest()
        if content == self._content:
            return False
        self._content = content
        return True

    def _look(self) -> Marks:
        return tuple(_mark(file) for file in self._listed())

    def _listed(self) -> list[Path]:
        try:
            return sorted(self._files())
        except Exception:  # what is wrong with the files is said when they are read
            return []

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for file in self._listed():
            digest.update(f"{file}\0".encode(errors="replace"))
            digest.update(_content(file))
        return digest.hexdigest()


def _mark(file: Path) -> tuple[str, int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), found.st_mtime_ns, found.st_size, found.st_ino


def _content(file: Path) -> bytes:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe can be read once, and was
            return b""
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return b"absent"
