"""What an org sets up once: its account, keys, sources, exports, and whether all of it fits together."""
