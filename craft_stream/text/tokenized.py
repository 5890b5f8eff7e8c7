"""Pairs with their tokens and n-grams."""

from __future__ import annotations

from dataclasses import dataclass

from craft_stream.text.batch import PairBatch
from craft_stream.text.ngrams import NGrams, word_ngrams
from craft_stream.text.tokens import Tokens, tokenize


@dataclass(frozen=True, slots=True)
class TokenizedPairs:
    """Pairs with their tokens: what of scoring asks neither a Model nor a Ledger, and so may be done ahead, in any thread.

    Attributes:
        batch: the pairs.
        source, target: tokens of either side.
        ngrams: word n-grams of both.
    """

    batch: PairBatch
    source: Tokens
    target: Tokens
    ngrams: NGrams

    @classmethod
    def of(cls, batch: PairBatch) -> TokenizedPairs:
        """Pairs and what is found in them."""
        source, target = tokenize(batch.source), tokenize(batch.target)
        return cls(batch, source, target, word_ngrams(source, target))

    def __len__(self) -> int:
        return len(self.batch)

    def slice(self, start: int, stop: int) -> TokenizedPairs:
        """Pairs [start, stop)."""
        return TokenizedPairs(
            self.batch.slice(start, stop),
            self.source.slice(start, stop),
            self.target.slice(start, stop),
            self.ngrams.slice(start, stop),
        )
