"""Cards and tables of what tissue a slide is made of."""
