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
# # NIP on a classifier of your own
#
# Attach neuron-level inverse perturbation (NIP) to an ART classifier, compare it with
# ART's SpatialSmoothing and JpegCompression, and read the report.
# Needs `pip install ".[pytorch,benchmark]"`; runs in under a minute on two CPU cores.

# %%
import torch
from art.estimators.classification import PyTorchClassifier

from art_nip.data import mnist, split

torch.manual_seed(0)
train, bank, test = split(*mnist(), sizes=(3500, 1000, 200))

# %% [markdown]
# ## A classifier of your own
#
# Any `nn.Module` behind ART's `PyTorchClassifier` will do. The images are in [0, 1], and ART
# must know it (`clip_values`).

# %%
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 16, 5, stride=2),
    torch.nn.ReLU(),
    torch.nn.Conv2d(16, 32, 5, stride=2),
    torch.nn.ReLU(),
    torch.nn.Flatten(),
    torch.nn.Linear(512, 128),
    torch.nn.ReLU(),
    torch.nn.Linear(128, 10),
)
classifier = PyTorchClassifier(
    model,
    loss=torch.nn.CrossEntropyLoss(),
    optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    input_shape=(1, 28, 28),
    nb_classes=10,
    clip_values=(0, 1),
)
classifier.fit(*train, batch_size=64, nb_epochs=6)
print(f"accuracy: {(classifier.predict(test[0]).argmax(1) == test[1]).mean():.3f}")

# %% [markdown]
# ## Attach NIP
#
# It learns from benign images that are *not* those it will be judged on: the bank.

# %%
from art_nip import NIPPreprocessor

nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
nip.fit(*bank)
defended = nip.attach(classifier)  # a new classifier; the first one stays undefended
print(nip)

# %% [markdown]
# What it does to one attacked digit: the image finds the benign candidate with the closest δ, and
# takes that one's inverse perturbation.

# %%
import numpy as np
from art.attacks.evasion import ProjectedGradientDescent

x, y = test[0][:5], test[1][:5]
pgd = ProjectedGradientDescent(classifier, eps=0.15, eps_step=0.03, max_iter=10, verbose=False)
x_adv = pgd.generate(x, y)
for name, images, by in (
    ("benign", x, classifier),
    ("attacked", x_adv, classifier),
    ("attacked, NIP", x_adv, defended),
):
    print(f"{name:14}", by.predict(images).argmax(1))
print(f"{'true':14}", y)
print("candidates found:", nip.retrieve(x_adv), "of", len(nip.candidates))

# %% [markdown]
# ## Compare it
#
# The benchmark crafts each set of adversarial examples once, shows it to every defence, and keeps
# what it has computed: stop it at any time, run it again, and it goes on.
# *Oblivious* attacks do not know of the defence, *adaptive* ones go through it. Names stand for
# attacks and defences with the paper's parameters; objects of ART's do as well.

# %%
from art.defences.preprocessor import JpegCompression, SpatialSmoothing

from art_nip.benchmark import Attack, Benchmark

benchmark = Benchmark(
    classifier,
    attacks=[Attack("fgsm", parameters={"eps": 0.15}), pgd, Attack("deepfool", limit=50)],
    defences={
        "SpatialSmoothing 2": SpatialSmoothing(2, channels_first=True, clip_values=(0, 1)),
        "JPEG 80": JpegCompression((0, 1), quality=80, channels_first=True),
        "NIP": nip,
    },
    threats=["oblivious", "adaptive"],
    store="results/quickstart",
    verbose=False,
)
table = benchmark.run(*test, bank=bank)

# %% [markdown]
# Defence success rate (DSR): of the adversarial examples that fool the bare classifier, the share
# that a defence puts right. `low` and `high` are its 95 % Wilson interval.

# %%
columns = ["attack", "defence", "value", "low", "high", "n"]
table[table.metric == "dsr"][columns].round(2).reset_index(drop=True)

# %% [markdown]
# Against attacks that know of the defence: accuracy, and the same for the bare classifier.

# %%
adaptive = table[(table.metric == "accuracy") & (table.threat == "adaptive")]
adaptive.pivot(index="defence", columns="attack", values="value").round(2)

# %% [markdown]
# ## Read the report
#
# `report.html` has all tables with intervals, costs, and pictures; `report.md` has the tables, and
# `table.csv` the numbers.

# %%
path = benchmark.report()
print(path, sorted(each.name for each in path.parent.iterdir()))
assert np.isin(["dsr", "asr", "accuracy"], table.metric).all()
