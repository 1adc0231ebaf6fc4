"""Files that survive a kill: atomic writes, hashes, leases, the table of a sweep."""
