"""Who gets in: the people of an org and its API keys."""
