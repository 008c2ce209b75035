"""What --mode export writes: a file for each kind of model, on which alone a run then depends."""
