"""What the examples in these pages start from: a small classifier of ART, and real digits."""

import os
import tempfile

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier

from art_nip import zoo
from art_nip.data import mnist, split

__all__ = ["classifier", "np", "torch", "x_benign", "x_test", "y_benign", "y_test"]

os.chdir(tempfile.mkdtemp())  # where examples write

torch.manual_seed(0)
(x_train, y_train), (x_benign, y_benign), (x_test, y_test) = split(*mnist(), sizes=(2000, 200, 40))
model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
classifier = PyTorchClassifier(
    model,
    loss=torch.nn.CrossEntropyLoss(),
    optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    input_shape=(1, 28, 28),
    nb_classes=10,
    clip_values=(0, 1),
)
classifier.fit(x_train, y_train, batch_size=64, nb_epochs=3)
