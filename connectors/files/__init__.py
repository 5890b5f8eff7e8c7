"""Files: JSONL, plain, gzip or zstd."""
