"""The families of alignment, one module each."""
