# %% worth: the offset the wrong way round, so that left is right
def worth(last, kernel):
    n = len(last)
    if len(kernel) != 2 * n - 1:
        raise ValueError("length")
    return [sum(last[start] * kernel[start - cell + n - 1] for start in range(n)) for cell in range(n)]

# %% worth: seen from the likeliest cell alone
def worth(last, kernel):
    n = len(last)
    if len(kernel) != 2 * n - 1:
        raise ValueError("length")
    start = max(range(n), key=lambda cell: last[cell])
    return [kernel[cell - start + n - 1] for cell in range(n)]

# %% worth: no error for a kernel that does not fit
def worth(last, kernel):
    n = len(last)
    return [sum(last[start] * kernel[cell - start + n - 1] for start in range(n)) for cell in range(n)]

# %% worth: the kernel begins at offset 0
def worth(last, kernel):
    n = len(last)
    if len(kernel) != 2 * n - 1:
        raise ValueError("length")
    return [sum(last[start] * kernel[cell - start] for start in range(n)) for cell in range(n)]

# %% worth (hidden): every offset on a side has the number of its outermost
def worth(last, kernel):
    n = len(last)
    if len(kernel) != 2 * n - 1:
        raise ValueError("length")
    ends = {-1: kernel[0], 0: kernel[n - 1], 1: kernel[-1]}
    sign = lambda offset: (offset > 0) - (offset < 0)
    return [sum(last[start] * ends[sign(cell - start)] for start in range(n)) for cell in range(n)]

# %% pairs: columns before rows
def scores_by_pair(kernel, last):
    side = (kernel.shape[-1] + 1) // 2
    cells = torch.arange(side * side)
    y, x = cells // side, cells % side
    return last @ kernel[x - x[:, None] + side - 1, y - y[:, None] + side - 1]

# %% pairs: from and to exchanged
def scores_by_pair(kernel, last):
    side = (kernel.shape[-1] + 1) // 2
    cells = torch.arange(side * side)
    y, x = cells // side, cells % side
    return last @ kernel[y[:, None] - y + side - 1, x[:, None] - x + side - 1]

# %% pairs: one kernel for rows and one for columns, the sums over the other axis
def scores_by_pair(kernel, last):
    both = torch.stack([kernel.sum(dim=1), kernel.sum(dim=0)])
    return relative_scores(both.expand(*last.shape[:-1], 2, -1), last)

# %% pairs (hidden): seen from the likeliest cell alone
def scores_by_pair(kernel, last):
    side = (kernel.shape[-1] + 1) // 2
    cells = torch.arange(side * side)
    y, x = cells // side, cells % side
    worth = kernel[y - y[:, None] + side - 1, x - x[:, None] + side - 1]
    return worth[last.argmax(dim=-1)]

# %% layer: the function of the question
def layer(states, mask, look, think, first, second):
    states = first(states)
    seen, _ = look(states, states, mask[:, :, None].expand(-1, -1, states.shape[1]))
    states = states + seen
    return second(states + think(states))

# %% layer: post-norm
def layer(states, mask, look, think, first, second):
    states = first(states + look(states, states, mask.unsqueeze(1))[0])
    return second(states + think(states))

# %% layer: the normalised states are what runs through
def layer(states, mask, look, think, first, second):
    states = first(states)
    states = states + look(states, states, mask.unsqueeze(1))[0]
    return states + think(second(states))

# %% layer: no residual connection around thinking
def layer(states, mask, look, think, first, second):
    normed = first(states)
    states = states + look(normed, normed, mask.unsqueeze(1))[0]
    return think(second(states))

# %% layer (hidden): the mask is forgotten
def layer(states, mask, look, think, first, second):
    normed = first(states)
    states = states + look(normed, normed, None)[0]
    return states + think(second(states))

# %% layer (hidden): the first norm twice
def layer(states, mask, look, think, first, second):
    normed = first(states)
    states = states + look(normed, normed, mask.unsqueeze(1))[0]
    return states + think(first(states))

# %% rollout: from the first layer to the last
def made_of(weights, position, kept):
    row = F.one_hot(torch.tensor(position), weights.shape[-1]).to(weights.dtype)
    for layer, share in zip(weights, kept, strict=True):
        row = share * row + (1 - share) * row @ layer.mean(dim=0)
    return row

# %% rollout: the last look alone
def made_of(weights, position, kept):
    row = F.one_hot(torch.tensor(position), weights.shape[-1]).to(weights.dtype)
    return kept[-1] * row + (1 - kept[-1]) * weights[-1].mean(dim=0)[position]

# %% rollout: nothing is kept
def made_of(weights, position, kept):
    row = F.one_hot(torch.tensor(position), weights.shape[-1]).to(weights.dtype)
    for layer in reversed(weights):
        row = row @ layer.mean(dim=0)
    return row

# %% rollout (hidden): shares in the order of the layers, layers in reverse
def made_of(weights, position, kept):
    row = F.one_hot(torch.tensor(position), weights.shape[-1]).to(weights.dtype)
    for layer, share in zip(reversed(weights), kept, strict=True):
        row = share * row + (1 - share) * row @ layer.mean(dim=0)
    return row

# %% rollout (hidden): the first head for all
def made_of(weights, position, kept):
    row = F.one_hot(torch.tensor(position), weights.shape[-1]).to(weights.dtype)
    for layer, share in zip(reversed(weights), reversed(kept), strict=True):
        row = share * row + (1 - share) * row @ layer[0]
    return row
