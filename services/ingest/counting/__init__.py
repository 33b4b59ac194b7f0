"""What is counted ahead, so that pages read sums: rollups of sends, results of templates, what emails showed."""
