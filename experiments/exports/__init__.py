"""What --mode export writes, a file for each kind of model, so that a run depends on that alone."""
