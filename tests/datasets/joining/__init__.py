"""DICOM that has arrived joins data sets."""
