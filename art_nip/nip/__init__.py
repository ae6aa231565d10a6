"""The method: neuron-level inverse perturbation, in the order of the paper."""
