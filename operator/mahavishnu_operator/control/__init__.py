"""Reconcilers: pure decisions on frozen dataclasses, and the thin shells that carry them out."""
