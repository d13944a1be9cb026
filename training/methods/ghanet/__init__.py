"""G-HANet: genes reconstructed from histology, hyperedges, a survival head."""
