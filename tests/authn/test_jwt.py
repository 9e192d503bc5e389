"""What Envoy is told about a provider's tokens."""

from __future__ import annotations

from datetime import timedelta

import pytest

from wardgate.authn import jwt
from wardgate.policy import Audiences, Credentials, Kind, Provider


@pytest.mark.parametrize(("leeway_s", "told_s"), [(0, 1), (0.5, 1), (1, 1), (1.5, 2), (30, 30)])
def test_no_leeway_is_not_envoys_default(leeway_s: float, told_s: int) -> None:
    """A leeway below a second becomes one: 0 would make Envoy accept tokens that expired a minute ago."""
    provider = Provider(
        name="p",
        issuer="https://id.example",
        audience=Audiences(any_of=("app",)),
        leeway=timedelta(seconds=leeway_s),
    )
    credentials = Credentials(kinds=frozenset({Kind.BEARER}), providers=("p",))
    wanted = [jwt.want(credentials, {"p": provider}, False)]
    blocks = jwt.filter_config(wanted, {"p": provider}, {})["providers"]
    skews = {block["clock_skew_seconds"] for name, block in blocks.items() if name.startswith("p-")}
    assert skews == {told_s}
