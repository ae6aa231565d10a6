"""What NIP asks of an ART estimator: its layers, their neurons, and gradients."""
