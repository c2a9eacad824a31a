"""English dates that nobody can misread: the month in letters, 24 hours, as on a ward's chart.

Django's English is American: 11/02/2026 is the second of November there and the eleventh of February elsewhere.
"""

DATE_FORMAT = SHORT_DATE_FORMAT = "j M Y"
DATETIME_FORMAT = SHORT_DATETIME_FORMAT = "j M Y, H:i"
TIME_FORMAT = "H:i"
