"""Pages about what was done: a run, a sweep, a study; one HTML file each, with everything in it."""
