"""What earlier releases wrote is read: golden files made by each of them (tests/golden/make.py)."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_runtime_worker import TOY, configuration
from toy import stream

from craft_stream import __version__, codec
from craft_stream.encoders import load_encoder
from craft_stream.errors import IntegrityError
from craft_stream.parameters import Parameters
from craft_stream.ports.messages import Message
from craft_stream.scoring import model as models
from craft_stream.scoring.model import Model
from craft_stream.selection import ledger_format
from craft_stream.selection.ledger import Ledger
from craft_stream.selection.selector import Selector
from craft_stream.text.batch import PairBatch
from craft_stream.text.tokenized import TokenizedPairs
from craft_stream.topics.ledger_reader import LedgerRecords
from craft_stream.writing.decisions import release_of
from tests.golden.make import SETTINGS, facts

GOLDEN = Path(__file__).parents[1] / "golden"
# The two before this one, and this one; older files go with the release that reads them no longer.
RELEASES = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "facts.json").exists())

pytestmark = pytest.mark.parametrize("release", RELEASES)


def read(path: Path) -> list[Message]:
    """What `packed` wrote."""
    found = []
    for offset, line in enumerate(path.read_text().splitlines()):
        values = json.loads(line)
        value = None if values["value"] is None else base64.b64decode(values["value"])
        found.append(Message(value, offset, key=values["key"].encode()))
    return found


def records(release: str, name: str, prefix: str) -> LedgerRecords:
    """Of a partition on the ledger topic."""
    found = LedgerRecords(prefix)
    found.add(read(GOLDEN / release / f"{name}.jsonl"))
    assert not found.damaged
    return found


def equal(ledger: Ledger, said: dict[str, Any]) -> None:
    """What the release said of its ledger; counters of reasons that came later are 0."""
    own = facts(ledger)
    reasons, theirs = own.pop("reasons"), said.pop("reasons")
    assert reasons == theirs + [0] * (len(reasons) - len(theirs))
    assert own == said


@pytest.mark.parametrize("partition", [0, 1])
def test_a_ledger_goes_on(release: str, partition: int) -> None:
    """From its snapshots and deltas, to the bit; with its Model it decides, and what it then writes is of this release."""
    parameters = configuration(**SETTINGS).parameters()
    found = records(release, f"ledger-{partition}", f"craft/crawl.pairs/{partition}")
    said = json.loads((GOLDEN / release / "facts.json").read_text())[partition]
    restored = found.restore(parameters)
    assert restored is not None
    ledger = restored.ledger
    equal(ledger, said)
    version = 0 if release == "0.1.0" else 1  # the first knew none
    assert (ledger.release, ledger.parameters) == (release, parameters.numbered(version))
    for offset in found.starts():
        assert found.start(parameters, offset).next_offset == offset
    ledger.bind(Model.decode((GOLDEN / release / "model.bin").read_bytes()))
    assert ledger.model is not None
    pairs, start = stream(TOY, 2_000).batch, ledger.next_offset
    batch = PairBatch.pack(pairs.source.texts(), pairs.target.texts(), list(range(start, start + len(pairs))))
    before = ledger.copy()
    later = replace(parameters.numbered(version + 1), selection=replace(parameters.selection, rate=0.5))
    selector = Selector(parameters, load_encoder())
    decisions = selector.decide(TokenizedPairs.of(batch), ledger, ledger.model, parameters=later)
    assert set(decisions.settings_version) == {version, version + 1}
    before.apply(ledger.delta())
    again = Ledger.restore(Parameters(), ledger.snapshot(), found._payloads())
    assert before.digest() == again.digest() == ledger.digest()
    assert before.release == again.release == __version__


def test_a_ledger_that_has_forgotten_pairs_goes_on(release: str) -> None:
    """Its generations are where they were."""
    parameters = configuration(**SETTINGS).parameters()
    restored = records(release, "remembered", "g/t/0").restore(parameters)
    assert restored is not None
    equal(restored.ledger, json.loads((GOLDEN / release / "remembered.json").read_text()))


def test_a_ledger_under_other_settings_says_what_to_do(release: str) -> None:
    """Those of 0.1.0 do not hold their parameters: the settings that they were made under must be given once."""
    if release != "0.1.0":
        pytest.skip("later ledgers bring their parameters along")
    other = configuration(**{**SETTINGS, "budget__rate": 0.3}).parameters()
    found = records(release, "ledger-0", "craft/crawl.pairs/0")
    with pytest.raises(IntegrityError, match="start once with the settings that it was made under"):
        found.restore(other)


def test_a_model_is_read(release: str) -> None:
    """With its digest, and it scores."""
    model = Model.decode((GOLDEN / release / "model.bin").read_bytes())
    assert model.version == 1
    assert model.clusters > 1


def test_decisions_say_who_made_them(release: str) -> None:
    """By a release's name; those of 0.1.0 name none."""
    for message in read(GOLDEN / release / "decisions-0.jsonl"):
        assert release_of(json.loads(message.value or b"")) == release


@pytest.mark.parametrize("ahead", [1, 5])
def test_what_a_newer_release_wrote_is_refused(release: str, ahead: int) -> None:
    """Ledgers and Models of a format that is not known here: to be upgraded, not to be learned anew."""
    data = (GOLDEN / release / "model.bin").read_bytes()
    header, arrays = codec.decode(models.MAGIC, data)
    newer = codec.encode(models.MAGIC, {**header, "format": models.FORMAT + ahead}, arrays)
    with pytest.raises(IntegrityError, match=r"newer release.*upgrade"):
        Model.decode(newer)
    ledger = codec.encode(ledger_format.MAGIC, {"format": ledger_format.FORMAT + ahead, "kind": "whole"}, {})
    with pytest.raises(IntegrityError, match=r"newer release.*upgrade"):
        Ledger.restore(Parameters(), ledger)
