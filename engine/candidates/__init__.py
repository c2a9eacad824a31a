"""The candidates: importing this package fills the registry (one file per candidate)."""

from engine.candidates import additive, baseline, boosting, ensemble, forest, fusion, linear, network

__all__ = ["additive", "baseline", "boosting", "ensemble", "forest", "fusion", "linear", "network"]
