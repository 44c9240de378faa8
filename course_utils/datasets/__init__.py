"""Pictures, questions and sounds: the worlds that the lessons look at."""
