"""From encoded pictures and questions to answers: reasoners, and the ladder that compares them."""
