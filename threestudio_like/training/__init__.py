"""All trainings: embedded priors, image-to-3D models, and textual inversion."""
