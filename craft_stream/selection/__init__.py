"""The selector: scores with the Model in force and decides with the Ledger of the partition."""
