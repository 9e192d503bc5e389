"""Tests against real parts, which `make test-real` installs and starts. They do not skip."""
