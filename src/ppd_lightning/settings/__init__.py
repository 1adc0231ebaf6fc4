"""How settings are typed: the kinds of values, parts that a configuration names by their class, what a part needs."""
