"""Bringing an upload's rows into a data set: cells made canonical, rows written in bulk, resumably."""
