"""What several test modules share: small studies, tables, networks, searches and faults."""
