"""Neuron-level inverse perturbation (NIP), in the order of the paper."""
