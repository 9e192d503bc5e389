"""The fixtures of `tests/real`."""

from tests.real.conftest import *  # noqa: F403
