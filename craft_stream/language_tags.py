"""Language tags in every spelling, by the package langcodes: `en`, `EN-us`, `pt_BR`, `eng`, `fre`, `iw`, `zh-Hant`, `sr@latin`.

BCP 47 with the aliases of CLDR, and what locales of POSIX and old tools write instead. A macrolanguage and the language that
is nearly always meant by it are one (`cmn` and `zh`, `arb` and `ar`, `no` and `nb`). A country where a language was meant, as
`jp`, `cz` and `cn` are in hreflang and names of files, is its language, unless it is the code of another (`br`, `se`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

# names that sites, files and people use, in English and in the language itself
NAMES = {
    "ar": "arabic", "bg": "bulgarian", "ca": "catalan|catala", "cs": "czech|cesky", "da": "danish|dansk",
    "de": "german|deutsch", "el": "greek", "en": "english|eng", "es": "spanish|espanol|esp", "et": "estonian|eesti",
    "fa": "persian|farsi", "fi": "finnish|suomi", "fr": "french|francais|fra", "he": "hebrew", "hi": "hindi",
    "hr": "croatian|hrvatski", "hu": "hungarian|magyar", "id": "indonesian", "it": "italian|italiano|ita",
    "ja": "japanese|jpn", "ko": "korean|kor", "lt": "lithuanian|lietuviu", "lv": "latvian|latviesu", "ms": "malay",
    "nb": "norwegian|norsk", "nl": "dutch|nederlands", "pl": "polish|polski", "pt": "portuguese|portugues|por",
    "ro": "romanian|romana", "ru": "russian|rus", "sk": "slovak", "sl": "slovenian", "sr": "serbian|srpski",
    "sv": "swedish|svenska", "th": "thai", "tr": "turkish|turkce", "uk": "ukrainian|ukr", "vi": "vietnamese",
    "zh": "chinese|zho",
}  # fmt: skip
# of a POSIX locale: the encoding, and the script where it is told as a variant
_ENCODING = re.compile(r"\.[\w-]*")
_MODIFIERS = {"@latin": "-Latn", "@cyrillic": "-Cyrl", "@devanagari": "-Deva", "@arabic": "-Arab"}
# what Windows and browsers wrote before there were subtags for scripts, and what Wikipedia calls its editions
_OLD = {
    "zh-chs": "zh-Hans", "zh-cht": "zh-Hant", "zh-classical": "lzh", "zh-min-nan": "nan",
    "bat-smg": "sgs", "fiu-vro": "vro", "map-bms": "jv", "roa-rup": "rup",
}  # fmt: skip
_LIBRARIES = frozenset(
    [
        "alb", "arm", "baq", "bur", "chi", "cze", "dut", "fre", "geo", "ger", "gre", "ice", "mac", "mao", "may", "per",
        "rum", "slo", "tib", "wel",
    ]
)  # fmt: skip
_SAME = {"no": "nb"}
_NONE = {"und", "mul", "mis", "zxx"}  # undetermined, many, uncoded, no language


class Tag(NamedTuple):
    """What a tag says.

    Attributes:
        language: the shortest code of the language, macrolanguages taken for what is meant by them.
        script: ISO 15924, if the tag says or its region implies one that the language is not usually written in; else "".
        region: of ISO 3166 or UN M49; else "".
        text: the tag as BCP 47 spells it.
    """

    language: str
    script: str
    region: str
    text: str


@lru_cache(maxsize=1 << 12)
def parse_tag(text: str) -> Tag | None:
    """What a tag says; None for what names no language (`*all*`, `x-default`, `und`, words)."""
    from langcodes import Language, standardize_tag  # .04 s, and most commands meet no tag

    spelt, at, modifier = _ENCODING.sub("", text.strip().lower().replace("_", "-")).partition("@")
    if script := _MODIFIERS.get(at + modifier):  # which locales tell behind the region
        language, hyphen, region = spelt.partition("-")
        spelt = f"{language}{script}{hyphen}{region}"
    try:
        standard = standardize_tag(_OLD.get(spelt, spelt))
        found, whole = Language.get(standard), Language.get(standardize_tag(standard, macro=True))
        language = whole.language or ""
        if len(language) == 2 and not Language.get(language).is_valid():
            return parse_tag(_language_of(language))
        if language in _NONE or not 2 <= len(language) <= 3 or not Language.get(language).is_valid():
            return None
    except (ValueError, LookupError):  # LanguageTagError is a ValueError
        return None
    script = found.script or whole.script or ""
    if not script and found.territory:
        script = Language.get(f"{language}-{found.territory}").maximize().script or ""
    return Tag(_SAME.get(language, language), script, found.territory or "", standard)


def _language_of(country: str) -> str:
    """The language that most speak in a country, by CLDR; "" for what is none, and where it is English, as of those."""
    from langcodes import Language

    language = Language.get(f"und-{country}").maximize().language or ""
    return "" if language == "en" else language


def is_bibliographic(code: str) -> bool:
    """Whether a code is one of the libraries' (ISO 639-2/B, as `fre`) of a language that has another of three letters."""
    return code.strip().lower() in _LIBRARIES


def is_name(text: str) -> bool:
    """Whether a text is a language's name, in English or in the language itself."""
    return any(text.strip().lower() in names.split("|") for names in NAMES.values())


def agree(one: str, other: str) -> bool:
    """Whether two tags may name the same language: regions make no difference, scripts that both tell do."""
    if one == other:
        return True
    first, second = parse_tag(one), parse_tag(other)
    if first is None or second is None or first.language != second.language:
        return False
    return not first.script or not second.script or first.script == second.script


def choose(wanted: str, present: Iterable[str]) -> str | None:
    """Of tags that are there the one that was meant: spelt so, else the same with region, else one that agrees."""
    tags = list(present)
    if wanted in tags:
        return wanted
    asked = parse_tag(wanted)
    if asked is None:
        return next((tag for tag in tags if tag.lower() == wanted.lower()), None)
    agreeing = [tag for tag in tags if agree(wanted, tag)]
    exact = (tag for tag in agreeing if (found := parse_tag(tag)) and found.region == asked.region)
    return next(exact, next(iter(agreeing), None))


def nearest(text: str, known: Iterable[str] = tuple(NAMES)) -> str | None:
    """Of known codes the one that a wrong one, or a language's name, was probably meant to be."""
    codes = set(known)
    if (found := parse_tag(text)) and found.language in codes:
        return found.language
    spelt = text.strip().lower()
    called = {name: code for code, names in NAMES.items() if code in codes for name in names.split("|")}
    matches = get_close_matches(spelt, sorted({*called, *codes}), 1, 0.5 if len(spelt) < 4 else 0.7)
    return called.get(matches[0], matches[0]) if matches else None


def nearest_pair(text: str, known: Iterable[str] = tuple(NAMES)) -> str | None:
    """What two wrong codes in one name (`english-french`) were probably meant to be, as `en-fr`."""
    codes, sides = set(known), re.split("[-,]", text)
    near = [nearest(side, codes) for side in sides]
    return "-".join(map(str, near)) if len(near) == 2 and all(near) and near[0] != near[1] else None


def split_pair(text: str) -> tuple[str, str] | None:
    """The two languages that `en-fr`, `pt_BR-en`, `en-US-fr-FR` or `en,fr` names, as they are spelt; None if it names none."""
    parts = text.split("," if "," in text else "-")
    for cut in range(1, len(parts)):
        one, other = ("-".join(side).strip() for side in (parts[:cut], parts[cut:]))
        if parse_tag(one) and parse_tag(other) and not agree(one, other):
            return one, other
    return None
