"""Template helpers available in every template."""
