"""What a Model says of a pair: pure functions from a Model's arrays and tokens to numbers.

The learner trains on these very functions and the selector decides by them, so they live between the two. Sums are taken
in one order, a pair at a time, so that a score never depends on the batch that the pair came in.
"""
