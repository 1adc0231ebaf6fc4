"""What is minimised: one class and one file of settings for each objective."""
