"""Templates: their life and settings, their set-up in Klaviyo, and what is pasted there."""
