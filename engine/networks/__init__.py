"""Networks that look at files themselves. Importing this package imports torch: do it inside functions only."""

from engine.networks import signal, video
from engine.networks.base import ENCODERS, KindNetwork, encoder

__all__ = ["ENCODERS", "KindNetwork", "encoder", "signal", "video"]
