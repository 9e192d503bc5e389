"""A configuration that must be usable: what `show`, `compile`, `explain` and `run` begin with."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from wardgate.cli import sources
from wardgate.dialects import Options
from wardgate.dialects.aip import safety_policies
from wardgate.policy import Policy
from wardgate.problems import ConfigError, errors
from wardgate.safety import SafetyPolicy


def usable(config: Sequence[str], chosen: Options, dialect: str | None) -> Policy:
    """The policy; warnings go to stderr. Raises ConfigError with every problem."""
    reading = sources.load(config, chosen, dialect)
    if errors(reading.problems) or reading.policy is None:
        raise ConfigError(reading.problems)
    for problem in reading.problems:
        print(problem, file=sys.stderr)
    return reading.policy


def safety_of(files: Sequence[str]) -> tuple[SafetyPolicy, ...]:
    """Safety policies of files of their own, or those of a wardgate.yaml. Raises ConfigError with every problem."""
    documents = [document for path in files for document in sources.documents(path, os.environ)]
    if any(isinstance(each.data, dict) and "approvals" in each.data for each in documents):
        policy = usable(files, sources.options(None, None, False, None), "native")
        return policy.approvals.safety if policy.approvals is not None else ()
    found, problems = safety_policies(documents)
    if errors(problems):
        raise ConfigError(problems)
    return found
