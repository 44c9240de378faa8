"""Reasoning: from an encoded question and an encoded picture to an answer, and the ladder that compares methods."""
