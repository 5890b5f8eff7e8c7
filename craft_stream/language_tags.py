"""Language tags in every spelling, by the package langcodes: `en`, `EN-us`, `pt_BR`, `eng`, `fre`, `iw`, `zh-Hant`, `sr@latin`.

BCP 47 with the aliases of CLDR, and what locales of POSIX and old tools write instead. A macrolanguage and the language that
is nearly always meant by it are one (`cmn` and `zh`, `arb` and `ar`, `no` and `nb`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

# of a POSIX locale: the encoding, and the script where it is told as a variant
_ENCODING = re.compile(r"\.[\w-]*")
_MODIFIERS = {"@latin": "-Latn", "@cyrillic": "-Cyrl", "@devanagari": "-Deva", "@arabic": "-Arab"}
# what Windows and browsers wrote before there were subtags for scripts
_OLD = {"zh-chs": "zh-Hans", "zh-cht": "zh-Hant", "zh-classical": "lzh", "zh-min-nan": "nan"}
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

    spelt = text.strip().lower().replace("_", "-")
    spelt = _ENCODING.sub("", spelt)
    for modifier, script in _MODIFIERS.items():
        spelt = spelt.replace(modifier, script)
    spelt = spelt.partition("@")[0]
    try:
        standard = standardize_tag(_OLD.get(spelt, spelt))
        found, whole = Language.get(standard), Language.get(standardize_tag(standard, macro=True))
    except (ValueError, LookupError):  # LanguageTagError is a ValueError
        return None
    language = whole.language
    if not language or language in _NONE or len(language) > 3:
        return None
    if (
        len(language) == 3 and not Language.get(language).is_valid()
    ):  # others are known, or were refused above
        return None
    script = found.script or whole.script or ""
    if not script and found.territory:
        script = Language.get(f"{language}-{found.territory}").maximize().script or ""
    return Tag(_SAME.get(language, language), script, found.territory or "", standard)


def is_bibliographic(code: str) -> bool:
    """Whether a code is one of the libraries' (ISO 639-2/B, as `fre`) of a language that has another of three letters."""
    return code.strip().lower() in _LIBRARIES


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


def nearest(text: str, known: Iterable[str]) -> str | None:
    """Of known codes the one that a wrong one was probably meant to be."""
    codes = sorted(known)
    if (found := parse_tag(text)) and found.language in codes:
        return found.language
    matches = get_close_matches(text.lower(), codes, 1, 0.5)
    return matches[0] if matches else None


def split_pair(text: str) -> tuple[str, str] | None:
    """The two languages that `en-fr`, `pt_BR-en`, `en-US-fr-FR` or `en,fr` names, as they are spelt; None if it names none."""
    parts = text.split("," if "," in text else "-")
    for cut in range(1, len(parts)):
        one, other = ("-".join(side).strip() for side in (parts[:cut], parts[cut:]))
        if parse_tag(one) and parse_tag(other) and not agree(one, other):
            return one, other
    return None
