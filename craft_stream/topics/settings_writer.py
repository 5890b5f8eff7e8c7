"""Publishing versions of a group's settings: one after the other, whoever else publishes at the same time."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable
from contextlib import closing

from craft_stream.ports.transport import Output, TransactionError, Transport
from craft_stream.topics.models import MANIFESTS, ModelStore
from craft_stream.topics.settings_versions import SettingsVersion
from craft_stream.topics.signatures import Signatures

TRIES = 10
# Seconds that are waited after the first try at most; after the second twice as long, and so on.
_LONGEST_PAUSE = 0.05


def publish_next(
    transport: Transport,
    store: ModelStore,
    topic: str,
    group: str,
    make: Callable[[SettingsVersion | None], SettingsVersion | None],
) -> SettingsVersion | None:
    """Publish a version of what the newest says, in such a way that the newest it is.

    The output's name is the group's: with it all that others have begun to publish is over, and nothing can be published
    between the look at what is there and the commit.

    Args:
        transport: makes the output.
        store: of the topic; refreshed.
        topic: the model topic.
        group: whose settings they are.
        make: gives the next version after the newest (None: there is none); None: nothing is to be published.

    Returns:
        The newest version then; None if there is none.

    Raises:
        TransactionError: others have published all the time.
        IntegrityError: the newest version is of a newer release.
    """
    for attempt in range(1, TRIES + 1):
        try:
            with closing(transport.output("settings")) as output:
                store.refresh()
                before = store.newest_settings(group)
                made = make(before)
                if made is None:
                    return before
                output.begin()
                output.send(
                    topic, MANIFESTS, store.signed(made.values()), f"settings/{group}/{made.number}".encode()
                )
                output.commit({}, None)
            store.refresh()
            return made
        except TransactionError:
            if attempt == TRIES:
                raise
            # Workers that start together end one another's transactions: three on a busy machine did so ten times.
            time.sleep(random.uniform(0, attempt * _LONGEST_PAUSE))
            store.refresh()
            if make(before := store.newest_settings(group)) is None:
                return before
    raise AssertionError


def sign_settings(
    output: Output, topic: str, group: str, versions: Iterable[SettingsVersion], signatures: Signatures
) -> None:
    """Sign versions that are on the topic already."""
    output.begin()
    for version in versions:
        value = json.dumps(signatures.signed(version.values())).encode()
        output.send(topic, MANIFESTS, value, f"settings/{group}/{version.number}".encode())
    output.commit({}, None)
