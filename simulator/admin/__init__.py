"""The box's own buttons under `/_sim`: build a world, play it, break it, read it."""
