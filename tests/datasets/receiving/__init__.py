"""Receiving DICOM from the network."""
