"""The promise itself: neural translation models, trained on what each method selects from the same stream.

`python -m bench.translation prepare` makes the stream, the targets, the test sets and every method's selection, on a CPU;
`train` trains and translates, on a GPU or, in a small form, on a CPU, and needs nothing of the package but this folder;
`judge` gives BLEU, chrF++ and their significance; `bench.report` writes the tables and the picture.
"""
