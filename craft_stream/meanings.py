"""What reasons, parts of a score and features mean, a sentence each: for summaries, `explain`, reports and the documents.

Keys are the names that decisions, summaries and models have; a test holds them to the code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

REASONS: Final[dict[str, str]] = {
    "accepted": "It is selected.",
    "off_domain": "Its words are not those of the target: too far from the domain to be looked at any closer.",
    "misaligned": "The sides do not say the same: too unlikely to be a translation of one another.",
    "copy": "The target side repeats the words of the source side instead of translating them.",
    "unfamiliar_text": "Many words or characters are unknown in these languages: another language, codes or debris.",
    "garbled": "The text shows broken encoding, such as Ã© for é.",
    "duplicate": "The same pair, but for case and spaces, has been accepted before.",
    "near_duplicate": "Nearly the same pair has been accepted before: most of its word pairs on both sides are the same.",
    "over_budget": "It may be a good pair of the domain, but better ones have used the budget.",
    "listed": "It is on a list of what must not be accepted: a test set or a takedown list.",
    "other_language": "A side is in another language than the target's, as the language identifier tells.",
    "in_target": "The target holds this very pair already, so that it would teach nothing new.",
}
"""Why a pair was accepted or rejected."""

REFUSALS: Final[dict[str, str]] = {
    "not_json": "The line is not JSON.",
    "not_object": "The line is JSON, but not an object with fields.",
    "missing_side": "A side is missing: the record has no field of that name (`record.source_field`, `.target_field`).",
    "not_text": "A side is a number, a list or null instead of text.",
    "empty_side": "A side is empty or holds nothing but spaces.",
    "invalid_utf8": "The bytes are not valid UTF-8.",
    "too_large": "The record is larger than `record.max_bytes`.",
    "tombstone": "The Kafka message has no value: it marks a deletion.",
    "unreadable": "The file's format is broken at this place; the message says how.",
}
"""Why a record holds no pair that could be decided."""


PAGES: Final[dict[str, str]] = {
    "paired": "Its translation was found, and pairs of sentences were made of both.",
    "truncated": "The file ends in the middle of a record.",
    "damaged": "Bytes that are no record; reading goes on at the next one.",
    "too_large": "It is larger than `--max-page-bytes`, packed or unpacked.",
    "not_http": "A record of something else than HTTP, such as DNS.",
    "not_response": "A conversion, a revisit, or a resource that is no page.",
    "no_date": "None of the file's first records has a date; later ones take that of the record before.",
    "not_found": "The server answered with another status than 200.",
    "no_url": "Its address is none that a page can have.",
    "not_html": "It is an image, a script, a PDF, or whatever else is not HTML.",
    "binary": "It says that it is HTML, but its bytes are no text.",
    "forbidden": "It asks not to be indexed or archived (`noindex`, `noarchive`, `none`).",
    "opted_out": "It, or its site's `/.well-known/tdmrep.json`, reserves text and data mining (`noai`, `tdm-reservation: 1`).",
    "taken_down": "It is on the takedown list.",
    "sitemaps": "A sitemap: read for the translations that it names.",
    "reservations": "What a site says of text and data mining (`/.well-known/tdmrep.json`): obeyed for its pages.",
    "too_deep": "More than 1,000 elements within one another, or a tag with more than 2,000 attributes.",
    "no_text": "Nothing is left when menus and markup are taken away.",
    "other_language": "It is in neither of the two languages.",
    "language_mismatch": "Too little of its text is in the language that its address or markup claims.",
    "duplicate": "It was fetched before and has not changed.",
    "changed": "It was fetched before and has changed since: it waits for its translation to be fetched again.",
    "expired": "Its translation did not come within `--wait-days`.",
    "crowded_out": "More than `--max-waiting` pages waited, and it was the oldest.",
    "failed": "An error that nobody foresaw, told on standard error; more than 1 % of them end the crawl.",
}
"""What becomes of a page that `craft-stream crawl` reads."""


class Part(NamedTuple):
    """A part of a score.

    Attributes:
        title: in words of the trade.
        meaning: a sentence, with the unit and which way is better.
    """

    title: str
    meaning: str


PARTS: Final[dict[str, Part]] = {
    "domain": Part(
        "nearness to the domain",
        "How much likelier its words are in the target than in the stream, in standard deviations of the stream; "
        "0 is an average pair, above 1 is near.",
    ),
    "context": Part(
        "page and site",
        "What the other pairs of its page and its site say of the domain, or its neighbours where no address is given; above 0 "
        "speaks for it, 0 says nothing.",
    ),
    "dual": Part(
        "help for its topic",
        "Added where the pair's topic is behind its share of the target, taken off where it is ahead; where files are read "
        "twice, taken off as pairs like it have been taken.",
    ),
    "gate": Part(
        "needed to be looked at",
        "Nearness, page and site, and help together must reach this; only pairs that do are checked for quality.",
    ),
    "quality": Part(
        "quality",
        "Natural logarithm of the probability that the sides are a clean translation: 0 is certain, -0.3 is 74 %, "
        "-3 is 5 %.",
    ),
    "distance": Part(
        "distance from the expected translation",
        "How far the target side is from what the model expects for this source, squared; 0 is the same.",
    ),
    "score": Part(
        "score", "Nearness, page and site, help and weighted quality together; what pairs are ranked by."
    ),
    "threshold": Part(
        "needed to be accepted",
        "The score must reach this; it follows from the budget. Where files are read twice it is the lowest score that was "
        "taken: of a topic that had its share, more was needed.",
    ),
    "margin": Part(
        "to spare",
        "By how much it meets the requirement that it meets least; below 0 it is rejected, and none where no score would help.",
    ),
    "cluster": Part(
        "topic", "Number of the group of target pairs that it is nearest to; -1 where none was asked for."
    ),
    "fault": Part("fault", "What makes it no good translation, if its nearness does not reject it first."),
    "model_version": Part("model version", "The version of the model that scored it."),
}
"""Parts of a score, as `explain` and decisions name them."""

EXPLAINED: Final = (
    "domain",
    "context",
    "dual",
    "gate",
    "quality",
    "distance",
    "score",
    "threshold",
    "margin",
)
"""Parts that an explanation shows, in the order in which a pair meets them."""

FEATURES: Final[dict[str, str]] = {
    "forward": "how well the source words explain the words of the target side; 0 is chance, 5 is as well as can be",
    "backward": "how well the target words explain the words of the source side; 0 is chance",
    "weaker": "the lower of forward and backward",
    "coverage": "share of the target words that have a likely translation in the source",
    "back_coverage": "share of the source words that have a likely translation in the target",
    "tail_coverage": "share of the last four source words with a likely translation: low where it breaks off",
    "unknown": "share of the target words that the stream has hardly shown",
    "weakest": "support of the two target words that are explained worst",
    "back_weakest": "support of the two source words that are explained worst",
    "length_ratio": "logarithm of target characters over source characters; 0 is equal length",
    "token_ratio": "logarithm of target words over source words",
    "number_mismatch": "share of the numbers that stand on one side only",
    "mark_mismatch": "share of the punctuation marks that stand on one side only",
    "copied_target": "share of the target words that stand in the source as they are",
    "copied_source": "share of the source words that stand in the target as they are",
    "all_copied": "1 if every target word is copied from the source",
    "final_mark": "1 if only one side ends in a mark, 0.5 if they end in different ones",
    "non_ascii": "share of the target's characters beyond plain English letters, digits and marks",
    "language_ratio": "how much more the target's spelling looks like target text than like source text",
    "target_characters": "how familiar the target's spelling is; low for debris and other languages",
    "worst_characters": "how familiar the target's least familiar stretch of 16 characters is",
    "source_characters": "how familiar the source's spelling is",
    "mojibake": "signs of broken encoding in the target side, 4 at most",
    "length": "logarithm of the target's words",
    "digit_mismatch": "share of the digits that the other side does not have",
    "capitals": "share of capitals among the source's letters",
    "capitals_difference": "share of capitals in the target less that in the source",
    "source_language_ratio": "how much more the source's spelling looks like source text than like target text",
    "source_worst_characters": "how familiar the source's least familiar stretch of 16 characters is",
    "linked": "share of the words of both sides that have a partner on the other",
    "linked_least": "share of the longer side's words that have a partner on the other",
    "crossing": "how far apart partners stand, as a share of their sides",
    "human_judgement": "log-odds that people would call it a translation, learned from human labels",
    "cosine": "likeness of the target side to the one expected from the source; 1 is the same",
    "residual": "squared distance from it, as a negative number; 0 is the same",
    "back_cosine": "likeness of the source side to the one expected from the target",
    "cluster_residual": "logarithm of the squared distance from what this topic leads to expect; lower is closer",
    "cluster_cosine": "likeness of the target side to what this topic leads to expect",
    "cluster_ratio": "the distance beside what is usual in this topic; 0 is usual, below 0 is closer",
    "likeness": "what the likeness of both sides' vectors adds to human_judgement; only with an encoder of both languages",
}
"""What P(clean) is computed from; signals of the user's own come after these."""


def figure(value: float | None) -> str:
    """A part of a score as people read it: "none" where no number says it, as where no score would help."""
    return f"{value:.3f}" if value is not None and math.isfinite(value) else "none"


_TELLING, _LEAST = 6, 0.05  # features of an explanation; log-odds below which one says nothing


def telling(contributions: Mapping[str, float]) -> list[str]:
    """Features that speak most for or against a pair, by their contributions to the log-odds of a clean translation."""
    order = sorted(contributions, key=lambda name: -abs(contributions[name]))
    return [name for name in order if abs(contributions[name]) >= _LEAST][:_TELLING]


DECISION: Final[dict[str, str]] = {
    "decision_id": "Where the record stood: `file/0/number`, or `topic/partition/offset`.",
    "id": "The record's own id (`record.id_field`), else the same as `decision_id`.",
    "outcome": "`accepted` or `rejected`.",
    "reason": "Why: one of the reasons.",
    "score": "What was compared with the threshold; without quality where that was not asked for.",
    "threshold": PARTS["threshold"].meaning,
    "cluster": "The topic of the target; null where the pair has no vector.",
    "domain": PARTS["domain"].meaning,
    "quality": f"{PARTS['quality'].meaning} Null where the pair was not asked for it.",
    "dual": PARTS["dual"].meaning,
    "context": PARTS["context"].meaning,
    "model_version": PARTS["model_version"].meaning,
    "settings_version": "The version of the group's settings that it was made under; 0 for files.",
    "parameters": "Fingerprint of the settings that decisions follow from.",
    "release": "The release of craft_stream that made it.",
    "format": "Of this object: 2; the first had neither this nor `settings_version` and `release`.",
}
"""Fields of a decision, in the order in which they are written."""

SUMMARY: Final[dict[str, str]] = {
    "read": "records read",
    "accepted": "pairs that were selected",
    "far_from_domain": "accepted pairs that are farther from the domain than an average pair of the stream",
    "rejected": "pairs that were not",
    "rejected_by_reason": "the same by reason",
    "embedded": "pairs whose meaning vectors were computed; with a neural encoder the expensive part",
    "signals_unknown": "records that lack a signal, by its name; only where there are some",
    "undecidable": "records that hold no pair: no decision is possible, each has a reason and is kept by --rejected",
    "undecidable_by_reason": "the same by reason",
    "kl": "how far the mix of topics accepted is from the target's (KL divergence); 0 is the same mix",
    "like_target": "pairs of a sample of the stream that are as near to the domain as the nearest fifth of the target",
    "domain_share": "share of the stream that looks like the target",
    "unspendable": "pairs of the budget given up, as the stream held too little for them; not what one pass has yet to spend",
    "target": "pairs of the target that were learned from, and those left out, by what was found of them",
    "rate": "the budget, as a share of the pairs: records that hold none do not count",
    "model_version": "version of the model that decided last",
    "model_digest": "its fingerprint",
    "parameters": "fingerprint of the settings that decisions follow from",
    "seconds": "time by the clock",
    "pairs_per_second": "records read in a second of it",
}
"""Figures of a summary, in the order in which `--json` prints them."""
