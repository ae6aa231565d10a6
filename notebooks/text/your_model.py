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
# # Your own model, your own loader, your own attack tool
#
# You have a PyTorch model, a `DataLoader`, and attacks that you trust, here Foolbox's. This
# notebook shows what to hand to whom.
# Needs `pip install "art-nip[pytorch,benchmark]" foolbox`; runs in under a minute on two CPU cores.

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
# It is built as those of torchvision are: convolutions, pooling and a flatten that is no layer but
# a call in `forward`, and images that are normalised before it sees them. Your trained model goes
# here instead.

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
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(5):
    for x, y in train_loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model((x - MEAN) / STD), y).backward()
        optimizer.step()
model.eval();

# %% [markdown]
# ## To ART: the model, the range of its images, and how they are normalised
#
# ART's classifier takes images in `clip_values`, here [0, 1], and normalises them itself. So attacks
# and defences see pictures, and not normalised values.

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
# The loader gives batches of images in the same range and their classes. NIP reads them once, one
# batch after the other, so they need not fit into memory. These images are the *bank*. They are not
# among those that we test on: what NIP does for images that it has learned from says nothing about
# those that it has not (the paper's numbers are of that kind).

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
# Foolbox knows nothing of ART. `art_nip.as_module` makes of a whole classifier, defence and
# normalisation included, one `torch.nn.Module`. `defended.model` would be the network alone:
# Foolbox would attack another function than the one that you use.

# %%
import foolbox

import art_nip

images, labels = torch.from_numpy(x_test), torch.from_numpy(y_test)
pgd = foolbox.attacks.LinfPGD(steps=20)
EPS = 0.1


def attacked(through):
    """Return Foolbox's adversarial examples of a classifier, as an array."""
    torch.manual_seed(0)
    module = art_nip.as_module(through)
    bounded = foolbox.PyTorchModel(module, bounds=(0, 1))
    return pgd(bounded, images, labels, epsilons=EPS)[1].numpy()


oblivious = attacked(classifier)
adaptive = attacked(defended)

# %% [markdown]
# ## What the numbers mean
#
# *Oblivious* examples were made for the bare classifier; the attacker does not know of the defence.
# *Adaptive* ones were made through it. A defence is worth what is left of it under the second kind.

# %%
for name, x, by in (
    ("benign, undefended", x_test, classifier),
    ("benign, defended", x_test, defended),
    ("oblivious PGD, undefended", oblivious, classifier),
    ("oblivious PGD, defended", oblivious, defended),
    ("adaptive PGD, defended", adaptive, defended),
):
    print(f"{name:26} accuracy {metrics.accuracy(y_test, by.predict(x))}")
scores = [by.predict(x) for by, x in ((classifier, x_test), (classifier, oblivious), (defended, oblivious))]
print("\nof the examples that fool the classifier, NIP puts right:", metrics.defence_success_rate(y_test, *scores))
