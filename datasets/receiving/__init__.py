"""DICOM from the network: a receiver (C-STORE, C-ECHO) that is durable before it answers, and DICOMweb on the same store.

`spool`, `segment` and `part10` know files alone; `quick` makes pynetdicom wait for events instead of polling; `server` is the
receiver; `taking` is the job that hands what came over to `datasets.arrivals`. See ADR 25.
"""
