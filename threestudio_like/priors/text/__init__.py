"""Prompts as numbers: embeddings, positions of words, learned concepts."""
