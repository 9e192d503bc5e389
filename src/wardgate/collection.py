"""When Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """
    Not meanwhile: a configuration is made of a great many objects that all stay, and looking through them again and again takes
    more than half of the time that a large one needs. The process is to be in this in one place at a time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
