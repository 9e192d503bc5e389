"""What is said to the supervisor, and what waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from wardgate.service import in_force as module
from wardgate.service.attest import Attested
from wardgate.service.in_force import InForce, NotInForce

SOMEBODY = Attested(via="session:kc", subject="u", ends=2_000_000_000, claims={})


def run(scenario: Callable[[InForce], Awaitable[None]]) -> None:
    asyncio.run(_run(scenario))


async def _run(scenario: Callable[[InForce], Awaitable[None]]) -> None:
    await scenario(InForce(b"s" * 32))


async def supervise(subject: InForce, heard: list[dict[str, Any]]) -> None:
    """A supervisor whose Envoy takes everything at once."""
    told: dict[str, Any] = {"life": "", "version": 0, "keys": {}}
    while True:
        said = await subject.wait_for_news({**told, "wait_s": 5})
        heard.append(said)
        told = {"life": said["life"], "version": said["version"], "keys": {}}


def test_nothing_is_signed_before_envoy_has_the_key() -> None:
    """Without an acknowledgement signing fails; who waits for one goes on with it."""

    async def scenario(subject: InForce) -> None:
        with pytest.raises(NotInForce):
            subject.sign(SOMEBODY)
        await subject.wait_for_news({"life": "of another start", "version": 99})
        with pytest.raises(NotInForce):
            subject.sign(SOMEBODY)
        with pytest.raises(NotInForce):
            await subject.ready(0.05)
        waiting = asyncio.create_task(subject.ready())
        said = await subject.wait_for_news({"life": "", "version": 0})
        await subject.wait_for_news({"life": said["life"], "version": said["version"], "wait_s": 0})
        await waiting
        assert subject.sign(SOMEBODY).count(".") == 2

    run(scenario)


def test_denying_waits_for_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deny list is True when Envoy has it, False when nobody says so in time; the same again is no news."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)

    async def scenario(subject: InForce) -> None:
        assert not await subject.deny(["a"])
        heard: list[dict[str, Any]] = []
        supervisor = asyncio.create_task(supervise(subject, heard))
        assert await subject.deny(["b", "a"])
        assert heard[-1]["denied"] == ["a", "b"]
        count = len(heard)
        assert await subject.deny(["a", "b"])
        assert len(heard) == count
        supervisor.cancel()

    run(scenario)


def test_a_list_too_long_ends_every_attested_token() -> None:
    """Beyond the bound the key changes; the list is empty again."""

    async def scenario(subject: InForce) -> None:
        heard: list[dict[str, Any]] = []
        supervisor = asyncio.create_task(supervise(subject, heard))
        assert await subject.deny(["a"])
        first = heard[-1]
        assert await subject.deny([str(number) for number in range(module.MAX_DENIED + 1)])
        last = heard[-1]
        assert last["key"] != first["key"]
        assert last["denied"] == []
        assert subject.sign(SOMEBODY).count(".") == 2
        supervisor.cancel()

    run(scenario)


def test_it_knows_which_keys_envoy_judges_by() -> None:
    """The supervisor says which of the issuers' keys Envoy has; no others are said to be judged."""

    async def scenario(subject: InForce) -> None:
        await subject.wait_for_news({"life": "", "version": 0, "keys": {"kc": ["k1"]}})
        assert subject.judges("kc", "k1")
        assert not subject.judges("kc", "k2")
        assert not subject.judges("other", "k1")

    run(scenario)
