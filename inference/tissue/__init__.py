"""Where tissue is: the mask, its regions and outlines."""
