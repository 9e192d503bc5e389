"""A configuration that must be usable: what `show`, `compile`, `explain` and `run` begin with."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from wardgate.cli import sources
from wardgate.dialects import Options
from wardgate.policy import Policy
from wardgate.problems import ConfigError, errors


def usable(config: Sequence[str], chosen: Options, dialect: str | None) -> Policy:
    """The policy; warnings go to stderr. Raises ConfigError with every problem."""
    reading = sources.load(config, chosen, dialect)
    if errors(reading.problems) or reading.policy is None:
        raise ConfigError(reading.problems)
    for problem in reading.problems:
        print(problem, file=sys.stderr)
    return reading.policy
