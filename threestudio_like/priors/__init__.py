"""Pretrained models behind small contracts, and oracle priors with closed-form answers."""
