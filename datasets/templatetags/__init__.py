"""Template tags of the data sets."""
