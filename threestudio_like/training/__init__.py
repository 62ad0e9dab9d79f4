"""Every training: embedded priors, image-to-3D models, a new word."""
