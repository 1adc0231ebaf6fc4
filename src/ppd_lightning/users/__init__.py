"""Who the user is: one embedding a person, from a one-hot table or from a few shots."""
