"""Preprocessing: outliers, missing values, normalisation, scaling and feature selection, and the chain of them."""
