"""One file a verb, each with `run(config) -> summary`."""
