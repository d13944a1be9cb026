"""Which models run on a slide: values in, an answer out."""
