"""
Sessions in Redis or a Redis Cluster, for any number of replicas.

    wardgate:session:{NAME}    hash: generation, used, sealed value; ends by itself
    wardgate:revoked:{NAME}    beside it, in the same slot: what has it is over
    wardgate:lease:{NAME}      who renews the session's tokens now
    wardgate:revocations       sorted set of names by until when: what every replica asks for each second
    wardgate:login:{HASH}      sorted sets of names: the sessions of one login, or one subject, at an issuer
    wardgate:seen:KIND:{HASH}  values that were used once
    wardgate:epoch             lives as long as the content

What must happen at once happens in one slot, by a script. A server that crashes may have lost its last second
(`appendfsync everysec`), a replica that takes over may not have got it: a session begun or renewed then is gone or older, and
one that ended then would be back. So each of us records an end twice: at once, and again when it is so old that it can no longer
be lost with the server; a crash between the two is made good, also one so short that nobody noticed. What remains: whoever asked
for an end dies too before the second time, and, until that time, a session that is back though nobody noticed the crash.
Source: redis.io, "Redis persistence", "Cluster specification".
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError

from wardgate.policy import ClientTls
from wardgate.policy import Session as Terms
from wardgate.service.sealing import Sealer
from wardgate.service.session import Session
from wardgate.service.stores import StoreAway, Summary, summary_of
from wardgate.service.stores.local import opened, sealed

T = TypeVar("T")

TOTAL_S: Final = 1.0
CONNECT_S, ANSWER_S = 0.4, 0.8
CONNECTIONS: Final = 64
AT_ONCE: Final = 32
LOST_S: Final = 5.0
"""More than a server that crashes may have lost."""

ENDS: Final = 10_000
AGAIN: Final = 250
"""So many ends are remembered, and so many of them recorded again at a time: a tenth of a second."""

PAUSE_S: Final = 2.0
SILENCE_S: Final = 10.0

CHANNEL: Final = "wardgate:changes"
REVOCATIONS: Final = "wardgate:revocations"
EPOCH: Final = "wardgate:epoch"
SESSION_KEY: Final = re.compile(rb"wardgate:session:\{([0-9A-Za-z_-]{32})\}")

CREATE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local kept = redis.call('HGET', KEYS[1], 'value')
if kept then return kept == ARGV[3] and 1 or 0 end
redis.call('HSET', KEYS[1], 'generation', ARGV[1], 'used', ARGV[2], 'value', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
return 1
"""
READ = """
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
return redis.call('HMGET', KEYS[1], 'value', 'used')
"""
REPLACE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 0 end
local used = redis.call('HGET', KEYS[1], 'used')
if tonumber(ARGV[3]) > tonumber(used) then used = ARGV[3] end
redis.call('HSET', KEYS[1], 'generation', ARGV[2], 'used', used, 'value', ARGV[4])
redis.call('PEXPIREAT', KEYS[1], ARGV[5])
return 1
"""
TOUCH = """
local used = redis.call('HGET', KEYS[1], 'used')
if not used then return 0 end
if tonumber(ARGV[1]) > tonumber(used) then redis.call('HSET', KEYS[1], 'used', ARGV[1]) end
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
return 1
"""
END = """
redis.call('SET', KEYS[2], ARGV[1], 'PXAT', ARGV[1])
local value = redis.call('HMGET', KEYS[1], 'value', 'used')
redis.call('DEL', KEYS[1], KEYS[3])
return value
"""
LEASE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
INDEX = """
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
if redis.call('PEXPIRETIME', KEYS[1]) < tonumber(ARGV[1]) then redis.call('PEXPIREAT', KEYS[1], ARGV[1]) end
return 1
"""


@dataclass(frozen=True, slots=True)
class _Ended:
    """`at`: when it was recorded, by the monotonic clock."""

    deny_until: float
    at: float


class UrlUnreadable(ValueError):
    """Not the URL of a server."""


class RedisStore:
    """The promises of `SessionStore`. `now`: seconds since 1970, as the server's own clock should have them."""

    def __init__(self, terms: Terms, sealer: Sealer, now: Callable[[], float] = time.time) -> None:
        if terms.store_url is None:
            raise ValueError("no address of a Redis")
        self._terms = terms
        self._url = terms.store_url.reveal()
        self._at = _host_in(self._url)
        self._sealer = sealer
        self._now = now
        self._client: Redis | RedisCluster | None = None
        self._opening = asyncio.Lock()
        self._ended: dict[str, _Ended] = {}
        self._was_away = False
        self._again_from = float("-inf")
        self._failed_at = float("-inf")
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def create(self, session: Session, *, expires: float) -> None:
        for key in _indexes(session.issuer, session.subject, session.issuer_session):
            await self._script(INDEX, [key], [_ms(session.ends), session.name, _ms(self._now())])
        arguments = [session.generation, session.used, sealed(self._sealer, session), _ms(expires)]
        if not await self._script(CREATE, _keys(session.name)[:2], arguments):
            raise StoreAway("a new session's name is taken")

    async def read(self, name: str) -> Session | None:
        if name in self._ended:  # the server may have forgotten
            return None
        return self._opened(name, await self._script(READ, _keys(name)[:2], []))

    async def replace(self, session: Session, *, expires: float) -> bool:
        arguments = [
            session.generation - 1,
            session.generation,
            session.used,
            sealed(self._sealer, session),
            _ms(expires),
        ]
        return bool(await self._script(REPLACE, _keys(session.name)[:2], arguments))

    async def touch(self, name: str, *, used: float, expires: float) -> None:
        await self._script(TOUCH, _keys(name)[:1], [used, _ms(expires)])

    async def end(self, name: str, *, now: float, deny_until: float) -> Session | None:  # noqa: ARG002 - Redis knows the time
        self._remember_end(name, deny_until)
        found = await self._record_end(name, deny_until)
        session = self._opened(name, found)
        with contextlib.suppress(
            StoreAway
        ):  # it has ended: this is a hint, which a user may not be allowed to give
            await self._do(lambda client: client.publish(CHANNEL, b"1"))
        with contextlib.suppress(StoreAway):  # and this is tidiness
            for key in _indexes(session.issuer, session.subject, session.issuer_session) if session else []:
                await self._unlist(key, name)
        return session

    def _remember_end(self, name: str, deny_until: float) -> None:
        self._ended.pop(name, None)
        if len(self._ended) >= ENDS:
            del self._ended[next(iter(self._ended))]
        self._ended[name] = _Ended(deny_until, time.monotonic())

    async def _record_end(self, name: str, deny_until: float) -> Any:
        await self._do(lambda client: client.zadd(REVOCATIONS, {name: deny_until}, gt=True))
        return await self._script(END, _keys(name), [_ms(deny_until)])

    async def _unlist(self, key: str, name: str) -> None:
        await self._do(lambda client: client.zrem(key, name))

    async def of_login(self, issuer: str, *, subject: str | None, issuer_session: str | None) -> list[str]:
        if issuer_session is not None:
            key = _index("login", issuer, issuer_session)
        elif subject is not None:
            key = _index("subject", issuer, subject)
        else:
            return []
        found = await self._do(lambda client: client.zrangebyscore(key, _ms(self._now()), "+inf"))
        return [name.decode("ascii") for name in found]

    async def list(self) -> AsyncIterator[Summary]:
        client = await self._connected_now()
        seen = set()  # SCAN may return a key more than once
        keys = aiter(client.scan_iter(match="wardgate:session:*", count=500))
        while (key := await self._next_of(keys)) is not None:
            name = _name_in(key)
            if name is None or name in seen:
                continue
            seen.add(name)
            session, ends = await self.read(name), await self._ends_at(key)
            if session is not None and ends is not None:
                yield summary_of(session, ends)

    async def _next_of(self, keys: AsyncIterator[bytes]) -> bytes | None:
        return await self._do(lambda _: anext(keys, None))

    async def _ends_at(self, key: bytes) -> float | None:
        """None for one that has just gone (-2)."""
        found = await self._do(lambda client: client.pexpiretime(key))
        return found / 1000 if found > 0 else None

    async def revoked(self, *, now: float) -> Mapping[str, float]:
        found = await self._do(lambda client: client.zrangebyscore(REVOCATIONS, now, "+inf", withscores=True))
        await self._do(lambda client: client.zremrangebyscore(REVOCATIONS, "-inf", now))
        ours = {name: one.deny_until for name, one in self._ended.items() if one.deny_until > now}
        await self._record_again()
        return {**ours, **{name.decode("ascii"): float(until) for name, until in found}}

    async def changes(self) -> AsyncIterator[None]:
        node = await self._any_node()
        listening = node.pubsub()
        try:
            async with asyncio.timeout(TOTAL_S):
                await listening.subscribe(CHANNEL)
            silent = False
            while True:
                message = await listening.get_message(timeout=SILENCE_S)
                if message is not None and message["type"] == "message":
                    yield None
                elif message is None:
                    if silent:
                        raise StoreAway("the session store passes no messages on any more")
                    async with asyncio.timeout(TOTAL_S):
                        await listening.ping()
                silent = message is None
        except StoreAway:
            raise
        except Exception as error:
            raise self._away(error) from error
        finally:
            await listening.aclose()  # type: ignore[no-untyped-call]
            await node.aclose()

    async def lease(self, name: str, owner: str, *, seconds: float) -> bool:
        return bool(await self._script(LEASE, _keys(name)[2:], [owner, int(seconds * 1000)]))

    async def release(self, name: str, owner: str) -> None:
        await self._script(RELEASE, _keys(name)[2:], [owner])

    async def first_time(self, kind: str, value: str, *, seconds: float) -> bool:
        key = f"wardgate:seen:{kind}:{{{_hash(value)}}}"
        ours, milliseconds = secrets.token_bytes(12), max(1, int(seconds * 1000))
        found = await self._do(lambda client: client.set(key, ours, nx=True, px=milliseconds, get=True))
        return found is None or found == ours  # ours: asked a second time, since the first answer got lost

    async def epoch(self) -> str:
        marker = secrets.token_urlsafe(16)
        await self._do(lambda client: client.set(EPOCH, marker, nx=True))
        found = await self._do(lambda client: client.get(EPOCH))
        if found is None:
            raise StoreAway("the store does not keep what it is given")
        return bytes(found).decode("ascii")

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # --- the connection

    async def _script(self, text: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await self._do(lambda client: client.eval(text, len(keys), *keys, *arguments))

    async def _do(self, command: Callable[[Any], Awaitable[T]]) -> T:
        """
        One command, within a second from when it is its turn. Raises StoreAway.

        Few at a time: with thousands at once each would wait longer for this process than for the server, and be taken
        for unanswered. Who waited while the server was found away is told so, and does not try it again.
        """
        arrived = time.monotonic()
        async with self._turns:
            if self._failed_at > arrived:
                raise StoreAway("the session store did not answer another request just now")
            try:
                async with asyncio.timeout(TOTAL_S):
                    return await command(await self._connected())
            # whatever it is: a cluster without nodes is no RedisError, and while nodes go away the client fails with
            # AttributeError, too (redis-py 8.1); one that got out would end who asks for revocations for good
            except Exception as error:
                raise self._away(error) from error

    def _away(self, error: Exception) -> StoreAway:
        if not isinstance(error, NoPermissionError):  # it is there, and will say the same the next time
            self._failed_at = time.monotonic()
            self._was_away = True
        return StoreAway(f"the session store{self._at} does not answer: {type(error).__name__}: {error}")

    async def _record_again(self) -> None:
        """
        Record ends a second time: each once it is old enough, and all at once when the server was away.

        Part of a cluster may be away still: then the rest waits, and who asked for revocations does not.
        """
        now = time.monotonic()
        if now < self._again_from:
            return
        was_away, self._was_away = self._was_away, False
        due = [(name, one) for name, one in self._ended.items() if was_away or one.at <= now - LOST_S]
        try:
            for name, one in due[:AGAIN]:
                await self._record_end(name, one.deny_until)
                if one.at <= now - LOST_S and not was_away:
                    self._ended.pop(name, None)
                else:  # what is recorded only now can be lost, too
                    self._remember_end(name, one.deny_until)
        except StoreAway:
            self._again_from = now + PAUSE_S

    async def _connected(self) -> Redis | RedisCluster:
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                self._client = await self._open()
            return self._client

    async def _open(self) -> Redis | RedisCluster:
        """A plain address whose server is part of a cluster is spoken to as one, as gatekeeper does."""
        single = self._single()
        if not self._terms.store_cluster:
            try:
                about = await single.info("cluster")
            except BaseException:
                await single.aclose()
                raise
            if not int(about.get("cluster_enabled", 0)):
                return single
        await single.aclose()
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(str(self._place["host"]), int(self._place["port"]))],
            username=self._place["username"],
            password=self._place["password"],
            socket_connect_timeout=CONNECT_S,
            socket_timeout=ANSWER_S,
            max_connections=CONNECTIONS,
            retry=Retry(NoBackoff(), 1),
            require_full_coverage=False,
            ssl=self._url.startswith("rediss://"),
            **self._tls(),
        )
        try:
            await cluster.initialize()
        except BaseException:
            await cluster.aclose()
            raise
        return cluster

    def _single(self, place: Mapping[str, Any] | None = None, connections: int = CONNECTIONS) -> Redis:
        """One server; a connection that broke is tried once more."""
        options: dict[str, Any] = {**self._place, **(place or {})}
        if self._url.startswith("rediss://"):
            options |= {"connection_class": SSLConnection, **self._tls()}
        pool = BlockingConnectionPool(
            max_connections=connections,
            timeout=CONNECT_S,
            socket_connect_timeout=CONNECT_S,
            retry=Retry(NoBackoff(), 1),
            **{"socket_timeout": ANSWER_S, **options},
        )
        return Redis.from_pool(pool)

    async def _any_node(self) -> Redis:
        """A connection of its own for messages; every node of a cluster passes them on."""
        client = await self._connected_now()
        listen = {"socket_timeout": None}
        if isinstance(client, RedisCluster):
            nodes = client.get_primaries()
            if not nodes:
                raise StoreAway("the cluster has no node that answers")
            node = nodes[0]
            return self._single({"host": node.host, "port": node.port, **listen}, 2)
        return self._single(listen, 2)

    async def _connected_now(self) -> Redis | RedisCluster:
        try:
            async with asyncio.timeout(TOTAL_S):
                return await self._connected()
        except Exception as error:
            raise self._away(error) from error

    @property
    def _place(self) -> dict[str, Any]:
        """
        Host, port, user, password and number of the database, as the URL has them, and nothing else of it: no setting
        in its query weakens TLS or the bounds on time. Raises UrlUnreadable.
        """
        try:
            found = parse_url(self._url)
        except ValueError:  # its text may quote a password that was not percent-encoded
            raise UrlUnreadable("the store's URL cannot be read (is its password percent-encoded?)") from None
        given: dict[str, Any] = {
            "host": "localhost",
            "port": 6379,
            "username": None,
            "password": None,
            "db": 0,
        }
        return {name: found.get(name, otherwise) for name, otherwise in given.items()}

    def _tls(self) -> dict[str, Any]:
        tls = self._terms.store_tls or ClientTls()
        required = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
        found = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
        return {**found, "ssl_cert_reqs": required, "ssl_check_hostname": tls.verify}

    def _opened(self, name: str, found: Any) -> Session | None:
        if not found or found[0] is None:
            return None
        try:
            used = float(found[1])
        except (TypeError, ValueError):
            return None
        return opened(self._sealer, name, bytes(found[0]), used)


def _keys(name: str) -> list[str]:
    """Of a session: itself, its revocation, its lease; one slot."""
    return [f"wardgate:{kind}:{{{name}}}" for kind in ("session", "revoked", "lease")]


def _host_in(url: str) -> str:
    """For people; nothing when the URL cannot be read: it holds a password."""
    try:
        place = urlsplit(url)
        return f" at {place.hostname}:{place.port or 6379}"
    except ValueError:
        return ""


def _name_in(key: bytes) -> str | None:
    """The name of the session that a key is of; None for what somebody else put there."""
    found = SESSION_KEY.fullmatch(key)
    return found[1].decode("ascii") if found else None


def _indexes(issuer: str, subject: str, issuer_session: str | None) -> list[str]:
    found = [_index("subject", issuer, subject)]
    return found if issuer_session is None else [*found, _index("login", issuer, issuer_session)]


def _index(kind: str, issuer: str, value: str) -> str:
    return f"wardgate:{kind}:{{{_hash(f'{issuer} {value}')}}}"


def _hash(value: str) -> str:
    """Whatever others call things, a key's name has a fixed form."""
    return base64.urlsafe_b64encode(hashlib.sha256(value.encode()).digest()[:18]).decode("ascii")


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
