"""Recipes that load an org's export into a warehouse and survive its overwrites. Text in, text out."""
