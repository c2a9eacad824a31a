"""DICOMweb (PS3.18): STOW-RS into the spool and on to arrivals; QIDO-RS and WADO-RS of what is stored de-identified.

Everybody sees their own organisation's instances alone. UIDs and values are those of the de-identified files: the UIDs that a
sender knows lead nowhere.
"""
