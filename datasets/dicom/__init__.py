"""DICOM in: reading and grouping of files (the engine decodes), de-identification (PS3.15 Annex E), the key to patients.

`deidentify`, `reading`, `grouping`, `pixels`, `burned_in` are pure functions on files and pydicom data sets; models, services
and pages stand on top of them. What other parts call: `deidentify.deidentify(path, out, profile)` on files alone, or
`services.deidentify_file(actor=…, path=…, out=…)`, which also keeps the key from pseudonym to patient.
"""
