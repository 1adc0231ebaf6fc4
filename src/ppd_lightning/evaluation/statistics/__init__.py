"""Win rates, bootstrap intervals, curves, rank correlations and classifiers, on plain arrays."""
