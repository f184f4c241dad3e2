"""Which way of pooling images to the patient suits the anomalies network, on the simulated validation split.

``python benchmarks/anomaly_pooling.py DATA [--models models]``, where DATA is the folder of simulated pictures that
``dicom-node train anomalies`` drew. The learned way is attention over the images' features (Ilse et al., ICML 2018),
trained here on the training split, the network as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dicom_node.inference.batching import batches
from dicom_node.inference.registry import load_task
from dicom_node.tasks.anomalies import Anomalies
from dicom_node.tasks.anomalies.pooling import POOLINGS
from dicom_node.training import metrics
from dicom_node.training.datasets import AnomalyExample, read_anomalies
from dicom_node.training.measuring import BATCH, frame_of
from dicom_node.training.recipe import of_split

HIDDEN, STEPS, PATIENTS = 64, 400, 32


class AttentionPooling(nn.Module):
    """Weighs the images of a patient by what they show, and classifies their weighted mean."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(features, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
        self.classes = nn.Linear(features, classes)

    def forward(self, images: Tensor, there: Tensor) -> Tensor:
        """Features (patients, images, features), and which of them there are, to logits (patients, classes)."""
        weights = self.score(images).masked_fill(~there[:, :, None], -torch.inf).softmax(dim=1)
        logits: Tensor = self.classes((weights * images).sum(dim=1))
        return logits


class Patients:
    """What the network says and sees of each patient's images."""

    def __init__(self, examples: Sequence[AnomalyExample], task: Anomalies) -> None:
        said, seen = [], []
        for batch in batches(examples, BATCH):
            probabilities, features = task.look([frame_of(example.picture) for example in batch])
            said.append(probabilities)
            seen.append(features.mean(axis=(2, 3)))
        probabilities, features = np.concatenate(said), np.concatenate(seen)
        owners, owner = np.unique([example.picture.group for example in examples], return_inverse=True)
        members = [np.flatnonzero(owner == number) for number in range(len(owners))]
        self.true = np.array([task.class_names.index(examples[of_patient[0]].label) for of_patient in members])
        self.probabilities = [probabilities[of_patient] for of_patient in members]
        each = [torch.from_numpy(features[of_patient]) for of_patient in members]
        self.features = nn.utils.rnn.pad_sequence(each, batch_first=True)
        most = torch.arange(self.features.shape[1])
        self.there = most[None] < torch.tensor([len(of_patient) for of_patient in members])[:, None]


def learned(train: Patients, classes: int) -> AttentionPooling:
    """Train attention on patients."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = AttentionPooling(train.features.shape[2], classes)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(STEPS):
        chosen = rng.choice(len(train.true), size=PATIENTS)
        logits = net(train.features[chosen], train.there[chosen])
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(train.true[chosen]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", type=Path, default=Path("models"))
    options = parser.parse_args()
    task = load_task("anomalies", options.models, "cpu")
    assert isinstance(task, Anomalies)
    examples = read_anomalies(options.data)
    train, valid = (Patients(of_split(examples, split), task) for split in ("train", "valid"))
    ways = {name: [pooled(p) for p in valid.probabilities] for name, pooled in POOLINGS.items()}
    net = learned(train, len(task.class_names))
    with torch.inference_mode():
        ways["learned attention"] = list(net(valid.features, valid.there).double().softmax(-1).numpy())
    print(f"{len(valid.true)} simulated patients of the validation split")
    print("| pooling | patient accuracy | mean AUROC | mean -log p of the class |")
    print("|---|---|---|---|")
    for name, patients in ways.items():
        scores = np.stack(patients)
        right = metrics.accuracy(valid.true, scores.argmax(axis=1))
        surprise = -np.log(np.maximum(scores[np.arange(len(scores)), valid.true], 1e-9)).mean()
        print(f"| {name} | {right:.3f} | {metrics.auc_macro(valid.true, scores):.4f} | {surprise:.3f} |")


if __name__ == "__main__":
    main()
