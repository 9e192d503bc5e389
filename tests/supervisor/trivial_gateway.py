"""
`python -m tests.supervisor.trivial_gateway FILE STATE`: a whole gateway with the trivial compiler.

FILE holds one JSON object: `port`, `upstream`, and optionally `admin`, `issuer`, `refresh_s`,
`drain_s`, `marks`. What else is
in it, or no JSON, is a problem with a line, as with a real dialect.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.supervisor.trivial import Trivial, policy
from wardgate.dialects import Reading
from wardgate.policy import Address, Limits, Policy, Provider, UncheckedAudience
from wardgate.problems import ConfigError, Problem, Where
from wardgate.supervisor import Files, Options, run

KNOWN = {"port", "upstream", "admin", "issuer", "drain_s", "marks", "refresh_s"}


def load(file: Path) -> Reading:
    try:
        content = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        where = Where(file=str(file), line=1)
        return Reading(policy=None, problems=(Problem(code="test-json", message=str(error), where=where),))
    unknown = [
        Problem(code="test-key", message="an unknown key", got=key, where=Where(file=str(file), line=1))
        for key in content.keys() - KNOWN
    ]
    if unknown:
        return Reading(policy=None, problems=tuple(unknown))
    return Reading(policy=read(content, str(file)), notes=("read by the test dialect",))


def read(content: dict[str, object], file: str) -> Policy:
    marks = content.get("marks", {})
    assert isinstance(marks, dict)
    found = policy(int(str(content["port"])), int(str(content["upstream"])), **marks)
    if "admin" in content:
        found = replace(found, admin=Address(host="127.0.0.1", port=int(str(content["admin"]))))
    if "issuer" in content:
        provider = Provider(
            name="kc",
            issuer=str(content["issuer"]),
            audience=UncheckedAudience(),
            keys_refresh=timedelta(seconds=float(str(content.get("refresh_s", 60)))),
        )
        found = replace(found, providers=(provider,))
    drain = timedelta(seconds=float(str(content.get("drain_s", 5))))
    listener = replace(found.listeners[0], where=Where(file=file, line=1, path="port"))
    return replace(found, limits=Limits(drain=drain), listeners=(listener,))


def main() -> int:
    file, state = Path(sys.argv[1]), Path(sys.argv[2])
    options = Options(state=state, concurrency=1)
    try:
        return run(Files(lambda: load(file), lambda: [file]), options, Trivial())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
