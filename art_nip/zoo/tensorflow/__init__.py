"""The zoo in Keras on TensorFlow: models and weights, ART classifiers of them, training steps."""

from art_nip.zoo.tensorflow.classifiers import classifier
from art_nip.zoo.tensorflow.models import build, read, write
from art_nip.zoo.tensorflow.training import seed_weights, training_step

__all__ = ["build", "classifier", "read", "seed_weights", "training_step", "write"]
