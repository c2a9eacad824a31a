"""The candidates: importing this package fills the registry (one file per candidate)."""

from engine.candidates import baseline, boosting, ensemble, fusion, linear, network

__all__ = ["baseline", "boosting", "ensemble", "fusion", "linear", "network"]
