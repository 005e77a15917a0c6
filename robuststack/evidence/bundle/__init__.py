"""The bundle: all that is behind a leaderboard in one file, and what can be checked of it without trusting its author."""
