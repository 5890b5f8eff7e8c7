"""What is written about decisions, in one form for topics and files."""
