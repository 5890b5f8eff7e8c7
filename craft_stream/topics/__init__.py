"""What stands on the topics of ours and how it is read back: ledgers, Models, the target."""
