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
# # Your own model, your own loader, your own attack tool
#
# You have a PyTorch model, a `DataLoader`, and attacks that you trust, here one of Foolbox. This
# notebook shows what to hand to whom, and how to read what comes out.
# Needs `pip install ".[pytorch,benchmark]" foolbox`; runs in under a minute on two CPU cores.

# %%
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from art_nip.data import mnist, split

torch.manual_seed(0)
parts = split(*mnist(), sizes=(3000, 1000, 200))
train, bank, test = (TensorDataset(*map(torch.from_numpy, part)) for part in parts)
train_loader = DataLoader(train, batch_size=64, shuffle=True)
bank_loader = DataLoader(bank, batch_size=100)

# %% [markdown]
# ## The model
#
# It is a small relative of torchvision's: residual blocks, a flatten that is no layer but a call in
# `forward`, logits at the end, and images that are normalised before it sees them. Your own trained
# model goes here instead.

# %%
MEAN, STD = 0.13, 0.31


class Block(nn.Module):
    def __init__(self, width, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Conv2d(width, channels, 1, stride, bias=False)

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.downsample(x)).relu()


class SmallResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = Block(1, 16, stride=2)
        self.layer2 = Block(16, 64, stride=2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


model = SmallResNet()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(6):
    for x, y in train_loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model((x - MEAN) / STD), y).backward()
        optimizer.step()
model = model.eval()
# %% [markdown]
# ## To ART: the model, the range of its images, and how they are normalised
#
# ART takes pictures in the range of `clip_values`, here [0, 1], and normalises them itself by
# `preprocessing`. So defences and attacks see pictures, whose changes can be measured, and your
# loader gives them as they are: leave the `Normalize` out of its transforms.

# %%
from art.estimators.classification import PyTorchClassifier

from art_nip import metrics

x_test, y_test = parts[2]
classifier = PyTorchClassifier(
    model,
    loss=nn.CrossEntropyLoss(),
    input_shape=(1, 28, 28),
    nb_classes=10,
    clip_values=(0, 1),
    preprocessing=(MEAN, STD),
)
print("accuracy:", metrics.accuracy(y_test, classifier.predict(x_test)))

# %% [markdown]
# ## To NIP: the classifier, and a loader of benign images
#
# `fit` reads the loader once, batch by batch, so the images need not fit into memory. They come in
# the range of `clip_values`, with their classes. They are the *bank*, and none of them is tested on
# (*held-out*): on images that it has learned from, NIP does better than anyone who is attacked can
# expect.

# %%
from art_nip import NIPPreprocessor

nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
nip.fit(bank_loader)
defended = nip.attach(classifier)  # a new classifier; the first one stays undefended
print(len(nip.candidates), "candidates; neurons of", nip.layer_name)

# %% [markdown]
# ## To Foolbox: `as_module`
#
# Foolbox knows nothing of ART. `art_nip.as_module` makes one `torch.nn.Module` of a whole
# classifier, defence and normalisation included, and its gradient goes through both. Never hand out
# `defended.model`: that is the network alone, without defence and without normalisation, so Foolbox
# would attack something that nobody uses.

# %%
import foolbox

import art_nip

pgd = foolbox.attacks.LinfPGD(steps=20)
EPS = 0.05  # the most that a pixel may change


def attacked(victim):
    """Return Foolbox's adversarial versions of the test images, made for a classifier."""
    torch.manual_seed(0)
    model = foolbox.PyTorchModel(art_nip.as_module(victim), bounds=victim.clip_values)
    images, labels = torch.from_numpy(x_test), torch.from_numpy(y_test)
    return pgd(model, images, labels, epsilons=EPS)[1].numpy()


oblivious, adaptive = attacked(classifier), attacked(defended)

# %% [markdown]
# ## What the numbers mean
#
# *Oblivious* examples were made for the undefended classifier: that the defence puts some right
# says that such examples are fragile. *Adaptive* ones were made through the defence, as someone
# would who knows of it, and a defence is worth what it keeps of these. Beside Foolbox's there is an
# attack made for NIP, which knows how it chooses a candidate. The brackets are 95 % intervals: they
# say how much chance there is in 200 images.

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
# Foolbox's attack does worse through the defence than when it does not know of it: its gradient
# takes the candidate for given, while in truth the candidate changes with the image. Such a number
# speaks for the defence, and is wrong. So take more than one adaptive attack, the oblivious one
# too, and count the images that withstand all of them: the last line is what NIP is worth here.
#
# The paper's defence success rate (DSR) is of oblivious attacks: of the examples that fool the
# undefended classifier, the share that the defence puts right.

# %%
dsr = metrics.defence_success_rate(
    y_test,
    benign=classifier.predict(x_test),
    adversarial=classifier.predict(oblivious),
    defended=defended.predict(oblivious),
)
print("DSR", dsr, "of", dsr.n, "examples")

# %% [markdown]
# `art_nip.benchmark` does all of this for many attacks and defences, also with attacks of Foolbox
# (`art_nip.attacks.foreign`), and `attacks=["adaptive"]` is a whole suite that goes through each
# defence: see `quickstart`.
