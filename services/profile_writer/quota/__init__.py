"""What one Klaviyo account may be sent, and when it is left alone: arithmetic on a clock, no I/O."""
