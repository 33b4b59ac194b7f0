"""Variants: written, previewed, reviewed, approved."""
