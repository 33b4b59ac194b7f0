"""What is looked after beside the turns: stops that reach what is queued, changed keys, forgotten accounts."""
