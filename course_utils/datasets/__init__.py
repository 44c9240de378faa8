"""Data sets of the lessons: pictures, questions and speech."""
