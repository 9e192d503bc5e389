"""
The API server, spoken to: lists, watches, status patches, events. How it is reached and with which credentials is kr8s'
business: a kubeconfig (tokens, certificates, exec plugins), or the service account of a pod.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import kr8s.asyncio

from wardgate.problems import ConfigError, Problem, Where

Object = dict[str, Any]

PAGE: Final = 500
ANSWER_S: Final = 30.0
SILENCE_S: Final = 150.0
"""A watch says something every minute (bookmarks); one that is silent for longer is dead."""

WATCH_S: Final = 600
"""How long the API server keeps one watch; the next goes on where it ended."""

MERGE: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of objects. `versions`: the newest first. `fields` selects some of them (a field selector)."""

    group: str
    kind: str
    plural: str
    versions: tuple[str, ...] = ("v1",)
    namespaced: bool = True
    fields: str = ""

    def path(self, version: str, namespace: str | None = None) -> str:
        root = f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"
        inside = f"/namespaces/{namespace}" if namespace is not None and self.namespaced else ""
        return f"{root}{inside}/{self.plural}"

    @property
    def selection(self) -> dict[str, str]:
        """The query parameters that select them."""
        return {"fieldSelector": self.fields} if self.fields else {}

    def api_version(self, version: str) -> str:
        return f"{self.group}/{version}" if self.group else version


NETWORK: Final = (httpx.HTTPError, kr8s.APITimeoutError, kr8s.ServerError, OSError)


class Away(Exception):
    """Nobody answers, or not in a way that could be understood."""


class ApiError(Exception):
    """The API server answers with an error, which Kubernetes has a word for (`reason`)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Change:
    """One event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: Object


class Client:
    """One API server. `kubeconfig` None: $KUBECONFIG, ~/.kube/config, or the pod's service account."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._api: Any = None
        self._sessions: list[httpx.AsyncClient] = []
        self._renewing = asyncio.Lock()

    async def connect(self) -> str:
        """Find credentials and the server; its address. Raises ConfigError without any, Away when nobody answers."""
        async with self._renewing:
            if self._api is None:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # a server that is newer than kr8s knows
                        self._api = await kr8s.asyncio.api(kubeconfig=self._kubeconfig, context=self._context)
                except Exception as error:  # whatever a kubeconfig, or a plugin that it names, makes of it
                    if isinstance(error, NETWORK) and not isinstance(
                        error, (FileNotFoundError, PermissionError)
                    ):
                        raise Away(str(error) or type(error).__name__) from error
                    raise _no_credentials(error) from error
                await self._open()
        return str(self._api.auth.server)

    async def _open(self) -> None:
        auth = self._api.auth
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        session = httpx.AsyncClient(
            base_url=auth.server, verify=await auth.ssl_context(), timeout=ANSWER_S, limits=limits
        )
        self._sessions.append(session)

    async def close(self) -> None:
        for session in self._sessions:
            await session.aclose()

    # --- what is asked

    async def list(self, resource: Resource, version: str, namespace: str | None) -> tuple[list[Object], str]:
        """All objects, and the resourceVersion that a watch goes on from."""
        found: list[Object] = []
        asked: dict[str, Any] = {"limit": PAGE, **resource.selection}
        while True:
            answer = await self.ask("GET", resource.path(version, namespace), params=asked)
            for item in answer.get("items") or ():  # which do not say what they are, unlike those of a watch
                found.append({"apiVersion": resource.api_version(version), "kind": resource.kind, **item})
            metadata = answer.get("metadata") or {}
            if not metadata.get("continue"):
                return found, str(metadata.get("resourceVersion", ""))
            asked["continue"] = metadata["continue"]

    async def watch(
        self, resource: Resource, version: str, namespace: str | None, since: str
    ) -> AsyncIterator[Change]:
        """What changes from there on, until the server ends it. Raises ApiError with 410 when `since` is too long ago."""
        asked: dict[str, Any] = {
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": WATCH_S,
            **resource.selection,
        }
        timeout = httpx.Timeout(ANSWER_S, read=SILENCE_S)
        async with self._asked(
            "GET", resource.path(version, namespace), params=asked, timeout=timeout
        ) as answer:
            try:
                async for line in answer.aiter_lines():
                    if not line:
                        continue
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _refused(int(event["object"].get("code") or 500), event["object"])
                    yield Change(event["type"], event["object"])
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                raise Away(f"the watch broke off: {str(error) or type(error).__name__}") from error

    async def ask(self, method: str, path: str, **arguments: Any) -> Object:
        """One exchange; the answer's JSON. Raises Away or ApiError."""
        async with self._asked(method, path, **arguments) as answer:
            try:
                await answer.aread()
                found: Object = answer.json()
            except (httpx.HTTPError, ValueError) as error:
                raise Away(str(error) or type(error).__name__) from error
            return found

    async def patch(self, path: str, content: Mapping[str, Any]) -> Object:
        """A merge patch (RFC 7386); with a resourceVersion in it, ApiError with 409 when the object changed since."""
        headers = {"content-type": MERGE}
        return await self.ask("PATCH", path, content=json.dumps(content).encode(), headers=headers)

    @asynccontextmanager
    async def _asked(self, method: str, path: str, **arguments: Any) -> AsyncIterator[httpx.Response]:
        await self.connect()
        for attempt in (1, 2):
            auth, session = self._api.auth, self._sessions[-1]
            headers = {"accept": "application/json", **arguments.pop("headers", {})}
            if auth.token:
                headers["authorization"] = f"Bearer {str(auth.token).strip()}"
            if auth.tls_server_name:
                arguments["extensions"] = {"sni_hostname": auth.tls_server_name}
            try:
                async with session.stream(method, path, headers=headers, **arguments) as answer:
                    if answer.status_code == 401 and attempt == 1:
                        arguments["headers"] = headers
                        await self._renew(session)
                        continue
                    if answer.status_code >= 400:
                        raise _refused(answer.status_code, await _json(answer))
                    yield answer
                    return
            except httpx.HTTPError as error:
                raise Away(str(error) or type(error).__name__) from error

    async def _renew(self, session: httpx.AsyncClient) -> None:
        """The credentials are old: read them again. Several requests find that out at once."""
        async with self._renewing:
            if session is not self._sessions[-1]:
                return
            try:
                await self._api.auth.reauthenticate()
            except Exception as error:  # an exec plugin may fail in any way
                raise Away(f"no new credentials: {error!r}") from error
            await self._open()


async def _json(answer: httpx.Response) -> object:
    await answer.aread()
    try:
        return answer.json()
    except ValueError:
        return None


def _refused(status: int, body: object) -> ApiError:
    told = body if isinstance(body, dict) else {}
    return ApiError(status, str(told.get("reason", "")), str(told.get("message", ""))[:500])


def _no_credentials(error: Exception) -> ConfigError:
    hint = "give --kubeconfig FILE, set KUBECONFIG, or run in a pod with a service account"
    message = "nothing that can be used says how to reach an API server"
    where = Where(file="--kubeconfig")
    problem = Problem(
        code="kubernetes-credentials",
        message=message,
        where=where,
        got=" ".join(str(error).split())[:200],
        hint=hint,
    )
    return ConfigError([problem])
