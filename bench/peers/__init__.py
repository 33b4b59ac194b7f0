"""What the gateway is compared with, each a process of its own: `python -m bench.peers.<name> <port>`."""
