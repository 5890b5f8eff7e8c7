"""A report of a selection: aggregates and a bounded sample, gathered while it runs, as one self-contained HTML file."""
