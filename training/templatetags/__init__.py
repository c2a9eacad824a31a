"""Template filters of training."""
