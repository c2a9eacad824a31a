"""The portal's pages of diagnoses."""
