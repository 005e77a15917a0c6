"""Parts that defenses are made of: conditions and views, noise, dual batch norm, FiLM, norm roles."""
