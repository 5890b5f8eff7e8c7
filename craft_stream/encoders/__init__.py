"""Sentence encoders behind one protocol, `Encoder`: the hashing encoder, and others from packages of their own."""
