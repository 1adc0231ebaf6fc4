"""What scores the images of comparisons, and what follows: win rates and means."""
