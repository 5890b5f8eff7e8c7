"""What the inside asks of the outside: messages, files, a message system. Connectors implement these protocols."""
