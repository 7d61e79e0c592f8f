"""Training: one loop for all, one readable step per network, and the recipe of the bundled model."""
