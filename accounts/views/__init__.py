"""The portal's pages of accounts, one file per subject."""
