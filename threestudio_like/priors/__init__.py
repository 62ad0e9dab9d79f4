"""Pretrained models behind small contracts, and oracles with closed-form answers."""
