"""craft_stream: selects, from a stream of crawled sentence pairs, the training data that matches a target domain."""

__version__ = "0.1.0"
