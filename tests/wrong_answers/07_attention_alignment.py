# %% weights: divided by dim, not by its root
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("nothing")
    powers = [math.exp(product / dim) if allowed else 0.0 for product, allowed in zip(products, mask)]
    return [power / sum(powers) for power in powers]

# %% weights: the mask after the softmax
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("nothing")
    powers = [math.exp(product / math.sqrt(dim)) for product in products]
    return [power / sum(powers) if allowed else 0.0 for power, allowed in zip(powers, mask)]

# %% weights: nothing to read gives weights of zero
def attention_weights(products, dim, mask):
    powers = [math.exp(product / math.sqrt(dim)) if allowed else 0.0 for product, allowed in zip(products, mask)]
    return [power / (sum(powers) or 1.0) for power in powers]

# %% weights (hidden): overflows
def attention_weights(products, dim, mask):
    if not any(mask):
        raise ValueError("nothing")
    powers = [math.exp(product / math.sqrt(dim)) if allowed else 0.0 for product, allowed in zip(products, mask)]
    return [power / sum(powers) for power in powers]

# %% counts: a softmax, which averages
def summing_attention(query, key, value, mask=None):
    return dot_product_attention(query, key, value, mask)[0]

# %% counts: a sigmoid, and an average after all
def summing_attention(query, key, value, mask=None):
    weights = torch.sigmoid(query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ value / weights.sum(dim=-1, keepdim=True)

# %% counts (hidden): masked before the sigmoid, with zero
def summing_attention(query, key, value, mask=None):
    scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, 0.0)
    return torch.sigmoid(scores) @ value

# %% counts (hidden): not scaled
def summing_attention(query, key, value, mask=None):
    weights = torch.sigmoid(query @ key.transpose(-2, -1))
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ value

# %% heads: reshaped without an exchange of axes
def heads_attend(query, key, value, heads):
    q, k, v = (x.reshape(len(x), heads, -1, x.shape[-1] // heads) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ v).reshape(query.shape)

# %% heads: joined as they lie
def heads_attend(query, key, value, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ v).reshape(query.shape)

# %% heads: softmax over the queries
def heads_attend(query, key, value, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-2)
    return (weights @ v).transpose(1, 2).flatten(2)

# %% heads: scaled by all features
def heads_attend(query, key, value, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    weights = (q @ k.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)

# %% maps: the same maps twice
def answers_kept(head, questions, weights, values):
    seen = torch.einsum("qr,qrd->qd", weights, values)
    return (head(seen, questions).argmax(-1) == head(seen, questions).argmax(-1)).float().mean().item()

# %% maps: an even map instead of another question's
def answers_kept(head, questions, weights, values):
    maps = (weights, torch.ones_like(weights) / weights.shape[1])
    first, second = (head(torch.einsum("qr,qrd->qd", one, values), questions).argmax(-1) for one in maps)
    return (first == second).float().mean().item()

# %% maps (hidden): the regions are rolled, not the questions
def answers_kept(head, questions, weights, values):
    maps = (weights, weights.roll(-1, dims=1))
    first, second = (head(torch.einsum("qr,qrd->qd", one, values), questions).argmax(-1) for one in maps)
    return (first == second).float().mean().item()

# %% maps (hidden): the values go along with the maps
def answers_kept(head, questions, weights, values):
    pairs = ((weights, values), (weights.roll(-1, dims=0), values.roll(-1, dims=0)))
    first, second = (head(torch.einsum("qr,qrd->qd", *pair), questions).argmax(-1) for pair in pairs)
    return (first == second).float().mean().item()
