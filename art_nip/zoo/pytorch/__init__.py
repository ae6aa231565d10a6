"""The zoo in PyTorch: models and their weights, ART classifiers of them, and training steps."""

from art_nip.zoo.pytorch.classifiers import classifier
from art_nip.zoo.pytorch.models import build, read, write
from art_nip.zoo.pytorch.training import seed_weights, training_step

__all__ = ["build", "classifier", "read", "seed_weights", "training_step", "write"]
