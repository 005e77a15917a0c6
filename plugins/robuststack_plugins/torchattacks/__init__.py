"""Attacks of the torchattacks library."""
