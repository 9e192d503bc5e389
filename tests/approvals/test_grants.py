"""Grants as data: which requests are one, what a grant says, and who spends it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.approvals.people import ISSUER, known, of_client, of_person
from tests.approvals.test_desk import Clock, opened, refusal
from wardgate.approvals.desk import Desk
from wardgate.approvals.grants import EMPTY, Call, Grant, NoGrant, Signer, read, wanted
from wardgate.approvals.records import Phase, Wish
from wardgate.approvals.targets import NoTarget
from wardgate.problems import TokenError
from wardgate.verify import clean_jwks

AGENT = known(of_client("agent-1"))
OTHER = known(of_client("agent-2"))
REVIEWER = known(of_person("reviewer-1"))

SIGNER = Signer(b"\1" * 32)
KEYS = clean_jwks({"keys": [SIGNER.public_jwk()]})

URL = "https://shop.test/orders/7?x=1"


def wish(url: str = URL, **http: Any) -> Wish:
    return Wish(action="call", target=url, reason="", content={"httpRequest": {"method": "DELETE", **http}})


def call(url: str = URL, method: str = "DELETE", body: str = EMPTY) -> Call:
    return Call.of(method, url, body)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://shop.test/a", "http://shop.test/a"),
        ("https://shop.test:443/a", "https://SHOP.test/a"),
        ("http://shop.test:80/a", "http://shop.test/a"),
        ("https://shop.test", "https://shop.test/"),
        ("https://shop.test/%c3%a9", "https://shop.test/%C3%A9"),
    ],
)
def test_spellings_of_one_request(one: str, other: str) -> None:
    assert call(one) == call(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://shop.test/a", "https://shop.test/a/"),
        ("https://shop.test/a", "https://shop.test/A"),
        ("https://shop.test/a?x=1&y=2", "https://shop.test/a?y=2&x=1"),
        ("https://shop.test/a?", "https://shop.test/a?x"),
        ("https://shop.test:8443/a", "https://shop.test/a"),
        ("https://shop.test/a%2A", "https://shop.test/a*"),
    ],
)
def test_two_requests(one: str, other: str) -> None:
    assert call(one) != call(other)


@pytest.mark.parametrize("url", ["k8s://prod/x", "https://shop.test/a/../b", "https://u@shop.test/", "x"])
def test_what_no_request_can_be(url: str) -> None:
    with pytest.raises(NoTarget):
        call(url)


def test_what_is_wanted() -> None:
    assert wanted(wish()) == call()
    assert wanted(wish(bodySha256="0" * 64)) == call(body="0" * 64)
    assert wanted(Wish(action="a", target=URL, reason="")) is None


async def approved(desk: Desk) -> str:
    return (await desk.ask(AGENT, wish())).request.name


def test_of_several_who_spend_one_does(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path, safety=()) as desk:
            name = await approved(desk)
            token, ends = await desk.grant(AGENT, name, SIGNER)
            again, _ = await desk.grant(AGENT, name, SIGNER)
            found = [read(each, KEYS, Clock()(), call()) for each in (token, again)]
            assert found[0] == found[1] == Grant(request=name, issuer=ISSUER, subject="id-of-agent-1")
            assert 299 <= ends - Clock()() <= 300
            spent = await asyncio.gather(
                *(desk.spend(found[n % 2], ISSUER, "id-of-agent-1") for n in range(20)),
                return_exceptions=True,
            )
            won = [each for each in spent if not isinstance(each, BaseException)]
            assert [one.phase for one in won] == [Phase.EXECUTING]
            assert {each.code for each in spent if isinstance(each, NoGrant)} == {"grant-spent"}
            assert len(spent) == 20
            events = [entry.event for entry in await desk.store.record(request=name)]
            assert events == ["filed", "granted", "granted", "spent"]
            assert await refusal(desk.grant(AGENT, name, SIGNER)) == (
                409,
                'request is in phase "Executing" — a grant is given when Approved',
            )

    asyncio.run(work())


def test_who_may_spend_and_be_granted(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path, safety=()) as desk:
            name = await approved(desk)
            grant = Grant(request=name, issuer=ISSUER, subject="id-of-agent-1")
            for issuer, subject in ((ISSUER, "id-of-agent-2"), ("https://other.test", "id-of-agent-1")):
                with pytest.raises(NoGrant) as refused:
                    await desk.spend(grant, issuer, subject)
                assert refused.value.code == "grant-holder"
            stranger = Grant(request=name, issuer=ISSUER, subject="id-of-agent-2")
            with pytest.raises(NoGrant):
                await desk.spend(stranger, ISSUER, "id-of-agent-2")
            with pytest.raises(NoGrant):
                await desk.spend(Grant(request="x", issuer=ISSUER, subject="s"), ISSUER, "s")
            assert (await refusal(desk.grant(OTHER, name, SIGNER)))[0] == 404
            assert (await refusal(desk.grant(REVIEWER, name, SIGNER)))[0] == 403
            assert (await desk.read(REVIEWER, name)).phase is Phase.APPROVED

    asyncio.run(work())


def test_a_grant_is_read_strictly(tmp_path: Path) -> None:
    async def work() -> str:
        async with opened(tmp_path, safety=()) as desk:
            token, _ = await desk.grant(AGENT, await approved(desk), SIGNER)
            return token

    token = asyncio.run(work())
    now = Clock()()
    read(token, KEYS, now, call())
    for other in (
        call(method="POST"),
        call(URL + "2"),
        call(body="0" * 64),
        call("https://shop.test/orders/8?x=1"),
    ):
        with pytest.raises(NoGrant):
            read(token, KEYS, now, other)
    with pytest.raises(TokenError):
        read(token, KEYS, now, call("https://other.test/orders/7?x=1"))
    with pytest.raises(TokenError):
        read(token, KEYS, now + 400, call())
    with pytest.raises(TokenError):
        read(token, clean_jwks({"keys": [Signer(b"\2" * 32).public_jwk()]}), now, call())
