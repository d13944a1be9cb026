"""HTML pages for people: one of a slide with its report, and one over the slides of a study."""
