"""Signing in through an OpenID Connect provider (ADR 0020)."""
