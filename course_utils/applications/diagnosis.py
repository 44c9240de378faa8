"""Diagnosis from an X-ray and a record (lesson 13): three ways to fuse them, training, and a model that reports."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from course_utils import vlm
from course_utils.alignment.attention import DotProductAttention
from course_utils.datasets import phantom
from course_utils.encoders.text import MiniLM
from course_utils.encoders.x_ray import DIM, GRID, XRayEncoder
from course_utils.language import llm, lora
from course_utils.paths import CHECKPOINTS
from course_utils.training import one_cycle, row_batches
from course_utils.vlm import bridges
from course_utils.vlm.conversations import Turn

# Regions (n, 36, 64), zeros for a missing X-ray; entries (n, entries, 384) as BERT reads them; and their mask
# (n, entries), True where an entry is real, all False for a missing record.
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
JOIN_LAYER = 20  # where X-rays join the language model
REPORTER = CHECKPOINTS / "medical_reporter.safetensors"


def read_records(records: Sequence[str], bert: MiniLM) -> tuple[torch.Tensor, torch.Tensor]:
    """Entries and their mask; commas separate entries, each distinct one is read once. ValueError if there is none."""
    split = [[entry.strip() for entry in record.split(",") if entry.strip()] for record in records]
    if not all(split):
        raise ValueError("A record is empty. Write at least one entry.")
    distinct = sorted({entry for entries in split for entry in entries}, key=lambda entry: (len(entry), entry))
    vector = dict(zip(distinct, bert.embed(distinct), strict=True))
    rows = [torch.stack([vector[entry] for entry in entries]) for entries in split]
    lengths = torch.tensor([len(entries) for entries in split])
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.arange(lengths.max()) < lengths[:, None]


class RecordLSTM(nn.Module):
    """BERT's entries behind a learned start, and an LSTM over them and what was ``found`` for each."""

    def __init__(self, found: int = 0) -> None:
        super().__init__()
        self.start = nn.Parameter(0.1 * torch.randn(DIM))
        self.narrow = nn.Linear(MiniLM.DIM, DIM)
        self.lstm = nn.LSTM(DIM + found, DIM, batch_first=True)

    def queries(self, entries):
        """The start and the entries, narrowed: (batch, 1 + entries, 64)."""
        return torch.cat([self.start.expand(len(entries), 1, DIM), self.narrow(8 * entries)], dim=1)

    def forward(self, sequence, mask):
        """The state after the last real entry, (batch, 64)."""
        states, _ = self.lstm(sequence)
        return states[torch.arange(len(states)), mask.sum(dim=1)]


def classifier(inside: int, outputs: int) -> nn.Sequential:
    """One hidden layer."""
    return nn.Sequential(nn.Dropout(0.2), nn.Linear(inside, 128), nn.ReLU(), nn.Linear(128, outputs))


class Fusion(nn.Module):
    """A ``state`` of (batch, inside) features and a classifier; called with ``Inputs``, gives (batch, outputs)."""

    def __init__(self, outputs: int, inside: int = DIM, found: int = 0) -> None:
        super().__init__()
        self.record, self.decide = RecordLSTM(found), classifier(inside, outputs)

    def state(self, regions, entries, mask):
        """What the record says and, in some subclasses, the X-ray."""
        return self.record(self.record.queries(entries), mask)

    def forward(self, regions, entries, mask):
        """Logits."""
        return self.decide(self.state(regions, entries, mask))


class Late(Fusion):
    """A classifier for each modality; their logits are added."""

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs)
        self.x_ray = classifier(DIM, outputs)

    def forward(self, regions, entries, mask):
        """Logits."""
        return super().forward(regions, entries, mask) + self.x_ray(regions.amax(dim=1))


class Concat(Fusion):
    """One classifier on a vector of each modality, side by side."""

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs, inside=2 * DIM)

    def state(self, regions, entries, mask):
        """Both vectors, (batch, 128)."""
        return torch.cat([super().state(regions, entries, mask), regions.amax(dim=1)], dim=1)


class AttentionLSTM(Fusion):
    """y = R(LSTM(Attention(Q, Z)); θ): each entry attends to the regions; an LSTM reads entries and what they found."""

    def __init__(self, outputs: int) -> None:
        super().__init__(outputs, found=DIM)
        self.attention = DotProductAttention(DIM)

    def state(self, regions, entries, mask):
        """The LSTM's last state, (batch, 64); keeps the attention ``weights`` (batch, 1 + entries, 36)."""
        queries = self.record.queries(entries)  # Q
        found, self.weights = self.attention(queries, regions)  # Z
        return self.record(torch.cat([queries, found], dim=-1), mask)


def train(
    model: nn.Module, inputs: Inputs, targets: torch.Tensor, steps: int, seed: int, learning_rate: float = 3e-3,
    drop: float = 0.0,
) -> nn.Module:  # fmt: skip
    """Train in place; of a share ``drop`` of the cases the X-ray is missing, of as many others the record."""
    regions, entries, mask = inputs

    def loss(rows: torch.Tensor) -> torch.Tensor:
        chance = torch.rand(len(rows))
        some = (chance >= drop).view(-1, *[1] * (regions.ndim - 1))
        scores = model(regions[rows] * some, entries[rows], mask[rows] & (chance < 1 - drop)[:, None])
        return F.cross_entropy(scores, targets[rows])

    one_cycle(model.train().parameters(), row_batches(len(targets), steps, seed), loss, learning_rate=learning_rate)
    return model.eval()


def learn_scar(model: Fusion, inputs: Inputs, zones: torch.Tensor, steps: int, seed: int) -> None:
    """Let the record's side learn where: a classifier, dropped afterwards, tells the scar's zone without the X-ray."""
    regions, entries, mask = inputs
    tell = nn.Linear(model.decide[1].in_features, int(zones.max()) + 1)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(tell(model.state(0 * regions[rows], entries[rows], mask[rows])), zones[rows])

    weights = [*model.parameters(), *tell.parameters()]
    one_cycle(weights, row_batches(len(zones), steps, seed), loss, learning_rate=3e-3)


@torch.no_grad()
def logits(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    """Logits of all cases, (n, outputs)."""
    return torch.cat([model(*some) for some in zip(*(part.split(500) for part in inputs), strict=True)])


class XRayBridge(bridges.LinearProjector):
    """A frozen encoder and a linear map: X-rays, (batch, 48, 48), to 9 picture tokens, each of 2 × 2 regions."""

    def __init__(self, width: int, encoder: XRayEncoder | None = None) -> None:
        super().__init__(4 * DIM, width)
        self.encoder = (encoder or XRayEncoder()).requires_grad_(False)

    def cells(self, x_rays: torch.Tensor) -> torch.Tensor:
        """Features of 9 cells, (batch, 9, 256)."""
        return bridges.pixel_shuffle(self.encoder(x_rays).unflatten(1, (GRID, GRID))).flatten(1, 2)

    def forward(self, x_rays: torch.Tensor) -> torch.Tensor:
        """X-rays to picture tokens, (batch, 9, width)."""
        return super().forward(self.cells(x_rays))

    def train(self, mode: bool = True) -> XRayBridge:
        """Train the map alone: batch norm in the encoder keeps its statistics."""
        super().train(mode)
        self.encoder.eval()
        return self


def reporter(bridge: nn.Module | None = None) -> vlm.VisionLanguageModel:
    """The language model with new LoRA above the join layer and a bridge, by default an untrained XRayBridge."""
    language, tokenizer = llm.load(llm.fast_dtype())
    lora.add_lora(language.model.layers[JOIN_LAYER:], ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj"))
    return vlm.VisionLanguageModel(language, tokenizer, bridge or XRayBridge(language.config.hidden_size), JOIN_LAYER)


def report_turn(one: phantom.Patient) -> Turn:
    """The turn that asks for a report: the record is the prompt."""
    return Turn(f"{one.record}. Report:", phantom.report(one), "report")
