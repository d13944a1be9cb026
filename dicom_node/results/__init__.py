"""Objects the node sends back: reports and heatmaps, and other forms of them."""
