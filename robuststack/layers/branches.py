"""The two branches of dual batch norm, by number. It imports no torch, so that a plugin's module may import it."""

CLEAN, ADVERSARIAL = 0, 1
"""The branch of clean images, and that of adversarial ones."""
