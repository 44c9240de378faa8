"""Speech encoders: from samples to a log-mel spectrogram to one vector for each moment and one for the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.encoders.encoded import Encoded

SAMPLE_RATE = 22_050
WINDOW = 512  # samples, 23 ms
HOP = 256  # samples, 12 ms
BANDS = 40
TOP_HERTZ = 8_000.0
RANGE = 60.0  # decibels between the loudest and the softest that is told apart


def mel_filters(bins: int = WINDOW // 2 + 1, bands: int = BANDS, sample_rate: int = SAMPLE_RATE) -> torch.Tensor:
    """Triangles that gather frequency bins into mel bands, (bins, bands); mel as in HTK (O'Shaughnessy, 1987)."""
    top = 2595 * np.log10(1 + TOP_HERTZ / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)  # (bands + 2,) hertz
    hertz = torch.linspace(0, sample_rate / 2, bins, dtype=torch.float64)[:, None]  # (bins, 1)
    left, peak, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (hertz - left) / (peak - left), (right - hertz) / (right - peak)
    return torch.minimum(rising, falling).clamp(min=0).float()


def log_mel(samples: torch.Tensor) -> torch.Tensor:
    """Log-mel spectrogram: (..., samples) to (..., frames, bands).

    In units of 20 decibels below the loudest: 0 is the loudest, -3 the floor.
    """
    window = torch.hann_window(WINDOW, device=samples.device)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
    power = spectrum.abs().square().transpose(-2, -1)  # (..., frames, bins)
    decibels = 10 * (power @ mel_filters().to(power)).clamp(min=1e-10).log10()  # (..., frames, bands)
    loudest = decibels.amax(dim=(-2, -1), keepdim=True)
    return (decibels - loudest).clamp(min=-RANGE) / 20


def spectrograms(waves: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel spectrograms of utterances of different lengths, padded, and which of their frames are real.

    Args:
        waves: Samples, each (samples,) float32.

    Returns:
        (batch, frames, bands) float32, and the mask (batch, frames).
    """
    mels = [log_mel(torch.from_numpy(wave)) for wave in waves]
    lengths = torch.tensor([len(mel) for mel in mels])
    padded = nn.utils.rnn.pad_sequence(mels, batch_first=True, padding_value=-RANGE / 20)
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def subtract_noise(samples: np.ndarray, noise: np.ndarray, floor: float = 0.05) -> np.ndarray:
    """Spectral subtraction (Boll, 1979): take the noise's mean magnitude off every frame, and keep the noisy phase.

    Args:
        samples: Noisy speech, (samples,) float32.
        noise: Noise alone, from another moment of the same recording, at the same loudness.
        floor: What is left of a magnitude at least, as a share of the noisy one.

    Returns:
        (samples,) float32.
    """
    window = torch.hann_window(WINDOW)
    options = {"n_fft": WINDOW, "hop_length": HOP // 2, "window": window}
    spectrum, of_noise = (
        torch.stft(torch.from_numpy(part), pad_mode="constant", return_complex=True, **options)
        for part in (samples, noise)
    )
    magnitude = spectrum.abs()  # (bins, frames)
    left = torch.maximum(magnitude - of_noise.abs().mean(dim=1, keepdim=True), floor * magnitude)
    cleaned = torch.polar(left, spectrum.angle())
    return torch.istft(cleaned, length=len(samples), **options).numpy()


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
        """Encode spectrograms, (batch, frames, bands); there is one position for four frames."""
        hidden = mel.transpose(1, 2) + RANGE / 20  # (batch, bands, frames), 0 is the floor
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = convolution(hidden * mask[:, None])  # what is padding must not be heard
            hidden = F.relu(norm(hidden))
            mask = mask[:, ::2]
        states, _ = self.gru(hidden.transpose(1, 2))  # (batch, positions, dim)
        states = states * mask[..., None]
        return Encoded(states.sum(dim=1) / mask.sum(dim=1, keepdim=True), states, mask)


class NameRecogniser(nn.Module):
    """Which of a few names was said: a :class:`SpeechEncoder` and one linear layer.

    Args:
        names: How many there are.
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
    """Train in shuffled batches of 32, with AdamW and one rise and fall of the learning rate; the loss of each step.

    Args:
        model: Gives scores, (batch, names), for spectrograms and their mask.
        mel: (utterances, frames, bands).
        mask: (utterances, frames).
        targets: The number of the name, (utterances,).
        epochs: Passes over all utterances.
        seed: Of the shuffling.
    """
    generator, losses = torch.Generator().manual_seed(seed), []
    steps = epochs * -(-len(targets) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(targets), generator=generator).split(32):
            frames = int(mask[rows].sum(dim=1).max())  # no longer than the longest of the batch
            loss = F.cross_entropy(model(mel[rows, :frames], mask[rows, :frames]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    model.eval()
    return losses
