"""Klaviyo's HTTP API: who may call what, how often, and what comes back."""
