"""Attacks on stored models, by what they change: each file puts its own into `registry.ATTACKS`."""
