"""Which tissue a slide is made of, counted over tiles that have a class."""
