"""A benchmark as a YAML file."""

from art_nip.benchmark.spec.spec import Spec

__all__ = ["Spec"]
