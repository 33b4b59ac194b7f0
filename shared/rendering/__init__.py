"""What copy may say, and how a person's fields get into it: for the generator, and for whoever takes copy in. Pure."""
