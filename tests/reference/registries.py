"""
Every registry of problem codes in the package, found by looking: a module's own `CODES`, code -> one sentence.

A module that takes over another's registry (`from … import CODES`) counts once, with the module that holds it first.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

import wardgate


@cache
def registries() -> dict[str, Mapping[str, str]]:
    """Module name -> its codes, in the order of the names."""
    found: dict[str, Mapping[str, str]] = {}
    for name in sorted(modules()):
        codes = vars(import_module(name)).get("CODES")
        if isinstance(codes, Mapping) and not any(codes is known for known in found.values()):
            found[name] = codes
    return found


def modules() -> Iterator[str]:
    """The package's modules, without those that are programs."""
    for module in pkgutil.walk_packages(wardgate.__path__, "wardgate."):
        if not module.name.endswith("__main__"):
            yield module.name


def known_codes() -> set[str]:
    """Every code that some registry explains."""
    return {code for codes in registries().values() for code in codes}
