"""What the files of a slide claim: places of frames, placement of the matrix, scale."""
