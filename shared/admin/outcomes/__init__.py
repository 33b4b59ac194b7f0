"""What became of generations and what their emails showed: the number above all, and examples of each reason."""
