"""DeLong's test: do two scores of the same records have different areas under the ROC curve?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from engine.metrics import Floats, Ints


def delong(
    positive: NDArray[np.bool_], a: Floats, b: Floats, patients: Ints | None = None
) -> dict[str, float | None]:
    """{difference, low, high, p} of the AUC of `a` minus that of `b`, two-sided, 95%; all None where undefined.

    DeLong et al. 1988, doi:10.2307/2531595, by mid-ranks as Sun & Xu 2014, doi:10.1109/LSP.2014.2337313. Records that
    share a patient are no independent witnesses: with `patients` (codes from 0) the components are summed by patient
    (Obuchowski 1997, doi:10.2307/2533958), which is DeLong's own variance when every patient has one record.
    """
    nothing: dict[str, float | None] = {"difference": None, "low": None, "high": None, "p": None}
    m, n = int(positive.sum()), int((~positive).sum())
    if m == 0 or n == 0:
        return nothing
    codes = np.arange(len(positive)) if patients is None else patients
    area_a, (first_a, second_a) = _components(positive, a, codes)
    area_b, (first_b, second_b) = _components(positive, b, codes)
    difference = area_a - area_b
    variance = _variance(first_a - first_b, second_a - second_b, positive, codes)
    if variance is None:
        return nothing
    deviation = float(np.sqrt(max(variance, 0.0)))
    if deviation < 1e-12:  # the two rank alike, or each ranks perfectly: nothing speaks of chance
        same = abs(difference) < 1e-12
        return {"difference": difference, "low": difference, "high": difference, "p": 1.0 if same else 0.0}
    reach = float(norm.ppf(0.975)) * deviation
    p = 2.0 * float(norm.sf(abs(difference) / deviation))
    return {"difference": difference, "low": difference - reach, "high": difference + reach, "p": p}


def _components(
    positive: NDArray[np.bool_], score: Floats, codes: Ints
) -> tuple[float, tuple[Floats, Floats]]:
    """The area, and by patient the sums of the structural components less the area: of positives, of negatives."""
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(score)
    of_positive, of_negative = ranks[positive], ranks[~positive]
    above = (of_positive - rankdata(score[positive])) / n  # share of the negatives that a positive is above
    below = 1.0 - (of_negative - rankdata(score[~positive])) / m
    area = float(above.mean())
    size = int(codes.max()) + 1
    first: Floats = np.bincount(codes[positive], weights=above - area, minlength=size).astype(float)
    second: Floats = np.bincount(codes[~positive], weights=below - area, minlength=size).astype(float)
    return area, (first, second)


def _variance(first: Floats, second: Floats, positive: NDArray[np.bool_], codes: Ints) -> float | None:
    """Of the difference of two areas; None when one patient alone has all records of a class."""
    m, n = int(positive.sum()), int((~positive).sum())
    with_positive, with_negative = len(np.unique(codes[positive])), len(np.unique(codes[~positive]))
    patients = len(np.unique(codes))
    if with_positive < 2 or with_negative < 2:
        return None
    s10 = with_positive / ((with_positive - 1) * m) * float(first @ first)
    s01 = with_negative / ((with_negative - 1) * n) * float(second @ second)
    s11 = patients / (patients - 1) * float(first @ second)
    return s10 / m + s01 / n + 2.0 * s11 / (m * n)
