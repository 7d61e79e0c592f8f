"""Recipes: from nothing to a model folder, one command each."""
