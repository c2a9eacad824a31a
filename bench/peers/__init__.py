"""The engine beside AutoGluon, FLAML and plain scikit-learn: same rows, same machine, each fit in its own process."""
