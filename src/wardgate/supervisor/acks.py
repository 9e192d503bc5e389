"""
Whether Envoy uses a file: read from its statistics, since nothing else tells the truth.

`version_text` moves only when a file is in use, but it also moves when content that was refused before is sent
again; so the counters of refusals must stand still too, and whoever writes never sends refused content twice
(each is stamped with its generation). `/config_dump` shows refused versions as if they were in use.
Source: found by running Envoy 1.40; there is no acknowledgement for configuration in files.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping

from wardgate.problems import Unavailable
from wardgate.supervisor.admin import Admin, Stats
from wardgate.supervisor.files import Group, group_of, name_of
from wardgate.supervisor.local_http import NoAnswer

POLL_S = 0.005
WARM_S = 5.0
"""How long clusters may take to resolve their names before routes use them anyway."""

_REFUSALS = ("update_rejected", "update_failure")
_WARMING = ("cluster_manager.warming_clusters", "listener_manager.total_listeners_warming")


class EnvoyGone(Unavailable):
    """Envoy died while it was asked."""


class EnvoySilent(Unavailable):
    """Envoy lives and did not take a file over in time."""


class Rejected(Unavailable):
    """Envoy refused files; the configuration before them is still in force."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = tuple(sorted(files))
        super().__init__(f"Envoy refused {', '.join(self.files)}")


def scope(file: str) -> str:
    """The statistics of one file's subscription, as a regular expression up to their last word."""
    # Envoy writes a colon in a statistic's name as _ .
    name = re.escape(name_of(file).replace(":", "_"))
    match group_of(file):
        case Group.LISTENERS:
            return r"^listener_manager\.lds\."
        case Group.CLUSTERS:
            return r"^cluster_manager\.cds\."
        case Group.ROUTES:
            return rf"\.rds\.{name}\."
        case Group.FILTERS:
            return rf"^extension_config_discovery\.http_filter\.{name}\."
        case Group.SECRETS:
            return rf"(?:^|\.)sds\.{name}\."


class Watch:
    """
    The subscriptions of some files, from before they are written until Envoy uses them.

    `alive` says whether Envoy's process still runs.
    """

    def __init__(self, admin: Admin, alive: Callable[[], bool], files: Iterable[str]) -> None:
        self._admin = admin
        self._alive = alive
        self._scopes = {file: scope(file) for file in files}
        self._before: Mapping[str, int] = {}
        words = "|".join(("version_text", *_REFUSALS))
        figures = "|".join(re.escape(name) for name in _WARMING)
        self._pattern = f"(?:{'|'.join(self._scopes.values())})(?:{words})$|^(?:{figures})$"

    async def begin(self) -> None:
        """Remember the refusals so far; only what comes on top of them counts."""
        self._before = self._refusals(await self._stats(deadline=time.monotonic() + 5.0))

    async def wait(self, versions: Mapping[str, str], deadline: float) -> None:
        """Until every file is in use in its version. Raises Rejected, EnvoyGone, EnvoySilent."""
        warm_by = time.monotonic() + WARM_S
        while True:
            stats = await self._stats(deadline)
            refused = [
                file for file, count in self._refusals(stats).items() if count > self._before.get(file, 0)
            ]
            if refused:
                raise Rejected(refused)
            missing = self._missing(stats, versions)
            if not missing and (time.monotonic() > warm_by or not any(map(stats.numbers.get, _WARMING))):
                return
            if time.monotonic() > deadline:
                raise EnvoySilent(f"Envoy has not taken over {', '.join(missing)}")
            await asyncio.sleep(POLL_S)

    async def _stats(self, deadline: float) -> Stats:
        while True:
            try:
                return await self._admin.stats(self._pattern)
            except NoAnswer as error:
                if not self._alive():
                    raise EnvoyGone("Envoy died") from error
                if time.monotonic() > deadline:
                    raise EnvoySilent("Envoy does not answer") from error
            await asyncio.sleep(POLL_S)

    def _refusals(self, stats: Stats) -> dict[str, int]:
        return {
            file: sum(
                value
                for name, value in stats.numbers.items()
                if name.endswith(_REFUSALS) and re.search(pattern, name)
            )
            for file, pattern in self._scopes.items()
        }

    def _missing(self, stats: Stats, versions: Mapping[str, str]) -> list[str]:
        missing = []
        for file, version in versions.items():
            said = {text for name, text in stats.texts.items() if re.search(self._scopes[file], name)}
            unused = not said and group_of(file) is Group.SECRETS  # no connection needed it yet
            if said != {version} and not unused:
                missing.append(file)
        return sorted(missing)
