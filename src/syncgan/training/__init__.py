"""The training engine: one loop, two objectives. Neither knows the other's subject."""
