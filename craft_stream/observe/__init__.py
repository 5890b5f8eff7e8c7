"""What can be watched: every metric, and the HTTP endpoints that serve them."""
