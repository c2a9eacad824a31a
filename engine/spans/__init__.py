"""Labelled spans of text: which stretches of a note are what, each with a calibrated probability."""
