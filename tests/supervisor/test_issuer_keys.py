"""Which keys are enforced: fetched, kept from before, or written in the configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.service.issuer import jwks
from tests.supervisor.trivial import policy
from wardgate.keystore import KeyCopy, KeyStore, source_of
from wardgate.policy import Policy, Provider, UncheckedAudience
from wardgate.problems import ConfigError, Where
from wardgate.supervisor.issuer_keys import MAX_AGE_S, IssuerKeys
from wardgate.verify.keys import clean_jwks

NOW = 1_000_000.0
PROVIDER = Provider(name="kc", issuer="https://id.example/realms/r", audience=UncheckedAudience())


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    found = KeyStore(tmp_path)
    found.prepare()
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(store: KeyStore, clock: Clock) -> IssuerKeys:
    return IssuerKeys(store, clock)


def with_provider(provider: Provider) -> Policy:
    return replace(policy(1, 2), providers=(provider,))


def put(store: KeyStore, kid: str, fetched: float, provider: Provider = PROVIDER) -> None:
    """A copy as another process wrote it, whatever stood there."""
    copy = KeyCopy(issuer=provider.issuer, address="", fetched=fetched, jwks=clean_jwks(jwks(kid)).as_json())
    (store.path / source_of(provider).file).unlink(missing_ok=True)
    store.write(source_of(provider), copy, now=fetched)


def kids(found: dict[str, str]) -> list[str]:
    return [key["kid"] for key in json.loads(found["kc"])["keys"]] if "kc" in found else []


def test_without_a_copy_there_are_no_keys(keys: IssuerKeys) -> None:
    """A provider whose keys were never fetched is absent, so that its routes answer 503."""
    assert keys.of(with_provider(PROVIDER)) == {}


@pytest.mark.parametrize(
    ("age_s", "used"), [(0, True), (MAX_AGE_S, True), (MAX_AGE_S + 1, False), (-3600, False)]
)
def test_a_copy_of_an_earlier_run_must_be_young(
    store: KeyStore, keys: IssuerKeys, age_s: float, used: bool
) -> None:
    """Older than a day, or from the future, a copy is not used: its keys may have been withdrawn."""
    put(store, "k1", NOW - age_s)
    assert kids(keys.of(with_provider(PROVIDER))) == (["k1"] if used else [])


def test_keys_in_force_stay_while_the_gateway_runs(store: KeyStore, keys: IssuerKeys, clock: Clock) -> None:
    """With the issuer away for days and the copy gone, tokens keep verifying."""
    put(store, "k1", NOW)
    assert kids(keys.of(with_provider(PROVIDER))) == ["k1"]
    clock.now += 10 * MAX_AGE_S
    (store.path / source_of(PROVIDER).file).unlink()
    assert kids(keys.of(with_provider(PROVIDER))) == ["k1"]


def test_a_newer_copy_replaces_and_an_older_never(store: KeyStore, keys: IssuerKeys, clock: Clock) -> None:
    """What was fetched later wins, whatever the file says now, unless the clock was wrong before."""
    put(store, "k2", NOW)
    keys.of(with_provider(PROVIDER))
    put(store, "k1", NOW - 100)
    assert kids(keys.of(with_provider(PROVIDER))) == ["k2"]
    put(store, "k3", NOW + 1)
    clock.now += 1
    assert kids(keys.of(with_provider(PROVIDER))) == ["k3"]
    clock.now -= 5000
    put(store, "k4", clock.now)
    assert kids(keys.of(with_provider(PROVIDER))) == ["k4"]


def test_another_address_does_not_inherit_keys(store: KeyStore, keys: IssuerKeys) -> None:
    """Keys belong to the issuer at its addresses; a changed address starts without."""
    put(store, "k1", NOW)
    moved = replace(PROVIDER, jwks_url="https://elsewhere.example/keys")
    assert keys.of(with_provider(moved)) == {}
    assert kids(keys.of(with_provider(PROVIDER))) == ["k1"]


def test_only_keys_of_allowed_algorithms_are_enforced(
    store: KeyStore, keys: IssuerKeys, capsys: pytest.CaptureFixture[str]
) -> None:
    """A provider that allows ES256 only gets none of an issuer's RSA keys, and that is said once."""
    put(store, "k1", NOW)
    narrow = with_provider(replace(PROVIDER, algorithms=("ES256",)))
    assert keys.of(narrow) == {}
    assert keys.of(narrow) == {}
    assert capsys.readouterr().err.count("RS256") == 1


def test_inline_keys_need_no_issuer(keys: IssuerKeys) -> None:
    """Keys in the configuration are cleaned and used; broken ones are a problem with their place."""
    inline = replace(PROVIDER, jwks=jwks("k9").decode(), where=Where(file="w.yaml", line=7))
    assert kids(keys.of(with_provider(inline))) == ["k9"]
    with pytest.raises(ConfigError) as refused:
        keys.of(with_provider(replace(inline, jwks='{"keys": []}')))
    assert str(refused.value).startswith("w.yaml:7: ")
    assert refused.value.problems[0].code == "jwks-inline"


def test_a_copy_that_someone_broke_is_no_copy(store: KeyStore, keys: IssuerKeys) -> None:
    """Keys from disk are cleaned again before they are enforced."""
    put(store, "k1", NOW)
    file = store.path / source_of(PROVIDER).file
    content = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**content, "jwks": '{"keys": [{"kty": "oct", "k": "AAAA"}]}'}), "utf-8")
    assert keys.of(with_provider(PROVIDER)) == {}
