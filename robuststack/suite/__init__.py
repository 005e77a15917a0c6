"""From a suite file to what it asks for, resolved and checked."""
