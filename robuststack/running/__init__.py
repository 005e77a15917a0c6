"""Runs a plan: the store, the order of the jobs, and where they run."""
