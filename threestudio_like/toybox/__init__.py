"""The procedural world, and the priors that are trained on it."""
