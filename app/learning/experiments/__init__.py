"""Experiments: who gets which variant, what was seen, and what follows from it."""
