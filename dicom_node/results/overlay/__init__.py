"""Pictures of a slide with its heatmap drawn in, for viewers that show no Segmentation."""
