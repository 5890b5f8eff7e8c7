"""Crawls as they run: WARC files in, pairs of sentences with their provenance out."""
