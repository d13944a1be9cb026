"""How any network here learns: splits, losses, the loop, what a fitted one is."""
