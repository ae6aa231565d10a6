"""What NIP asks of an ART estimator; the only place that knows a framework."""
