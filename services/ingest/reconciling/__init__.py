"""Our counts beside Klaviyo's own totals."""
