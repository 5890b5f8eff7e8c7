"""What `import craft_stream` offers: select, learn, score, each on any iterable of pairs or data frame."""
