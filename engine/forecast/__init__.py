"""Forecasts: the next value of a patient's series from its past, with an interval that keeps its promise."""
