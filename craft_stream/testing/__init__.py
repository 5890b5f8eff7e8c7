"""What ships for those who test against craft_stream: contracts of connectors, fakes."""
