"""The toolkit for attack authors: balls, starts, losses, the one loop, restarts, EOT, and the attacked model."""
