"""Troubleshooting: the public page's list, answered for an org by its facts."""
