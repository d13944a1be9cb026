"""The two-stage region encoder of HIPT (Chen et al. 2022), as a recipe for weights a site has."""
