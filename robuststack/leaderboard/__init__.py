"""From job results to the leaderboard: rows, tables, files."""
