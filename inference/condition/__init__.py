"""What befell a slide: blur, folds, pen and air bubbles, by share of its tiles."""
