"""What several scripts, or one long one, are made of."""
