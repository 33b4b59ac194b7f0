"""What an author writes becomes what is served: cleaned, checked, and led from draft to archive. Pure."""
