"""Several processes that train one run: which rank this is, how ranks meet, how they are spawned."""
