"""The loop that joins a log of pairs, the selector and a log of accepted pairs; knows no client library."""
