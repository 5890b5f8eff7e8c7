"""Text as bytes and offsets: packing, folding, tokens, character n-grams. Leaf of the imports; numba kernels."""
