"""The paper's claims: the ledger that states them, and what the tables say of each."""
