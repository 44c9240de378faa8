"""Recipes: each module makes one of the files in data/checkpoints, and says how long it takes."""
