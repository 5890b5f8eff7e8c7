"""Tags of languages in the spellings of standards, locales and old tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.files import open_sink, open_source
from craft_stream.errors import ConfigurationError
from craft_stream.language_tags import agree, choose, nearest, nearest_pair, parse_tag, split_pair
from craft_stream.settings import RecordSettings


@pytest.mark.parametrize(
    ("text", "language", "script", "region"),
    [
        ("en", "en", "", ""),
        ("EN-us", "en", "", "US"),
        ("pt_BR.UTF-8", "pt", "", "BR"),
        ("eng", "en", "", ""),
        ("fre", "fr", "", ""),
        ("iw", "he", "", ""),
        ("in", "id", "", ""),
        ("no", "nb", "", ""),
        ("tl", "fil", "", ""),
        ("jw", "jv", "", ""),
        ("mo", "ro", "", ""),
        ("sh", "sr", "Latn", ""),
        ("sr@latin", "sr", "Latn", ""),
        ("zh_TW", "zh", "Hant", "TW"),
        ("zh-CHS", "zh", "Hans", ""),
        ("cmn-Hans-CN", "zh", "Hans", "CN"),
        ("de-DE-1996", "de", "", "DE"),
        ("es-419", "es", "", "419"),
        ("sr_RS@latin", "sr", "Latn", "RS"),
        ("jp", "ja", "", ""),
        ("cz", "cs", "", ""),
        ("CN", "zh", "", ""),
        ("fiu-vro", "vro", "", ""),
    ],
)
def test_spellings(text: str, language: str, script: str, region: str) -> None:
    """Aliases, locales, three letters, macrolanguages, regions that imply a script, variants."""
    found = parse_tag(text)
    assert found is not None
    assert (found.language, found.script, found.region) in {
        (language, script, region),
        (language, found.script if not script and region else script, region),
    }


@pytest.mark.parametrize(
    "text", ["*all*", "x-default", "und", "mul", "zxx", "", "english", "qqqq", "e", "en-", "xx", "us", "v1"]
)
def test_what_names_no_language(text: str) -> None:
    """Wildcards, words, undetermined ones."""
    assert parse_tag(text) is None


def test_which_agree() -> None:
    """Regions make no difference, scripts that both tell do; where several fit, the region decides."""
    assert agree("en_US", "eng")
    assert agree("zh-Hant", "zh")
    assert not agree("zh-CN", "zh-TW")
    assert not agree("nb", "nn")
    assert choose("pt-BR", ["pt-PT", "pt_BR", "en"]) == "pt_BR"
    assert choose("fr", ["en", "fr_CA"]) == "fr_CA"
    assert choose("X-Foo", ["en", "x-foo"]) == "x-foo"
    assert choose("de", ["en", "fr"]) is None


def test_pairs_and_near_misses() -> None:
    """Two tags in one name, wherever one has hyphens itself; what a wrong code was meant to be."""
    assert split_pair("en-fr") == ("en", "fr")
    assert split_pair("zh-Hant-pt_BR") == ("zh-Hant", "pt_BR")
    assert split_pair("en-US,fr") == ("en-US", "fr")
    assert split_pair("en-en") is None
    assert split_pair("corpus") is None
    assert nearest("fre", {"en", "fr"}) == "fr"
    assert nearest("frr", {"en", "fr"}) == "fr"
    assert nearest("klingon", {"en", "fr"}) is None
    assert [nearest(name) for name in ("english", "Francais", "germn", "Deutsch")] == ["en", "fr", "de", "de"]
    assert nearest_pair("english-french") == "en-fr"
    assert nearest_pair("corpus-clean") is None


def test_what_can_never_match_is_refused(tmp_path: Path) -> None:
    """Words where codes were meant, of memories to be read and written and of two files: with the nearest code."""
    memory = '<tmx><header srclang="en"/><body>{}</body></tmx>'
    unit = '<tu><tuv xml:lang="{}"><seg>a</seg></tuv><tuv xml:lang="{}"><seg>b</seg></tuv></tu>'
    path = tmp_path / "m.tmx"
    path.write_text(memory.format(unit.format("en", "fr")))
    for opened in (lambda name: open_source(name, RecordSettings()), open_sink):
        with pytest.raises(ConfigurationError, match='"english" is no language: did you mean en\\?'):
            opened(f"{path}?langs=english,french")
    assert not list(tmp_path.glob(".*"))
    path.write_text(memory.format(unit.format("English", "x-french")))
    with open_source(f"{path}?langs=english,x-french", RecordSettings()) as source:  # type: ignore[attr-defined]
        assert [message.problem for message in source.read(2)] == [None]
    with pytest.raises(ConfigurationError, match="perhaps en-fr; for two files"):
        open_source("corpus.english-french", RecordSettings())
