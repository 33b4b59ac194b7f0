"""Templates and their variants: written, drafted, previewed, reviewed, and set up in Klaviyo."""
