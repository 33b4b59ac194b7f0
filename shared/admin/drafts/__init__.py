"""Drafts by a model: runs that are asked for, and worked off in the background (ADR 0019)."""
