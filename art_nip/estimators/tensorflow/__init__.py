"""What NIP asks of Keras models on TensorFlow."""

from art_nip.estimators.tensorflow.adapter import TensorFlowAdapter
from art_nip.estimators.tensorflow.counting import counted_calls

__all__ = ["TensorFlowAdapter", "counted_calls"]
