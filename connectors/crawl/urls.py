"""URLs: one spelling for each page, and the key that a page shares with its translation.

Sites tell a page's language in its URL by a path segment (`/en/`, `/en-US/`; with a country before or behind it: `/us/en/`,
`/us-en/`), a suffix (`page.en.html`, `page_en.html`, `page.html.en`), a subdomain (`en.example.org`) or a query parameter
(`?lang=en`). `neutral` takes the marks of the page's own language out; what is left is the same for both languages, and for
a site that marks only one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urljoin, urlsplit, urlunsplit

from craft_stream.hosts import ascii_host
from craft_stream.language_tags import NAMES

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TRACKING = re.compile(r"utm_\w+|gclid|fbclid|mc_[ce]id|phpsessid|jsessionid", re.IGNORECASE)
_LANGUAGE_PARAMETERS = frozenset({"lang", "language", "locale", "hl", "l", "lng", "setlang", "uselang", "lc"})
_INDEX = re.compile(r"/(index|default|home)\.\w{3,5}$", re.IGNORECASE)
# what sites call a language that has changed its code, or has a wider one, or codes of three letters
_ALIASES = {
    "ar": ("ara",), "cs": ("ces", "cze"), "de": ("deu", "ger"), "el": ("ell", "gre"), "es": ("spa",), "fil": ("tl",),
    "fr": ("fre",), "he": ("iw", "heb"), "hu": ("hun",), "id": ("in",), "jv": ("jw",), "nb": ("no",), "nl": ("nld", "dut"),
    "ro": ("mo", "ron", "rum"), "sk": ("slk",), "sr": ("sh", "srp"), "sv": ("swe",), "yi": ("ji",), "zh": ("chi",),
}  # fmt: skip
# top-level domains that say nothing of languages; second-level ones beneath countries; languages of countries
_OPEN = frozenset({"com", "org", "net", "info", "eu", "io", "biz", "int"})
_SECOND = frozenset({"co", "com", "org", "net", "ac", "gov", "edu"})
_SPOKEN = {
    "at": "de", "au": "en", "be": "nl fr de", "br": "pt", "ca": "en fr", "ch": "de fr it", "cn": "zh", "cz": "cs", "dk": "da",
    "ee": "et", "gr": "el", "ie": "en", "il": "he", "in": "hi en", "jp": "ja", "kr": "ko", "mx": "es", "no": "nb nn",
    "nz": "en", "ph": "fil", "rs": "sr", "se": "sv", "si": "sl", "tw": "zh", "ua": "uk", "uk": "en", "us": "en",
}  # fmt: skip
# countries that sites have a part for, beside a language
_COUNTRIES = (
    "ae|ar|at|au|be|bg|br|ca|ch|cl|cn|co|cz|de|dk|ee|eg|es|fi|fr|gb|gr|hk|hr|hu|ie|il|in|it|jp|kr|lt|lu|lv|mx|nl|no|nz|pe|pl|"
    "pt|ro|rs|ru|sa|se|sg|si|sk|tr|tw|ua|uk|us|za"
)


def canonical(url: str, base: str | None = None) -> str:
    """The one spelling of a URL; empty for what is no HTTP URL.

    Scheme in lower case, the host as DNS knows it, no fragment, no default port, no user, no tracking parameters, escapes
    uniform.

    Args:
        url: as it was found.
        base: URL of the page where it was found, for relative ones.
    """
    try:
        parts = urlsplit(urljoin(base, url.strip()) if base else url.strip())
        scheme, host, port = parts.scheme.lower(), ascii_host(parts.hostname or ""), parts.port
    except ValueError:
        return ""
    if scheme not in _DEFAULT_PORTS or not host:
        return ""
    if ":" in host:
        host = f"[{host}]"
    if port and port != _DEFAULT_PORTS[scheme]:
        host = f"{host}:{port}"
    path = escaped(parts.path)
    query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _TRACKING.fullmatch(k)]
    return urlunsplit((scheme, host, path or "/", urlencode(query), ""))


def escaped(path: str) -> str:
    """A path with its escapes as `canonical` writes them."""
    return quote(unquote(path, errors="surrogateescape"), safe="/:@!$&'()*+,;=-._~", errors="surrogateescape")


def host(url: str) -> str:
    """Host of a canonical URL, with its port."""
    return urlsplit(url).netloc


def site(url: str) -> str:
    """Host of a canonical URL, without `www.`."""
    return host(url).removeprefix("www.")


def address(url: str) -> str:
    """What spellings of one page's URL have in common: without scheme, `www.`, name of an index, slash at the end and case."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.netloc.removeprefix('www.')}{_INDEX.sub('', parts.path).rstrip('/')}{query}".lower()


@lru_cache(maxsize=1 << 10)
def _domain(netloc: str, language: str) -> str | None:
    """A host without its top-level domain, if that is the language's own or says nothing of languages; else None."""
    labels = netloc.removeprefix("www.").split(".")
    top = labels[-1]
    if len(labels) > 2 and labels[-2] in _SECOND:
        labels.pop()
    if len(labels) < 2 or not (top in _OPEN or top == language or language in _SPOKEN.get(top, "").split()):
        return None
    return ".".join(labels[:-1])


def site_key(key: str, language: str) -> str | None:
    """Key that a page shares with its translation on a site with a domain for each language; None on front pages and others.

    Args:
        key: of the page, from `neutral`.
        language: its own.
    """
    netloc, slash, path = key.partition("/")
    name = _domain(netloc, language)
    return f"{name}.*/{path}" if name and slash and path else None


class _Marks(NamedTuple):
    country: re.Pattern[str]
    segment: re.Pattern[str]
    suffix: re.Pattern[str]
    subdomain: re.Pattern[str]
    value: re.Pattern[str]


@lru_cache(maxsize=64)
def _marks(language: str) -> _Marks:
    codes = "|".join(map(re.escape, (language, *_ALIASES.get(language, ()))))
    code = rf"(?:{codes})(?:[-_][a-z]{{2,4}})?"
    names = f"{code}|{NAMES[language]}" if language in NAMES else code
    return _Marks(
        country=re.compile(
            rf"^/(?:(?:{_COUNTRIES})[/_-]{code}|(?:{codes})/(?:{_COUNTRIES}))(?=/|$)", re.IGNORECASE
        ),
        segment=re.compile(rf"/(?:{names})(?=/|$)", re.IGNORECASE),
        suffix=re.compile(rf"(?:[._-]|;(?:lang|locale)=)(?:{names})(?=\.\w{{2,5}}$|/?$)", re.IGNORECASE),
        subdomain=re.compile(rf"^(?:{code}|www)\.", re.IGNORECASE),
        value=re.compile(names, re.IGNORECASE),
    )


def marked(url: str, language: str) -> bool:
    """Whether a canonical URL says that its page is in a language."""
    marks = _marks(language)
    parts = urlsplit(url)
    return bool(
        marks.segment.search(parts.path)
        or marks.country.search(parts.path)
        or marks.suffix.search(parts.path)
        or (not parts.netloc.startswith("www.") and marks.subdomain.match(parts.netloc))
        or any(
            name.lower() in _LANGUAGE_PARAMETERS and marks.value.fullmatch(value)
            for name, value in parse_qsl(parts.query)
        )
    )


@lru_cache(maxsize=1 << 14)
def neutral(url: str, language: str) -> str:
    """Key that a page shares with its translation: its canonical URL without scheme and marks of its language."""
    marks = _marks(language)
    parts = urlsplit(url)
    netloc = marks.subdomain.sub("", parts.netloc, count=1)
    path = marks.segment.sub("", marks.country.sub("", parts.path))
    path = _INDEX.sub("/", marks.suffix.sub("", path))
    query = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not (name.lower() in _LANGUAGE_PARAMETERS and marks.value.fullmatch(value))
    ]
    return f"{netloc}{path or '/'}" + (f"?{urlencode(sorted(query))}" if query else "")
