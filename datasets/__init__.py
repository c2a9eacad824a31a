"""What: datasets, columns, records, files, versions, uploads, importers."""
