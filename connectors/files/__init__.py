"""Files of pairs, in and out."""
