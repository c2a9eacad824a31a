"""Cells that are files: pictures, volumes, videos and signals beside a record's fields.

A cell of such a column holds the SHA-256 of a stored file and nothing else, in records, frozen versions, diagnoses and
the REST API alike: equal content gives equal rows, and no name of a table is ever opened. What the sender called the
file is kept beside the record (`RecordFile`) and only shown.
"""
