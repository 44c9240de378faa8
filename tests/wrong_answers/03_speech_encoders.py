# %% heard-tone: mirrored, even below half the sample rate
def heard_tone(hertz, sample_rate):
    return abs(sample_rate - hertz)

# %% heard-tone (hidden): folded once only
def heard_tone(hertz, sample_rate):
    return min(hertz, abs(sample_rate - hertz))

# %% walk: from the end to the beginning
def cheapest_walk(distances):
    rows, columns = distances.shape
    cost = torch.full((rows + 1, columns + 1), torch.inf, dtype=distances.dtype)
    cost[0, 0] = 0
    for i in range(rows):
        for j in range(columns):
            cost[i + 1, j + 1] = distances[i, j] + min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
    walk = [(rows - 1, columns - 1)]
    while walk[-1] != (0, 0):
        i, j = walk[-1]
        walk.append(min([(i - 1, j - 1), (i - 1, j), (i, j - 1)], key=lambda pair: cost[pair[0] + 1, pair[1] + 1].item()))
    return walk

# %% walk: along the diagonal, then along the edge
def cheapest_walk(distances):
    rows, columns = distances.shape
    return [(min(k, rows - 1), min(k, columns - 1)) for k in range(max(rows, columns))]

# %% walk (hidden): forwards to the nearest neighbour, and never back
def cheapest_walk(distances):
    rows, columns = distances.shape
    walk = [(0, 0)]
    while walk[-1] != (rows - 1, columns - 1):
        i, j = walk[-1]
        ahead = [(a, b) for a, b in ((i + 1, j + 1), (i + 1, j), (i, j + 1)) if a < rows and b < columns]
        walk.append(min(ahead, key=lambda pair: distances[pair].item()))
    return walk

# %% mean-spectra: the function of the question
def mean_spectra(waves):
    return spectrograms(waves)[0].mean(dim=1)

# %% mean-spectra: divided by all frames
def mean_spectra(waves):
    mel, mask = spectrograms(waves)
    return (mel * mask[..., None]).mean(dim=1)

# %% babble: white noise
def in_a_crowd(wave, crowd, rng):
    return speech.add_noise(wave, rng.standard_normal(len(wave)), rng.uniform(0, 20))

# %% babble (hidden): always as loud as the word
def in_a_crowd(wave, crowd, rng):
    starts = rng.integers(0, len(crowd) - len(wave) + 1, size=rng.integers(3, 7))
    return speech.add_noise(wave, sum(crowd[start : start + len(wave)] for start in starts), 0.0)
