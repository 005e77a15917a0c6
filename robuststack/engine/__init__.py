"""Training, attacking and measuring: the part of the host that imports torch."""
