"""Speech encoder: from samples to a log-mel spectrogram to one vector for each moment and one for the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.encoders.encoded import Encoded
from course_utils.training import one_cycle

SAMPLE_RATE = 22_050
WINDOW = 512  # samples, 23 ms
HOP = 256  # samples, 12 ms
BANDS = 40
TOP_HERTZ = 8_000.0
RANGE = 60.0  # dynamic range in decibels; anything softer is clipped


def mel_filters(bins: int = WINDOW // 2 + 1, bands: int = BANDS, sample_rate: int = SAMPLE_RATE) -> torch.Tensor:
    """Triangular mel filters, (bins, bands); mel as in HTK (O'Shaughnessy, 1987)."""
    top = 2595 * np.log10(1 + TOP_HERTZ / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)  # (bands + 2,) hertz
    hertz = torch.linspace(0, sample_rate / 2, bins, dtype=torch.float64)[:, None]  # (bins, 1)
    left, peak, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (hertz - left) / (peak - left), (right - hertz) / (right - peak)
    return torch.minimum(rising, falling).clamp(min=0).float()


def log_mel(samples: torch.Tensor) -> torch.Tensor:
    """Log-mel spectrogram, (samples,) or (batch, samples) to (..., frames, bands), in units of 20 dB.

    0 is the loudest and -3 the floor, where silence is throughout.
    """
    window = torch.hann_window(WINDOW, device=samples.device)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
    power = spectrum.abs().square().transpose(-2, -1)  # (..., frames, bins)
    decibels = 10 * (power @ mel_filters().to(power)).clamp(min=1e-10).log10()  # (..., frames, bands)
    loudest = decibels.amax(dim=(-2, -1), keepdim=True).clamp(min=RANGE - 100)  # in silence nothing is loud
    return (decibels - loudest).clamp(min=-RANGE) / 20


def spectrograms(waves: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded log-mel spectrograms of utterances, each (samples,) float32, from -1 to 1.

    Returns:
        Spectrograms, (batch, frames, bands), and the mask, True for a real frame, (batch, frames).

    Raises:
        ValueError: If an utterance is of another form, or holds NaN.
    """
    for wave in waves:
        if wave.ndim != 1 or wave.dtype.kind != "f" or not np.isfinite(wave).all():
            raise ValueError(f"A wave is (samples,) of finite floats, one channel; one is {wave.shape} {wave.dtype}.")
    mels = [log_mel(torch.from_numpy(wave)) for wave in waves]
    lengths = torch.tensor([len(mel) for mel in mels])
    padded = nn.utils.rnn.pad_sequence(mels, batch_first=True, padding_value=-RANGE / 20)
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


class SpeechEncoder(nn.Module):
    """Two convolutions over time, then a GRU; the pooled vector is the mean of its states.

    Args:
        dim: Features of a position.
    """

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(BANDS, dim, 5, stride=2, padding=2), nn.Conv1d(dim, dim, 5, stride=2, padding=2)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)])
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, mel: torch.Tensor, mask: torch.Tensor) -> Encoded:
        """Encode spectrograms, (batch, frames, bands), into one position for every four frames."""
        hidden = mel.transpose(1, 2) + RANGE / 20  # (batch, bands, frames), 0 is the floor
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = convolution(hidden * mask[:, None])  # padding must not leak into real frames
            hidden = F.relu(norm(hidden))
            mask = mask[:, ::2]
        states, _ = self.gru(hidden.transpose(1, 2))  # (batch, positions, dim)
        states = states * mask[..., None]
        return Encoded(states.sum(dim=1) / mask.sum(dim=1, keepdim=True), states, mask)


class NameRecogniser(nn.Module):
    """Classifier of spoken names: a :class:`SpeechEncoder` and a linear layer.

    Args:
        names: Number of names.
        dim: Features of the encoder.
    """

    def __init__(self, names: int, dim: int = 64) -> None:
        super().__init__()
        self.encoder = SpeechEncoder(dim)
        self.head = nn.Linear(dim, names)

    def forward(self, mel: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Scores, (batch, names), for spectrograms (batch, frames, bands)."""
        return self.head(self.encoder(mel, mask).pooled)


def train_recogniser(
    model: nn.Module, mel: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor, epochs: int = 8, seed: int = 0
) -> list[float]:
    """Train in shuffled batches of 32 with a one-cycle learning rate.

    Args:
        model: From spectrograms and their mask to scores, (batch, names); left in evaluation mode.
        mel: Spectrograms, (utterances, frames, bands).
        mask: True for a real frame, (utterances, frames).
        targets: Number of the name, (utterances,).
        epochs: Passes over all utterances.
        seed: Seed of the shuffling.

    Returns:
        The loss of each step.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = [rows for _ in range(epochs) for rows in torch.randperm(len(targets), generator=generator).split(32)]

    def loss(rows: torch.Tensor) -> torch.Tensor:
        frames = int(mask[rows].sum(dim=1).max())  # cut to the longest utterance of the batch
        return F.cross_entropy(model(mel[rows, :frames], mask[rows, :frames]), targets[rows])

    losses = one_cycle(model.train().parameters(), batches, loss, learning_rate=1e-2, clip=1.0)
    model.eval()
    return losses
