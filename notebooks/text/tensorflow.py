# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own Keras model
#
# The same as in `your_model`, in TensorFlow: a Keras model, a `tf.data.Dataset`, and an attack of
# Foolbox's.
# Needs `pip install "art-nip[tensorflow,benchmark]" foolbox`; runs in about a minute on two CPU
# cores.

# %%
import keras
import tensorflow as tf

from art_nip.data import mnist, split

keras.utils.set_random_seed(0)
parts = split(*mnist(channels_first=False), sizes=(3000, 1000, 200))
train, bank = (tf.data.Dataset.from_tensor_slices(part).batch(100) for part in parts[:2])
x_test, y_test = parts[2]

# %% [markdown]
# ## The model
#
# It gives logits: no softmax at its end, as NIP and attacks need what comes before it. Your trained
# model goes here instead.

# %%
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(16, 5, strides=2, activation="relu"),
        keras.layers.Conv2D(32, 5, strides=2, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(4e-3), loss)
model.fit(train.shuffle(30), epochs=6, verbose=0);

# %% [markdown]
# ## To ART: the model and the range of its images
#
# This model takes images in [0, 1] as they are. For one that takes normalised images, give
# `preprocessing=(mean, std)` too: ART then normalises, and attacks see pictures.

# %%
from art.estimators.classification import TensorFlowV2Classifier

from art_nip import metrics

classifier = TensorFlowV2Classifier(
    model,
    loss_object=loss,
    input_shape=(28, 28, 1),
    nb_classes=10,
    clip_values=(0, 1),
)
print("accuracy:", metrics.accuracy(y_test, classifier.predict(x_test)))

# %% [markdown]
# ## To NIP: the classifier, and a data set of benign images
#
# The bank: images and their classes, batch by batch, none of which is tested on.

# %%
from art_nip import NIPPreprocessor

nip = NIPPreprocessor.for_estimator(classifier, retrieval="nearest", verbose=False)
nip.fit(*parts[1])
defended = nip.attach(classifier)
print("candidates:", len(nip.candidates), "- layer:", nip.layer_name)
print("accuracy, defended:", metrics.accuracy(y_test, defended.predict(x_test)))

# %% [markdown]
# ## To Foolbox: `as_module`
#
# A `keras.Model` of the whole classifier, defence included. `defended.model` would be the network
# alone.

# %%
import foolbox

import art_nip

images, labels = tf.constant(x_test), tf.constant(y_test)
pgd = foolbox.attacks.LinfPGD(steps=20)


def attacked(through):
    """Return Foolbox's adversarial examples of a classifier, as an array."""
    tf.random.set_seed(0)
    model = foolbox.TensorFlowModel(art_nip.as_module(through), bounds=(0, 1))
    return pgd(model, images, labels, epsilons=0.1)[1].numpy()


oblivious = attacked(classifier)
adaptive = attacked(defended)

# %% [markdown]
# ## What the numbers mean
#
# *Oblivious* examples were made for the bare classifier; *adaptive* ones through the defence. A
# defence is worth what is left of it under the second kind.

# %%
for name, x, by in (
    ("benign, undefended", x_test, classifier),
    ("benign, defended", x_test, defended),
    ("oblivious PGD, undefended", oblivious, classifier),
    ("oblivious PGD, defended", oblivious, defended),
    ("adaptive PGD, defended", adaptive, defended),
):
    print(f"{name:26} accuracy {metrics.accuracy(y_test, by.predict(x))}")
