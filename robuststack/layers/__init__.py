"""Parts that defenses are made of: conditions and views, norm roles, noise, dual norms, FiLM, affine soups, slimmable
and sparse layers."""
