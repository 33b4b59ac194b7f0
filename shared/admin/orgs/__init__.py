"""The org itself: its name and zone, its Klaviyo account and flows, its rules for copy, and what is left to set up."""
