"""Cases, as commands make them: of files, without a node."""
