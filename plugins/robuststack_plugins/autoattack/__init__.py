"""The official AutoAttack, through the package pyautoattack."""
