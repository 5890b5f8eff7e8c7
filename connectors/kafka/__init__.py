"""Kafka, by kafka-python: the transport of the worker, the target topic, topics and their settings."""
