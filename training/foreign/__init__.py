"""Slides unlike the training slides, and how well a student tells them."""
