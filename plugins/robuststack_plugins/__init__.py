"""The components RobustStack ships: ordinary plugins that use nothing but the public hooks and contracts."""
