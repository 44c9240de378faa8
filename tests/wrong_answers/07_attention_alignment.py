# %% weights: not scaled
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("The mask leaves nothing to read.")
    largest = max(score for score, allowed in zip(products, mask) if allowed)
    powers = [math.exp(score - largest) if allowed else 0.0 for score, allowed in zip(products, mask)]
    return [power / sum(powers) for power in powers]

# %% weights: divided by dim, not by its root
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("The mask leaves nothing to read.")
    scaled = [product / dim for product in products]
    largest = max(score for score, allowed in zip(scaled, mask) if allowed)
    powers = [math.exp(score - largest) if allowed else 0.0 for score, allowed in zip(scaled, mask)]
    return [power / sum(powers) for power in powers]

# %% weights: the mask after the division
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("The mask leaves nothing to read.")
    scaled = [product / math.sqrt(dim) for product in products]
    powers = [math.exp(score - max(scaled)) for score in scaled]
    return [power / sum(powers) * allowed for power, allowed in zip(powers, mask)]

# %% weights: a masked score is zero, and exp(0) is one
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("The mask leaves nothing to read.")
    scaled = [product / math.sqrt(dim) * allowed for product, allowed in zip(products, mask)]
    powers = [math.exp(score - max(scaled)) for score in scaled]
    return [power / sum(powers) for power in powers]

# %% weights: zeros where nothing may be read
def attention_weights(products, dim, mask):
    scaled = [product / math.sqrt(dim) for product in products]
    powers = [math.exp(score - max(scaled)) if allowed else 0.0 for score, allowed in zip(scaled, mask)]
    return [power / (sum(powers) or 1.0) for power in powers]

# %% weights (hidden): overflows
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("The mask leaves nothing to read.")
    powers = [math.exp(product / math.sqrt(dim)) if allowed else 0.0 for product, allowed in zip(products, mask)]
    return [power / sum(powers) for power in powers]

# %% weights (hidden): less the largest score, although it is masked
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("The mask leaves nothing to read.")
    scaled = [product / math.sqrt(dim) for product in products]
    powers = [math.exp(score - max(scaled)) if allowed else 0.0 for score, allowed in zip(scaled, mask)]
    return [power / sum(powers) for power in powers]

# %% weights (hidden): always divided by two
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("The mask leaves nothing to read.")
    scaled = [product / 2 for product in products]
    largest = max(score for score, allowed in zip(scaled, mask) if allowed)
    powers = [math.exp(score - largest) if allowed else 0.0 for score, allowed in zip(scaled, mask)]
    return [power / sum(powers) for power in powers]

# %% counts: the softmax average of the lesson
def summing_attention(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ value

# %% counts: divided by the sum of the weights
def summing_attention(query, key, value, mask=None):
    weights = torch.sigmoid(query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights / weights.sum(dim=-1, keepdim=True) @ value

# %% counts: the mean over the keys
def summing_attention(query, key, value, mask=None):
    weights = torch.sigmoid(query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ value / key.shape[-2]

# %% counts (hidden): not scaled
def summing_attention(query, key, value, mask=None):
    weights = torch.sigmoid(query @ key.transpose(-2, -1))
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ value

# %% counts (hidden): masked before the sigmoid, which makes a half of zero
def summing_attention(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, 0.0)
    return torch.sigmoid(scores) @ value

# %% counts (hidden): the mask is forgotten
def summing_attention(query, key, value, mask=None):
    return torch.sigmoid(query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5) @ value

# %% counts (hidden): the mask is turned round
def summing_attention(query, key, value, mask=None):
    weights = torch.sigmoid(query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5)
    if mask is not None:
        weights = weights.masked_fill(mask, 0.0)
    return weights @ value

# %% heads: the function of the question
def heads_attend(query, key, value, heads):
    batch, positions, dim = query.shape
    q, k, v = (x.reshape(batch, heads, -1, dim // heads) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / dim**0.5).softmax(dim=-2)
    return (weights @ v).reshape(batch, positions, dim)

# %% heads: positions are cut into heads, not features
def heads_attend(query, key, value, heads):
    batch, positions, dim = query.shape
    q, k, v = (x.reshape(batch, heads, -1, dim // heads) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)

# %% heads: every second feature
def heads_attend(query, key, value, heads):
    q, k, v = (x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ v).permute(0, 2, 3, 1).flatten(2)

# %% heads: scaled by all features
def heads_attend(query, key, value, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)

# %% heads: softmax over the queries
def heads_attend(query, key, value, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-2)
    return (weights @ v).transpose(1, 2).flatten(2)

# %% heads: joined without exchanging the axes back
def heads_attend(query, key, value, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ v).reshape(query.shape)

# %% heads (hidden): the map of the first head for all of them
def heads_attend(query, key, value, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights[:, :1] @ v).transpose(1, 2).flatten(2)

# %% maps: the same maps twice
def answers_kept(head, questions, weights, values):
    seen = torch.einsum("qr,qrd->qd", weights, values)
    return (head(seen, questions).argmax(-1) == head(seen, questions).argmax(-1)).float().mean().item()

# %% maps: the share that changes
def answers_kept(head, questions, weights, values):
    answers = []
    for used in (weights, weights.roll(-1, dims=0)):
        answers.append(head(torch.einsum("qr,qrd->qd", used, values), questions).argmax(dim=-1))
    return (answers[0] != answers[1]).float().mean().item()

# %% maps: the next question comes with its map
def answers_kept(head, questions, weights, values):
    first = head(torch.einsum("qr,qrd->qd", weights, values), questions).argmax(dim=-1)
    seen = torch.einsum("qr,qrd->qd", weights.roll(-1, dims=0), values)
    return (head(seen, questions.roll(-1, dims=0)).argmax(dim=-1) == first).float().mean().item()

# %% maps: the average over all regions in place of another map
def answers_kept(head, questions, weights, values):
    first = head(torch.einsum("qr,qrd->qd", weights, values), questions).argmax(dim=-1)
    return (head(values.mean(dim=1), questions).argmax(dim=-1) == first).float().mean().item()

# %% maps: how many answers stay, not their share
def answers_kept(head, questions, weights, values):
    answers = []
    for used in (weights, weights.roll(-1, dims=0)):
        answers.append(head(torch.einsum("qr,qrd->qd", used, values), questions).argmax(dim=-1))
    return (answers[0] == answers[1]).float().sum().item()

# %% maps (hidden): the map of the question before
def answers_kept(head, questions, weights, values):
    answers = []
    for used in (weights, weights.roll(1, dims=0)):
        answers.append(head(torch.einsum("qr,qrd->qd", used, values), questions).argmax(dim=-1))
    return (answers[0] == answers[1]).float().mean().item()

# %% maps (hidden): the next question's picture comes with its map
def answers_kept(head, questions, weights, values):
    seen = torch.einsum("qr,qrd->qd", weights, values)
    first, other = (head(s, questions).argmax(dim=-1) for s in (seen, seen.roll(-1, dims=0)))
    return (first == other).float().mean().item()

# %% maps (hidden): each map is moved on by one region
def answers_kept(head, questions, weights, values):
    answers = []
    for used in (weights, weights.roll(-1, dims=1)):
        answers.append(head(torch.einsum("qr,qrd->qd", used, values), questions).argmax(dim=-1))
    return (answers[0] == answers[1]).float().mean().item()

# %% maps: the last question keeps its own map
def answers_kept(head, questions, weights, values):
    answers = []
    for used in (weights, torch.cat([weights[1:], weights[-1:]])):
        answers.append(head(torch.einsum("qr,qrd->qd", used, values), questions).argmax(dim=-1))
    return (answers[0] == answers[1]).float().mean().item()

# %% maps (hidden): the last question is left out
def answers_kept(head, questions, weights, values):
    answers = []
    for used in (weights[:-1], weights[1:]):
        answers.append(head(torch.einsum("qr,qrd->qd", used, values[:-1]), questions[:-1]).argmax(dim=-1))
    return (answers[0] == answers[1]).float().mean().item()

# %% maps (hidden): the maps in the opposite order
def answers_kept(head, questions, weights, values):
    answers = []
    for used in (weights, weights.flip(0)):
        answers.append(head(torch.einsum("qr,qrd->qd", used, values), questions).argmax(dim=-1))
    return (answers[0] == answers[1]).float().mean().item()
