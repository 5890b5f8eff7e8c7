"""Commands of the how-tos."""
