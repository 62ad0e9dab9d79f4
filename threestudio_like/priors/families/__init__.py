"""Families of diffusion models, one adapter each on the components of diffusers."""
