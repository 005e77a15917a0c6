"""Parts that defenses are made of: conditions and views, norm roles, noise, dual batch norm, FiLM, affine soups, slimmable
and sparse layers."""
