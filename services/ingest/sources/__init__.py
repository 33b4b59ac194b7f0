"""Where event files are: each kind of source as a folder, when it is looked into, and how it went."""
