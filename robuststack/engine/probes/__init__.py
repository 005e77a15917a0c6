"""What checks look at on live models: a module a probe, with a function `look(subject) -> facts`."""
