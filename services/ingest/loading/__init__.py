"""A file's rows → facts, in one transaction: what is new goes in, what a newer file no longer says is taken back."""
