"""Drafting copy with a language model: a brief and brand rules in, drafts out. No person has a way in."""
