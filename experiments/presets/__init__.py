"""Named sets of flags, a file per experiment: what each is from, should reach and costs."""
