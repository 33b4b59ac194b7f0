"""What people do with an email, the events that this leaves, and the export of those events."""
