"""The long-running consumer: one loop, and what works beside it."""
