"""Connectors: implementations of `craft_stream.ports.messages` for Kafka, files and crawls."""
