"""From a suite to its jobs and rows."""
