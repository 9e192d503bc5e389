"""What every test shares. Fixtures live in the folders that use them."""

from __future__ import annotations

import pytest

# A table that several test modules inherit: its asserts explain themselves as those of a test module do.
pytest.register_assert_rewrite("tests.idp_table")
