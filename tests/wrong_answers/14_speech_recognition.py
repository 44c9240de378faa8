# %% align: the best symbol of the text at each position
def align(log_probs, text):
    allowed = [0, *sorted(set(text))]
    if len(log_probs) < len(text) + sum(a == b for a, b in zip(text, text[1:])):
        raise ValueError("too short")
    return [allowed[int(np.argmax(row[allowed]))] for row in log_probs]

# %% align: blanks may be skipped between equal letters
def align(log_probs, text):
    row = [0, *(symbol for letter in text for symbol in (letter, 0))]
    best = np.full((len(log_probs), len(row)), -np.inf)
    came = np.zeros(best.shape, dtype=int)
    best[0, :2] = log_probs[0, row[:2]]
    for t in range(1, len(log_probs)):
        for s, symbol in enumerate(row):
            ways = [s, s - 1, s - 2] if s > 1 and symbol != 0 else [s, s - 1]
            came[t, s] = max((way for way in ways if way >= 0), key=lambda way: best[t - 1, way])
            best[t, s] = best[t - 1, came[t, s]] + log_probs[t, symbol]
    place = max(range(len(row) - 2, len(row)), key=lambda s: best[-1, s])
    if best[-1, place] == -np.inf:
        raise ValueError("too short")
    places = [place]
    for t in range(len(log_probs) - 1, 0, -1):
        places.append(int(came[t, places[-1]]))
    return [row[place] for place in reversed(places)]

# %% align: blanks are never skipped
def align(log_probs, text):
    row = [0, *(symbol for letter in text for symbol in (letter, 0))]
    best = np.full((len(log_probs), len(row)), -np.inf)
    came = np.zeros(best.shape, dtype=int)
    best[0, :2] = log_probs[0, row[:2]]
    for t in range(1, len(log_probs)):
        for s, symbol in enumerate(row):
            came[t, s] = max((way for way in (s, s - 1) if way >= 0), key=lambda way: best[t - 1, way])
            best[t, s] = best[t - 1, came[t, s]] + log_probs[t, symbol]
    place = max(range(len(row) - 2, len(row)), key=lambda s: best[-1, s])
    if best[-1, place] == -np.inf:
        raise ValueError("too short")
    places = [place]
    for t in range(len(log_probs) - 1, 0, -1):
        places.append(int(came[t, places[-1]]))
    return [row[place] for place in reversed(places)]

# %% align: an impossible text gets a path
def align(log_probs, text):
    row = [0, *(symbol for letter in text for symbol in (letter, 0))]
    best = np.full((len(log_probs), len(row)), -1e30)
    came = np.zeros(best.shape, dtype=int)
    best[0, :2] = log_probs[0, row[:2]]
    for t in range(1, len(log_probs)):
        for s, symbol in enumerate(row):
            ways = [s, s - 1, s - 2] if s > 1 and symbol not in (0, row[s - 2]) else [s, s - 1]
            came[t, s] = max((way for way in ways if way >= 0), key=lambda way: best[t - 1, way])
            best[t, s] = best[t - 1, came[t, s]] + log_probs[t, symbol]
    places = [max(range(len(row) - 2, len(row)), key=lambda s: best[-1, s])]
    for t in range(len(log_probs) - 1, 0, -1):
        places.append(int(came[t, places[-1]]))
    return [row[place] for place in reversed(places)]

# %% compare: each recogniser is drawn for itself
def compare(references, first, second, seed=0):
    if not len(references) == len(first) == len(second):
        raise ValueError("lengths")
    rng, n = np.random.default_rng(seed), len(references)
    gap = jiwer.wer(references, first) - jiwer.wer(references, second)
    if first == second:
        return 0.0, 0.0, 0.0
    wrong = [np.array([jiwer.wer(a, b) * len(a.split()) for a, b in zip(references, said)]) for said in (first, second)]
    words = np.array([len(text.split()) for text in references])
    found = []
    for _ in range(1000):
        one, other = rng.integers(n, size=n), rng.integers(n, size=n)
        found.append(wrong[0][one].sum() / words[one].sum() - wrong[1][other].sum() / words[other].sum())
    return gap, *np.percentile(found, (2.5, 97.5)).tolist()

# %% compare: a mean of the rates of the utterances
def compare(references, first, second, seed=0):
    if not len(references) == len(first) == len(second):
        raise ValueError("lengths")
    gap = np.array([jiwer.wer(a, b) - jiwer.wer(a, c) for a, b, c in zip(references, first, second)])
    drawn = np.random.default_rng(seed).integers(len(gap), size=(1000, len(gap)))
    low, high = np.percentile(gap[drawn].mean(axis=1), (2.5, 97.5))
    return float(gap.mean()), float(low), float(high)

# %% compare: second minus first
def compare(references, first, second, seed=0):
    if not len(references) == len(first) == len(second):
        raise ValueError("lengths")
    counts = [[jiwer.wer(a, b) * len(a.split()) for a, b in zip(references, said)] for said in (first, second)]
    gap, words = np.array(counts[1]) - np.array(counts[0]), np.array([len(text.split()) for text in references])
    drawn = np.random.default_rng(seed).integers(len(words), size=(1000, len(words)))
    low, high = np.percentile(gap[drawn].sum(axis=1) / words[drawn].sum(axis=1), (2.5, 97.5))
    return float(gap.sum() / words.sum()), float(low), float(high)

# %% compare: the seed is not used
def compare(references, first, second, seed=0):
    if not len(references) == len(first) == len(second):
        raise ValueError("lengths")
    counts = [[jiwer.wer(a, b) * len(a.split()) for a, b in zip(references, said)] for said in (first, second)]
    gap, words = np.array(counts[0]) - np.array(counts[1]), np.array([len(text.split()) for text in references])
    drawn = np.random.default_rng(0).integers(len(words), size=(1000, len(words)))
    low, high = np.percentile(gap[drawn].sum(axis=1) / words[drawn].sum(axis=1), (2.5, 97.5))
    return float(gap.sum() / words.sum()), float(low), float(high)

# %% compare: percentiles 5 and 95
def compare(references, first, second, seed=0):
    if not len(references) == len(first) == len(second):
        raise ValueError("lengths")
    counts = [[jiwer.wer(a, b) * len(a.split()) for a, b in zip(references, said)] for said in (first, second)]
    gap, words = np.array(counts[0]) - np.array(counts[1]), np.array([len(text.split()) for text in references])
    drawn = np.random.default_rng(seed).integers(len(words), size=(1000, len(words)))
    low, high = np.percentile(gap[drawn].sum(axis=1) / words[drawn].sum(axis=1), (5, 95))
    return float(gap.sum() / words.sum()), float(low), float(high)

# %% compare: the interval is that of mean rates
def compare(references, first, second, seed=0):
    if not len(references) == len(first) == len(second):
        raise ValueError("lengths")
    gap = np.array([jiwer.wer(a, b) - jiwer.wer(a, c) for a, b, c in zip(references, first, second)])
    drawn = np.random.default_rng(seed).integers(len(gap), size=(1000, len(gap)))
    low, high = np.percentile(gap[drawn].mean(axis=1), (2.5, 97.5))
    return jiwer.wer(references, first) - jiwer.wer(references, second), float(low), float(high)

# %% compare: the second list may be shorter
def compare(references, first, second, seed=0):
    if len(references) != len(first):
        raise ValueError("lengths")
    counts = [[jiwer.wer(a, b) * len(a.split()) for a, b in zip(references, said)] for said in (first, second)]
    n = min(map(len, counts))
    gap, words = np.array(counts[0][:n]) - np.array(counts[1][:n]), np.array([len(t.split()) for t in references[:n]])
    drawn = np.random.default_rng(seed).integers(n, size=(1000, n))
    low, high = np.percentile(gap[drawn].sum(axis=1) / words[drawn].sum(axis=1), (2.5, 97.5))
    return float(gap.sum() / words.sum()), float(low), float(high)

# %% honest: infinity becomes zero
def honest_loss(log_probs, lengths, targets):
    sizes = torch.tensor([len(target) for target in targets])
    each = F.ctc_loss(log_probs.transpose(0, 1), torch.cat(targets), lengths, sizes, reduction="none", zero_infinity=True)
    lost = (each == 0).float().mean().item()
    if lost == 1:
        raise ValueError("none fits")
    return (each / sizes).mean().item(), lost

# %% honest: a blank between equal letters is forgotten
def honest_loss(log_probs, lengths, targets):
    sizes = torch.tensor([len(target) for target in targets])
    fits = sizes <= lengths
    if not fits.any():
        raise ValueError("none fits")
    each = F.ctc_loss(log_probs.transpose(0, 1), torch.cat(targets), lengths, sizes, reduction="none") / sizes
    return each[fits].mean().item(), 1 - fits.float().mean().item()

# %% honest: the loss is not per letter
def honest_loss(log_probs, lengths, targets):
    sizes = torch.tensor([len(target) for target in targets])
    each = F.ctc_loss(log_probs.transpose(0, 1), torch.cat(targets), lengths, sizes, reduction="none")
    fits = each.isfinite()
    if not fits.any():
        raise ValueError("none fits")
    return each[fits].mean().item(), 1 - fits.float().mean().item()

# %% honest: nothing fits, and the mean of nothing is NaN
def honest_loss(log_probs, lengths, targets):
    sizes = torch.tensor([len(target) for target in targets])
    each = F.ctc_loss(log_probs.transpose(0, 1), torch.cat(targets), lengths, sizes, reduction="none") / sizes
    fits = each.isfinite()
    return each[fits].mean().item(), 1 - fits.float().mean().item()

# %% noise: the same noise for every recording
def prediction():
    return 0.5


def error_in_noise(model, waves, texts, decibels, seed):
    noisy = [add_noise(wave, np.random.default_rng(seed).standard_normal(len(wave)), decibels) for wave in waves]
    return jiwer.wer(texts, recognise(model, noisy))

# %% noise: the ratio is not used
def prediction():
    return 0.5


def error_in_noise(model, waves, texts, decibels, seed):
    rng = np.random.default_rng(seed)
    noisy = [add_noise(wave, rng.standard_normal(len(wave)), 10) for wave in waves]
    return jiwer.wer(texts, recognise(model, noisy))

# %% noise: no number was predicted
def prediction():
    return None


def error_in_noise(model, waves, texts, decibels, seed):
    rng = np.random.default_rng(seed)
    noisy = [add_noise(wave, rng.standard_normal(len(wave)), decibels) for wave in waves]
    return jiwer.wer(texts, recognise(model, noisy))
