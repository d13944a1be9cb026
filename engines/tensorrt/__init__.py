"""TensorRT: plans, how they are built and run, and the part of CUDA that it needs."""
