"""Use: diagnoses, reviews, batches."""
