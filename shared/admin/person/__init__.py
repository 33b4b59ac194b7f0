"""One person: what is stored about them, deleting it, and why they got this copy."""
