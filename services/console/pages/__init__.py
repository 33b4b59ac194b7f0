"""The pages, by area; beside the rooms, what belongs to none or to several."""
