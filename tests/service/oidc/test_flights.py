"""One question at a time: shared while it flies, asked anew once it has landed."""

from __future__ import annotations

import asyncio

from wardgate.service.oidc.flights import Flights


def test_a_question_that_is_on_its_way_is_shared() -> None:
    """Who asks meanwhile takes its answer; who asks later asks anew."""

    async def run() -> None:
        flights: Flights[str, int] = Flights()
        asked = 0

        async def ask() -> int:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            return asked

        assert await asyncio.gather(*(flights.join("x", ask) for _ in range(3))) == [1, 1, 1]
        assert await flights.join("x", ask) == 2
        assert "x" not in flights

    asyncio.run(run())


def test_a_question_that_is_answered_is_over_at_once() -> None:
    """
    Also before the loop comes round to forgetting it: one who asks in a loop until the answer is new would otherwise keep
    the loop from ever doing so (an issuer's keys, in a flood of tokens).
    """

    async def run() -> None:
        flights: Flights[str, int] = Flights()
        gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def waits() -> int:
            return await gate

        async def anew() -> int:
            return 2

        async def in_a_loop() -> int:
            for turn in range(1000):
                if await flights.join("x", anew) == 2:
                    return turn
            raise AssertionError("the loop never came round")

        first = flights.start("x", waits)
        gate.set_result(1)
        await asyncio.sleep(0)  # the question's own turn, and ours: its callbacks have not run
        while not first.done():
            await asyncio.sleep(0)
        assert "x" not in flights
        assert await in_a_loop() == 0
        assert await first == 1

    asyncio.run(run())
