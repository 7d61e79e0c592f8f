"""How well faces are found in photographs of your own; each command runs from the root of a checkout."""
