"""One turn of one account: what it is about, what it pays, sending it, and what follows from the answers."""
