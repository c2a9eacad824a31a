"""One transformer per column kind, one file each; importing this package fills the registry."""

from engine.transformers import category, date, image, number, signal, text, video, volume
from engine.transformers.base import TRANSFORMERS, Issue, Transformer

__all__ = [
    "TRANSFORMERS", "Issue", "Transformer", "category", "date", "image", "number", "signal", "text", "video", "volume",
]  # fmt: skip
