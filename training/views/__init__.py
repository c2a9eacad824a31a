"""The portal's pages of training."""
