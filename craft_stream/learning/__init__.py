"""The learner: what the target and the stream teach, published as an immutable Model."""
