"""The registry of encoders: for each kind of file a torch module that turns its tensor into a vector, and augmentation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from engine.schema import Kind


class KindNetwork(ABC):
    """How a network looks at one kind. One instance per kind is registered by @encoder.

    Tensors arrive as float32 (batch, *tensor_shape); those stored as uint8 lie in [0, 1].
    """

    @abstractmethod
    def build(self, tensor_shape: tuple[int, ...], width: int) -> nn.Module:
        """A module from (batch, *tensor_shape) to (batch, width). It standardises its input itself.

        No batch statistics at prediction: a record's result must not depend on which others are asked with it.
        """

    def augment(
        self, batch: torch.Tensor, generator: torch.Generator, settings: Mapping[str, Any]
    ) -> torch.Tensor:
        """Changes that leave the meaning alone; all randomness from `generator`. `settings`: the hyperparameters,
        among them `augmentation` (strength, 0 to 1) and `allow_flip` (left and right may be exchanged)."""
        return batch


ENCODERS: dict[Kind, KindNetwork] = {}
NetworkType = TypeVar("NetworkType", bound=type[KindNetwork])


def encoder(kind: Kind) -> Callable[[NetworkType], NetworkType]:
    """Class decorator: networks look at this kind through that class. Kinds without one are seen by their features."""

    def register(cls: NetworkType) -> NetworkType:
        ENCODERS[kind] = cls()
        return cls

    return register
