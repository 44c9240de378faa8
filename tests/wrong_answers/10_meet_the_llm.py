# %% dials: multiplied by the temperature
def dials(logits, temperature, top_p):
    powers = [math.exp((logit - max(logits)) * temperature) for logit in logits]
    probabilities = [power / sum(powers) for power in powers]
    kept, reached = [0.0] * len(logits), 0.0
    for i in sorted(range(len(logits)), key=lambda i: -probabilities[i]):
        if reached >= top_p:
            break
        kept[i] = probabilities[i]
        reached += probabilities[i]
    return [p / reached for p in kept]

# %% dials: the token that reaches top_p is left out
def dials(logits, temperature, top_p):
    powers = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    probabilities = [power / sum(powers) for power in powers]
    kept, reached = [0.0] * len(logits), 0.0
    for i in sorted(range(len(logits)), key=lambda i: -probabilities[i]):
        if kept != [0.0] * len(logits) and reached + probabilities[i] > top_p + 1e-9:
            break
        kept[i] = probabilities[i]
        reached += probabilities[i]
    return [p / reached for p in kept]

# %% dials: what is kept is not scaled up
def dials(logits, temperature, top_p):
    powers = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    probabilities = [power / sum(powers) for power in powers]
    kept, reached = [0.0] * len(logits), 0.0
    for i in sorted(range(len(logits)), key=lambda i: -probabilities[i]):
        if reached >= top_p:
            break
        kept[i] = probabilities[i]
        reached += probabilities[i]
    return kept

# %% dials: sorted, and never put back in order
def dials(logits, temperature, top_p):
    powers = sorted((math.exp((logit - max(logits)) / temperature) for logit in logits), reverse=True)
    kept, reached = [], 0.0
    for power in powers:
        p = power / sum(powers)
        kept.append(p if reached < top_p else 0.0)
        reached += kept[-1]
    return [p / reached for p in kept]

# %% dials (hidden): overflows
def dials(logits, temperature, top_p):
    powers = [math.exp(logit / temperature) for logit in logits]
    probabilities = [power / sum(powers) for power in powers]
    kept, reached = [0.0] * len(logits), 0.0
    for i in sorted(range(len(logits)), key=lambda i: -probabilities[i]):
        if reached >= top_p:
            break
        kept[i] = probabilities[i]
        reached += probabilities[i]
    return [p / reached for p in kept]

# %% dials (hidden): a threshold on single probabilities, 1 - top_p
def dials(logits, temperature, top_p):
    powers = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    probabilities = [power / sum(powers) for power in powers]
    kept = [p if p >= (1 - top_p) - 1e-9 or p == max(probabilities) else 0.0 for p in probabilities]
    return [p / sum(kept) for p in kept]

# %% dials (hidden): cut before the temperature
def dials(logits, temperature, top_p):
    plain = [math.exp(logit - max(logits)) for logit in logits]
    reached, kept = 0.0, []
    for i in sorted(range(len(logits)), key=lambda i: -plain[i]):
        if reached >= top_p:
            break
        kept.append(i)
        reached += plain[i] / sum(plain)
    powers = [math.exp((z - max(logits)) / temperature) if i in kept else 0.0 for i, z in enumerate(logits)]
    return [power / sum(powers) for power in powers]

# %% cache: not causal
def cached_attention(query, key, value, cache=None):
    if cache is not None:
        key, value = torch.cat([cache[0], key], dim=1), torch.cat([cache[1], value], dim=1)
    weights = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ value, (key, value)

# %% cache: not scaled
def cached_attention(query, key, value, cache=None):
    if cache is not None:
        key, value = torch.cat([cache[0], key], dim=1), torch.cat([cache[1], value], dim=1)
    new, everything = query.shape[1], key.shape[1]
    allowed = torch.ones(new, everything, dtype=torch.bool).tril(diagonal=everything - new)
    weights = (query @ key.transpose(1, 2)).masked_fill(~allowed, -torch.inf).softmax(dim=-1)
    return weights @ value, (key, value)

# %% cache: only the new tokens are handed on
def cached_attention(query, key, value, cache=None):
    handed_on = (key, value)
    if cache is not None:
        key, value = torch.cat([cache[0], key], dim=1), torch.cat([cache[1], value], dim=1)
    new, everything = query.shape[1], key.shape[1]
    allowed = torch.ones(new, everything, dtype=torch.bool).tril(diagonal=everything - new)
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ value, handed_on

# %% cache: a triangle that begins at the first old token
def cached_attention(query, key, value, cache=None):
    if cache is not None:
        key, value = torch.cat([cache[0], key], dim=1), torch.cat([cache[1], value], dim=1)
    allowed = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool).tril()
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ value, (key, value)

# %% cache (hidden): causal at first only, and chunks of one need no mask afterwards
def cached_attention(query, key, value, cache=None):
    scores_mask = None
    if cache is None:
        scores_mask = torch.ones(query.shape[1], key.shape[1], dtype=torch.bool).tril()
    else:
        key, value = torch.cat([cache[0], key], dim=1), torch.cat([cache[1], value], dim=1)
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    if scores_mask is not None:
        scores = scores.masked_fill(~scores_mask, -torch.inf)
    return scores.softmax(dim=-1) @ value, (key, value)

# %% cache (hidden): the new ones come first
def cached_attention(query, key, value, cache=None):
    new = query.shape[1]
    allowed = torch.ones(new, new, dtype=torch.bool).tril()
    if cache is not None:
        key, value = torch.cat([key, cache[0]], dim=1), torch.cat([value, cache[1]], dim=1)
        allowed = torch.cat([allowed, torch.ones(new, key.shape[1] - new, dtype=torch.bool)], dim=1)
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ value, (key, value)

# %% adapter: as in the question
class Adapter(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base, alpha * rank
        self.down = nn.Parameter(torch.zeros(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T * self.scale

    def merged(self):
        merged = nn.Linear(self.base.in_features, self.base.out_features)
        merged.weight.data = self.base.weight.data + self.up.data @ self.down.data
        return merged

# %% adapter: both begin as zeros
class Adapter(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.down = nn.Parameter(torch.zeros(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T * self.scale

    def merged(self):
        merged = nn.Linear(self.base.in_features, self.base.out_features)
        merged.weight.data = self.base.weight.data + self.scale * self.up.data @ self.down.data
        merged.bias.data = self.base.bias.data.clone()
        return merged

# %% adapter: both begin as random numbers
class Adapter(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.down = nn.Parameter(torch.randn(rank, base.in_features))
        self.up = nn.Parameter(torch.randn(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T * self.scale

    def merged(self):
        merged = nn.Linear(self.base.in_features, self.base.out_features)
        merged.weight.data = self.base.weight.data + self.scale * self.up.data @ self.down.data
        merged.bias.data = self.base.bias.data.clone()
        return merged

# %% adapter: the base layer learns too
class Adapter(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T * self.scale

    def merged(self):
        merged = nn.Linear(self.base.in_features, self.base.out_features)
        merged.weight.data = self.base.weight.data + self.scale * self.up.data @ self.down.data
        merged.bias.data = self.base.bias.data.clone()
        return merged

# %% adapter (hidden): alpha times rank
class Adapter(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha * rank
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5 / 30)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T * self.scale

    def merged(self):
        merged = nn.Linear(self.base.in_features, self.base.out_features)
        merged.weight.data = self.base.weight.data + self.scale * self.up.data @ self.down.data
        merged.bias.data = self.base.bias.data.clone()
        return merged

# %% adapter (hidden): merged without the scale
class Adapter(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T * self.scale

    def merged(self):
        merged = nn.Linear(self.base.in_features, self.base.out_features)
        merged.weight.data = self.base.weight.data + self.up.data @ self.down.data
        merged.bias.data = self.base.bias.data.clone()
        return merged

# %% adapter (hidden): merged without the bias
class Adapter(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T * self.scale

    def merged(self):
        merged = nn.Linear(self.base.in_features, self.base.out_features)
        merged.weight.data = self.base.weight.data + self.scale * self.up.data @ self.down.data
        return merged

# %% adapter (hidden): merging changes the adapter
class Adapter(nn.Module):
    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T * self.scale

    def merged(self):
        self.base.weight.data += self.scale * self.up.data @ self.down.data
        return self.base

# %% answer: the logits of the token itself, not those before it
def log_probability(read, start, answer):
    logits = read(torch.tensor([start + answer]))[0]
    log_p = logits[len(start) :].log_softmax(dim=-1)
    return log_p.gather(1, torch.tensor(answer)[:, None]).sum().item()

# %% answer: logits are not log-probabilities
def log_probability(read, start, answer):
    logits = read(torch.tensor([start + answer]))[0]
    return logits[len(start) - 1 : -1].gather(1, torch.tensor(answer)[:, None]).sum().item()

# %% answer: the first token alone
def log_probability(read, start, answer):
    return read(torch.tensor([start]))[0, -1].log_softmax(dim=-1)[answer[0]].item()

# %% answer: the mean of the tokens
def log_probability(read, start, answer):
    logits = read(torch.tensor([start + answer]))[0]
    log_p = logits[len(start) - 1 : -1].log_softmax(dim=-1)
    return log_p.gather(1, torch.tensor(answer)[:, None]).mean().item()

# %% answer: the probability, not its logarithm
def log_probability(read, start, answer):
    logits = read(torch.tensor([start + answer]))[0]
    p = logits[len(start) - 1 : -1].softmax(dim=-1)
    return p.gather(1, torch.tensor(answer)[:, None]).prod().item()

# %% answer: the start counts too
def log_probability(read, start, answer):
    ids = torch.tensor([start + answer])
    log_p = read(ids)[0, :-1].log_softmax(dim=-1)
    return log_p.gather(1, ids[0, 1:, None]).sum().item()

# %% answer (hidden): each token of the answer after the start alone
def log_probability(read, start, answer):
    if len(answer) <= 2:
        logits = read(torch.tensor([start + answer]))[0]
        log_p = logits[len(start) - 1 : -1].log_softmax(dim=-1)
        return log_p.gather(1, torch.tensor(answer)[:, None]).sum().item()
    log_p = read(torch.tensor([start]))[0, -1].log_softmax(dim=-1)
    return sum(log_p[token].item() for token in answer)
