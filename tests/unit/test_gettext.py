"""Gettext catalogues as sources of pairs."""

from __future__ import annotations

from pathlib import Path

import orjson
import polib
import pytest

from connectors.files import open_source
from connectors.gettext import GettextSource
from craft_stream.errors import DataError
from craft_stream.settings import RecordSettings

RECORD = RecordSettings(source_field="en", target_field="fr")
EXPECTED = [
    ("Open", "Ouvrir"),
    ("%d file", "%d fichier"),
    ("%d files", "%d fichiers"),
    ("Close\n", "Fermer\n"),
]


@pytest.fixture
def catalogue() -> polib.POFile:
    made = polib.POFile()
    made.metadata = {"Content-Type": "text/plain; charset=utf-8"}
    made.append(polib.POEntry(msgid="Open", msgstr="Ouvrir"))
    made.append(polib.POEntry(msgid="Untranslated"))
    made.append(polib.POEntry(msgid="Unsure", msgstr="Incertain", flags=["fuzzy"]))
    made.append(polib.POEntry(msgid="Old", msgstr="Vieux", obsolete=True))
    made.append(
        polib.POEntry(
            msgid="%d file", msgid_plural="%d files", msgstr_plural={0: "%d fichier", 1: "%d fichiers"}
        )
    )
    made.append(polib.POEntry(msgid="Close\n", msgstr="Fermer\n"))
    return made


@pytest.mark.parametrize("name", ["fr.po", "fr.mo"])
def test_translated_messages_are_pairs(tmp_path: Path, catalogue: polib.POFile, name: str) -> None:
    """Translated messages come, plural ones twice; fuzzy, obsolete and untranslated ones do not."""
    path = str(tmp_path / name)
    catalogue.save(path) if name == "fr.po" else catalogue.save_as_mofile(path)
    records = [orjson.loads(message.value or b"") for message in open_source(path, RECORD).read(10)]
    assert sorted((record["en"], record["fr"]) for record in records) == sorted(EXPECTED)
    assert [record["id"] for record in records] == [f"{path}#{number}" for number in range(4)]


@pytest.mark.parametrize("name", ["none.po", "bad.mo", "bad.po"])
def test_no_catalogue(tmp_path: Path, name: str) -> None:
    """A file that is missing or no catalogue is one clear error."""
    if name.startswith("bad"):
        (tmp_path / name).write_bytes(b"\xff\xff not a catalogue")
    with pytest.raises(DataError, match=name):
        GettextSource(str(tmp_path / name), RECORD)
