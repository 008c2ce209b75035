"""Named sets of flags, a file per experiment, with source, expected result and cost."""
