"""Checks of a row: each asks one question of its model or its attacks, and can come out as broken, or as weak.

One file a check. `catalogue` lists them in the order of the standard.
"""
