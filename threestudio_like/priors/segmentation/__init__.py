"""Segmentation of objects in pictures."""
