"""Video: frames sampled from a clip without holding it, and the features of how they look and how they move."""
