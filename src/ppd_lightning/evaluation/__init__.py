"""Whether people really prefer the result: judges, win rates and the best that anyone could do."""
