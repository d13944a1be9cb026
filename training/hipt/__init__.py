"""HIPT's two-stage region encoder, a recipe for weights that a site has."""
