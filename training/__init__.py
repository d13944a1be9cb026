"""Builds students from labeled and paired data and exports them as bundles."""
