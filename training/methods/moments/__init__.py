"""Classes by one linear map of a bag's mean and deviation, taught by labels and by genes."""
