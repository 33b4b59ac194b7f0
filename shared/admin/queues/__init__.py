"""What waits, and what no retry could cure: quotas of Klaviyo accounts, bulk imports, dead letters."""
