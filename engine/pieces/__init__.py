"""The parts of a fit in pieces (engine.chunked): rows in mapped files, and the models that learn from them."""
