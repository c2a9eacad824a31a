"""The stable rule that deals every patient, once and for ever, to training or to the locked test split.

A patient's place is a hash of the data set's secret salt and the patient key, read as a number in [0, 1): below
`test_fraction` it is the test split. So it depends on nothing else: not on the order of rows, the upload, the process or
the machine, and a patient's later records always join the earlier ones.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets.models import Dataset

TRAIN, TEST = "train", "test"


def _threshold(dataset: "Dataset") -> int:
    return int(dataset.test_fraction * 2**64)


def place(salt: str, key: str) -> int:
    """The patient's place, a whole number in [0, 2**64): BLAKE2b (RFC 7693) keyed with the salt."""
    return int.from_bytes(
        blake2b(key.encode("utf-8", "surrogatepass"), key=salt.encode(), digest_size=8).digest(), "big"
    )


def split_for(dataset: "Dataset", key: str) -> str:
    """ "train" or "test" for one patient key (or, for a row without a patient, its row hash)."""
    return TEST if place(dataset.split_salt, key) < _threshold(dataset) else TRAIN


def splits_for(dataset: "Dataset", keys: Iterable[str]) -> NDArray[np.object_]:
    """The same as `split_for` for each of many keys, in their order; about a million keys a second."""
    salt, threshold = dataset.split_salt.encode(), _threshold(dataset)
    return np.array(
        [
            TEST
            if int.from_bytes(
                blake2b(key.encode("utf-8", "surrogatepass"), key=salt, digest_size=8).digest(), "big"
            )
            < threshold
            else TRAIN
            for key in keys
        ],
        dtype=object,
    )
