"""Importers: records and files that arrive by themselves, from a database, a server, a folder, on a schedule or on demand.

`base` is the interface that every source keeps, one file each in `sources`; `network` decides which addresses may be asked.
"""
