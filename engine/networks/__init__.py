"""Networks that look at files themselves. Importing this package imports torch: do it inside functions only."""

from engine.networks import image, signal, video, volume
from engine.networks.base import ENCODERS, KindNetwork, encoder

__all__ = ["ENCODERS", "KindNetwork", "encoder", "image", "signal", "video", "volume"]
