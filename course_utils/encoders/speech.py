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
RANGE = 80.0  # decibels between the loudest and the softest that is told apart


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

    In units of 20 decibels below the loudest: 0 is the loudest, -4 the floor.
    """
    window = torch.hann_window(WINDOW, device=samples.device)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
    power = spectrum.abs().square().transpose(-2, -1)  # (..., frames, bins)
    decibels = 10 * (power @ mel_filters().to(power)).clamp(min=1e-10).log10()  # (..., frames, bands)
    loudest = decibels.amax(dim=(-2, -1), keepdim=True)
    return (decibels - loudest).clamp(min=-RANGE) / 20


def pad(waves: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mel spectrograms of utterances of different lengths, and which frames are real.

    Returns:
        (batch, frames, bands) float32, and the mask (batch, frames).
    """
    lengths = torch.tensor([len(wave) for wave in waves])
    samples = torch.zeros(len(waves), int(lengths.max()))
    for row, wave in zip(samples, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    mel = log_mel(samples)
    return mel, torch.arange(mel.shape[1]) < (1 + lengths // HOP)[:, None]


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
