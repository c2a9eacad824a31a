"""DICOM that has arrived joins data sets: a cell may name a series, a study or an image by its UID. See ADR 30.

Stored, de-identified instances are found by the index of DICOMweb; nothing is de-identified here a second time.
"""
