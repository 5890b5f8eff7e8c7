"""Which settings a worker decides by: those of its group, not those of its file."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from types import MappingProxyType

from craft_stream.errors import ConfigurationError, IntegrityError
from craft_stream.events import Observer
from craft_stream.parameters import Parameters
from craft_stream.ports.transport import Transport
from craft_stream.settings import Settings
from craft_stream.settings.versioned import LISTS, common_values, contradictions, differences, fixed_values
from craft_stream.topics.models import ModelStore
from craft_stream.topics.settings_versions import SettingsVersion
from craft_stream.topics.settings_writer import publish_next

log = logging.getLogger(__name__)


class GroupSettings:
    """Follows the versions of a group's settings, as far as the store of the model topic is refreshed.

    Args:
        settings: of this process.
        encoder: digest of the encoder that they ask for.
        store: of the model topic; others refresh it.
        observer: is told what takes force.
        lists: digests of the lists that this process has read, by the names of their settings.
    """

    def __init__(
        self,
        settings: Settings,
        encoder: str,
        store: ModelStore,
        observer: Observer,
        lists: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._settings, self._encoder, self._store, self._observer = settings, encoder, store, observer
        self._lists = lists
        self._version: SettingsVersion | None = None
        self._seen = 0

    def agree(self, transport: Transport) -> None:
        """Before the group is joined: publish this process's settings if the group has none, and hold them against its own.

        Raises:
            ConfigurationError: they contradict the group's in what cannot change, or what only a restart changes.
            IntegrityError: a newer release has published the group's.
        """
        kafka = self._settings.kafka
        known = self._store.newest_settings(kafka.group_id)
        if known is None:
            known = publish_next(transport, self._store, kafka.model_topic, kafka.group_id, self._first)
        assert known is not None  # noqa: S101  # the first, or another worker's
        check_fixed(known, self._settings)
        check_common(known, self._settings, self._lists)
        if others := self._take(known):
            log.warning(
                "settings %d of group %s rule, where this process was given others: %s; `craft-stream settings apply` "
                "publishes a file's",
                known.number,
                kafka.group_id,
                "; ".join(others),
            )

    def _first(self, before: SettingsVersion | None) -> SettingsVersion | None:
        if before is not None:
            return None
        return SettingsVersion.of(self._settings, self._encoder, 1, int(1000 * time.time()), self._lists)

    def current(self) -> Parameters:
        """What is to be in force from each partition's next epoch on."""
        group = self._settings.kafka.group_id
        if self._store.settings_number(group) != self._seen:
            self._seen = self._store.settings_number(group)
            try:
                self._take(self._store.newest_settings(group))
            except IntegrityError as error:
                log.error("%s; this worker goes on with the version before", error)
                self._observer.error(type(error).__name__)
        assert self._version is not None  # noqa: S101  # agreed
        return self._version.parameters

    def _take(self, version: SettingsVersion | None) -> list[str]:
        """Offer a version from now on; what is different in it from the one before, or from this process's own."""
        before, self._version = self._version, version or self._version
        if version is None or (before is not None and before.number == version.number):
            return []
        self._seen = version.number
        parameters, own = version.parameters, self._settings.parameters(self._encoder)
        changes = list(version.changes(before) if before is not None else differences(own, parameters))
        self._observer.settings(version.number, parameters.digest, parameters.selection.rate, changes)
        if before is not None:
            log.info(
                "settings %d take force at each partition's next epoch: %s",
                version.number,
                "; ".join(changes) or "nothing is different",
            )
            if wrong := contradictions(version.common, common_values(self._settings, self._lists)):
                log.warning(
                    "this worker goes on with %s: restart it with what settings %d say",
                    ", ".join(wrong),
                    version.number,
                )
        return changes


def check_fixed(version: SettingsVersion, settings: Settings) -> None:
    """Hold what cannot change against what a group began with.

    Raises:
        ConfigurationError: it is different.
    """
    if wrong := contradictions(version.fixed, fixed_values(settings)):
        raise ConfigurationError(
            f"of group {settings.kafka.group_id} cannot change: {', '.join(wrong)}: put it back, or begin a new group"
        )


def check_common(
    version: SettingsVersion, settings: Settings, lists: Mapping[str, str] | None = None
) -> None:
    """Hold what a process takes from its own machine against what its group has published.

    Args:
        lists: digests of the lists, by the names of their settings; None: this process reads none.

    Raises:
        ConfigurationError: it is different.
    """
    own = common_values(settings, lists or {})
    if lists is None:
        own = {name: value for name, value in own.items() if name not in LISTS}
    if wrong := contradictions(version.common, own):
        raise ConfigurationError(
            f"this process has {', '.join(wrong)}, by settings {version.number} of group {settings.kafka.group_id}: all "
            "workers need the same; `craft-stream settings apply` publishes a file's, then restart the workers"
        )


def in_effect(settings: Settings, version: SettingsVersion | None) -> Settings:
    """A process's settings with those in place of its own that its group has published."""
    if version is None:
        return settings
    selection = asdict(version.parameters.selection)
    rate = selection.pop("rate")
    return settings.model_copy(
        update={
            "learner": replace(settings.learner, **asdict(version.parameters.learning)),
            "selection": replace(settings.selection, **selection),
            "budget": settings.budget.model_copy(update={"rate": rate}),
            "encoder": version.encoder,
        }
    )
