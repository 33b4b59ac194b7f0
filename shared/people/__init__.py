"""People and what they may do: the vocabulary and the tables that the console and the command line share."""
