# ---
# jupyter:
#   jupytext:
#     formats: ipynb,text//py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own Keras model
#
# What to hand to whom in TensorFlow: a Keras model, a `tf.data.Dataset`, and an attack of Foolbox.
# `your_model` is the same in PyTorch.
# Needs `pip install ".[tensorflow,benchmark]" foolbox`; runs in under a minute on two CPU
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
# It gives logits: there is no softmax at its end. Your own trained model goes here instead.

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
history = model.fit(train, epochs=6, shuffle=False, verbose=0)
# %% [markdown]
# ## To ART: the model and the range of its images
#
# This model takes images in [0, 1] as they are. For one that takes them normalised, give
# `preprocessing=(mean, std)` too: ART then normalises, and defences and attacks see pictures.

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
# `fit` reads the data set once, batch by batch. Its images are the *bank*, and none of them is
# tested on (*held-out*).

# %%
from art_nip import NIPPreprocessor

nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
nip.fit(bank)
defended = nip.attach(classifier)  # a new classifier; the first one stays undefended
print(len(nip.candidates), "candidates; neurons of", nip.layer_name)

# %% [markdown]
# ## To Foolbox: `as_module`
#
# Foolbox knows nothing of ART. `art_nip.as_module` makes one `keras.Model` of the whole classifier,
# defence included, and its gradient goes through both. `defended.model` would be the network alone.

# %%
import foolbox

import art_nip

pgd = foolbox.attacks.LinfPGD(steps=20)
EPS = 0.15  # the most that a pixel may change


def attacked(victim):
    """Return Foolbox's adversarial versions of the test images, made for a classifier."""
    tf.random.set_seed(0)
    model = foolbox.TensorFlowModel(art_nip.as_module(victim), bounds=victim.clip_values)
    return pgd(model, tf.constant(x_test), tf.constant(y_test), epsilons=EPS)[1].numpy()


oblivious, adaptive = attacked(classifier), attacked(defended)

# %% [markdown]
# ## What the numbers mean
#
# *Oblivious* examples were made for the undefended classifier, *adaptive* ones through the defence,
# as someone would who knows of it. Beside Foolbox's there is an attack made for NIP. The brackets
# are 95 % intervals: they say how much chance there is in 200 images.

# %%
import numpy as np

from art_nip import attacks

steered = attacks.get("steering").create(defended, eps=EPS).generate(x_test, y_test)
print("undefended, benign            ", metrics.accuracy(y_test, classifier.predict(x_test)))
print("undefended, Foolbox           ", metrics.accuracy(y_test, classifier.predict(oblivious)))
rights = []
for attack, images in (
    ("benign", x_test),
    ("Foolbox, oblivious", oblivious),
    ("Foolbox, adaptive", adaptive),
    ("steering, adaptive", steered),
):
    rights.append(defended.predict(images).argmax(axis=1) == y_test)
    print(f"defended, {attack:20}", metrics.Proportion.of(rights[-1]))
print("defended, the worst of these  ", metrics.Proportion.of(np.all(rights, axis=0)))

# %% [markdown]
# The last line counts the images that withstand all of the attacks: that is what NIP is worth here.
# `your_model` says why Foolbox's alone would flatter it. `art_nip.benchmark` runs many attacks
# through many defences: `quickstart` shows it, and it takes a Keras classifier as well.
