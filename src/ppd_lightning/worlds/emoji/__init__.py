"""The embedded world: emoji by several vendors, simulated people, a mini Stable Cascade."""
