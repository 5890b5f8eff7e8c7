"""From the bytes of a record to a pair and its tokens; the same for files and topics."""
