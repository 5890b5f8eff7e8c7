"""What `craft-stream demo` and `craft-stream simulate` show the product with; no part of it."""
