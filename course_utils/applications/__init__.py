"""What the application lessons share with their homework and experiments."""
