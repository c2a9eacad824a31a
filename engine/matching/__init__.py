"""Text matching: the most alike records of a text, and how probable it is that they belong together."""
