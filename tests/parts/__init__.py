"""
The real parts that `make test-real` runs against: how each is installed, and how each is started.

Nothing here is a substitute: Keycloak is Keycloak. What is fetched lands in `.cache/parts`, once.
Only the standard library is used, so that `python -m tests.parts.install` needs nothing before it.
"""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CACHE = PROJECT / ".cache" / "parts"


class Missing(Exception):
    """A part cannot be installed here. Says what is absent and how to get it, one line for each."""
