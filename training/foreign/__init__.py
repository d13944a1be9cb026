"""Slides unlike the training slides: how well a student tells them from ordinary ones."""
