"""What every preprocessing step on a block of numbers is."""

from __future__ import annotations

from typing import Any, ClassVar

from numpy.typing import NDArray

from engine.metrics import Floats

Arrays = dict[str, NDArray[Any]]


class Step:
    """Learns from (n, m) numbers in which NaN is missing; its learned state is the arrays named in `learned`."""

    learned: ClassVar[tuple[str, ...]] = ()

    def __init__(self, method: str) -> None:
        self.method = method

    def fit(self, X: Floats, y: Floats, classify: bool) -> Step:
        """Learn from training data only."""
        raise NotImplementedError

    def transform(self, X: Floats) -> Floats:
        """The same number of rows; the input is not changed."""
        raise NotImplementedError

    def arrays(self) -> Arrays:
        """The learned state."""
        return {name: getattr(self, name) for name in self.learned if hasattr(self, name)}

    def restore(self, arrays: Arrays) -> Step:
        """The inverse of `arrays`."""
        for name, value in arrays.items():
            setattr(self, name, value)
        return self
