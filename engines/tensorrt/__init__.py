"""TensorRT: plans, how they are built and run, and what it needs of CUDA."""
