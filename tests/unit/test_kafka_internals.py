"""What we use of kafka-python beyond its documents is there, is listed, and is used through one module."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kafka
import pytest
from kafka.consumer.fetcher import Fetcher

from connectors.kafka import clients, internals
from connectors.kafka.reader import KafkaReader
from craft_stream.errors import ConfigurationError
from craft_stream.settings import KafkaSettings

ROOT = Path(__file__).parents[2]
ROOM = ROOT / "connectors" / "kafka"


def private(path: Path) -> Iterator[tuple[str, str]]:
    """Attributes with an underscore in a module, as (owner, name)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            yield ast.unparse(node.value), node.attr


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in internals.USED.items() for name in names]
)
def test_the_installed_client_has_what_we_use(kind: type, name: str) -> None:
    """A release that changes one of them fails here, by class and name."""
    assert internals.has(kind, name), f"kafka-python {kafka.__version__} has no {kind.__name__}.{name}"
    assert not internals.has(kind, f"{name}_that_never_was")


def test_what_is_used_is_listed() -> None:
    """Nobody but `internals` reaches into the client, and what is reached for is in its table."""
    listed = {name for names in internals.USED.values() for name in names}
    assert {name for _, name in private(ROOM / "internals.py")} <= listed
    for path in ROOM.glob("*.py"):
        if path.name != "internals.py":
            assert {owner for owner, _ in private(path)} <= {"self"}, path


def test_what_is_inherited_is_listed() -> None:
    """Names of the client's own that `FetchedMessages` uses or overrides."""
    tree = ast.parse((ROOM / "fetched.py").read_text("utf-8"))
    ours = next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == "FetchedMessages")
    used = {n.attr for n in ast.walk(ours) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"}
    used |= {n.name for n in ast.walk(ours) if isinstance(n, ast.FunctionDef)}
    theirs = {name for name in used if internals.has(Fetcher.PartitionRecords, name)}
    assert theirs - {"__init__", "__bool__"} == set(internals.USED[Fetcher.PartitionRecords])


def test_pyproject_bounds_what_was_tried() -> None:
    """The same two versions as the check at a start."""
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (bound,) = [text.partition("]")[2] for text in requirements if text.startswith("kafka-python")]
    assert bound == f">={internals.TRIED[0]},<{internals.TRIED[1]}"


@pytest.mark.parametrize("version", ["3.0.11", "2.3.3", "3.1", "3.1.0", "4.0.0"])
def test_a_version_that_was_not_tried_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, with the command to type; the installed one and later patches of it are not."""
    internals.check_client()
    monkeypatch.setattr(kafka, "__version__", "3.0.99")
    internals.check_client()
    monkeypatch.setattr(kafka, "__version__", version)
    with pytest.raises(ConfigurationError, match=rf"kafka-python {version} .*pip install"):
        internals.check_client()


def test_a_client_that_lacks_something_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch release that drops a private attribute: by class and name."""
    monkeypatch.setitem(internals.USED, Fetcher, ("_gone",))
    with pytest.raises(ConfigurationError, match=r"lacks Fetcher\._gone"):
        internals.check_client()


def test_reading_a_topic_asks_for_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with a group's name needs Describe on the group at every poll; only committed offsets are the group's."""
    made: list[str | None] = []

    def make(**options: Any) -> SimpleNamespace:
        made.append(options["group_id"])
        return SimpleNamespace(
            _fetcher=SimpleNamespace(), committed=lambda *_, **__: None, close=lambda **_: None
        )

    monkeypatch.setattr(clients, "first_contact", lambda settings: None)
    monkeypatch.setattr(clients, "KafkaConsumer", make)
    reader = KafkaReader(KafkaSettings(group_id="craft"))
    assert made == [None]
    for partition in (0, 1):
        assert reader.committed(partition) is None
    assert made == [None, "craft"]
    reader.close()
