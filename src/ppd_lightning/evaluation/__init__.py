"""Whether people prefer the result: comparisons with the base, what scores them, and win rates with intervals."""
