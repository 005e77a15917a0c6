"""Models of RobustBench's zoo, to be evaluated as they are."""
