"""What people do to the system, once: `justai`, the console's pages and its HTTP API are made of these operations."""
