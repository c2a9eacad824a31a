"""Signals: readers of their file formats, gaps and resampling, and the features of one recording."""
