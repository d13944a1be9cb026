"""Objects the node sends back: Structured Reports and heatmap Segmentations."""
