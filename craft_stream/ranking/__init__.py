"""Selecting from a stream that can be read again: an even sample teaches, all pairs are scored, the best are taken exactly.

The order of the stream has no influence but where pairs are equally good. `craft-stream select` does so with files; what comes
once only, a pipe or a topic, is decided as it comes (`session`).
"""
