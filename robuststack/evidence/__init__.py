"""The standard of judgement as code: readings, their variance, decisions between figures, and the knob as a game."""
