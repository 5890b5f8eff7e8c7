"""Connectors: implementations of `craft_stream.runtime.ports` for Kafka, files and crawls."""
