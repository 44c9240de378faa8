# %% step: forget gate first
def lstm_step(x, hidden, cell, w_x, w_h, bias):
    rows = [w_x[k] * x + w_h[k] * hidden + bias[k] for k in range(4)]
    keep, into, out = (1 / (1 + math.exp(-rows[k])) for k in (0, 1, 3))
    cell = keep * cell + into * math.tanh(rows[2])
    return out * math.tanh(cell), cell

# %% step: the state is not squashed
def lstm_step(x, hidden, cell, w_x, w_h, bias):
    rows = [w_x[k] * x + w_h[k] * hidden + bias[k] for k in range(4)]
    into, keep, out = (1 / (1 + math.exp(-rows[k])) for k in (0, 1, 3))
    cell = keep * cell + into * math.tanh(rows[2])
    return out * cell, cell

# %% step: the state from the old memory
def lstm_step(x, hidden, cell, w_x, w_h, bias):
    rows = [w_x[k] * x + w_h[k] * hidden + bias[k] for k in range(4)]
    into, keep, out = (1 / (1 + math.exp(-rows[k])) for k in (0, 1, 3))
    return out * math.tanh(cell), keep * cell + into * math.tanh(rows[2])

# %% step: memory and state exchanged
def lstm_step(x, hidden, cell, w_x, w_h, bias):
    rows = [w_x[k] * x + w_h[k] * hidden + bias[k] for k in range(4)]
    into, keep, out = (1 / (1 + math.exp(-rows[k])) for k in (0, 1, 3))
    cell = keep * cell + into * math.tanh(rows[2])
    return cell, out * math.tanh(cell)

# %% step: the candidate goes through a sigmoid
def lstm_step(x, hidden, cell, w_x, w_h, bias):
    into, keep, new, out = (1 / (1 + math.exp(-(w_x[k] * x + w_h[k] * hidden + bias[k]))) for k in range(4))
    cell = keep * cell + into * new
    return out * math.tanh(cell), cell

# %% step (hidden): the state before is left out
def lstm_step(x, hidden, cell, w_x, w_h, bias):
    rows = [w_x[k] * x + bias[k] for k in range(4)]
    into, keep, out = (1 / (1 + math.exp(-rows[k])) for k in (0, 1, 3))
    cell = keep * cell + into * math.tanh(rows[2])
    return out * math.tanh(cell), cell

# %% gru: the update gate the other way round
def gru_cell(x, hidden, w_x, w_h, b_x, b_h):
    x_r, x_z, x_n = (x @ w_x.T + b_x).chunk(3, dim=-1)
    h_r, h_z, h_n = (hidden @ w_h.T + b_h).chunk(3, dim=-1)
    reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    return update * torch.tanh(x_n + reset * h_n) + (1 - update) * hidden

# %% gru: update gate before reset gate
def gru_cell(x, hidden, w_x, w_h, b_x, b_h):
    x_z, x_r, x_n = (x @ w_x.T + b_x).chunk(3, dim=-1)
    h_z, h_r, h_n = (hidden @ w_h.T + b_h).chunk(3, dim=-1)
    reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    return (1 - update) * torch.tanh(x_n + reset * h_n) + update * hidden

# %% gru: the old state is added in full
def gru_cell(x, hidden, w_x, w_h, b_x, b_h):
    x_r, x_z, x_n = (x @ w_x.T + b_x).chunk(3, dim=-1)
    h_r, h_z, h_n = (hidden @ w_h.T + b_h).chunk(3, dim=-1)
    reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    return torch.tanh(x_n + reset * h_n) + update * hidden

# %% gru (hidden): the reset gate multiplies the state, before the matrix
def gru_cell(x, hidden, w_x, w_h, b_x, b_h):
    x_r, x_z, x_n = (x @ w_x.T + b_x).chunk(3, dim=-1)
    h_r, h_z, _ = (hidden @ w_h.T + b_h).chunk(3, dim=-1)
    reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    new = torch.tanh(x_n + (reset * hidden) @ w_h.chunk(3)[2].T + b_h.chunk(3)[2])
    return (1 - update) * new + update * hidden

# %% gru (hidden): no reset gate
def gru_cell(x, hidden, w_x, w_h, b_x, b_h):
    _, x_z, x_n = (x @ w_x.T + b_x).chunk(3, dim=-1)
    _, h_z, h_n = (hidden @ w_h.T + b_h).chunk(3, dim=-1)
    update = torch.sigmoid(x_z + h_z)
    return (1 - update) * torch.tanh(x_n + h_n) + update * hidden

# %% backwards: the function of the question
def read_backwards(lstm, sequences, lengths):
    states, _ = lstm(sequences.flip(1))
    return states[:, -1]

# %% backwards: turned with its padding, read at the length
def read_backwards(lstm, sequences, lengths):
    if (lengths < 1).any():
        raise ValueError("A sentence has no word.")
    states, _ = lstm(sequences.flip(1))
    return states[torch.arange(len(states)), lengths - 1]

# %% backwards: turned rightly, read in the last column
def read_backwards(lstm, sequences, lengths):
    if (lengths < 1).any():
        raise ValueError("A sentence has no word.")
    places = (lengths[:, None] - 1 - torch.arange(sequences.shape[1])).clamp(min=0)
    return lstm(sequences.take_along_dim(places[..., None], dim=1))[0][:, -1]

# %% backwards: sorted by length, and left so
def read_backwards(lstm, sequences, lengths):
    if (lengths < 1).any():
        raise ValueError("A sentence has no word.")
    order = lengths.argsort()
    return torch.stack([lstm(sequences[i : i + 1, : lengths[i]].flip(1))[0][0, -1] for i in order])

# %% backwards: no error for an empty sentence
def read_backwards(lstm, sequences, lengths):
    places = (lengths[:, None] - 1 - torch.arange(sequences.shape[1])).clamp(min=0)
    states, _ = lstm(sequences.take_along_dim(places[..., None], dim=1))
    return states[torch.arange(len(states)), lengths - 1]

# %% backwards: the padding is made zero, but stepped over
def read_backwards(lstm, sequences, lengths):
    if (lengths < 1).any():
        raise ValueError("A sentence has no word.")
    padding = torch.arange(sequences.shape[1]) >= lengths[:, None]
    return lstm(sequences.masked_fill(padding[..., None], 0.0).flip(1))[0][:, -1]

# %% probe: scored on the rows that it was fitted to
def probe_gain(states, labels):
    half = len(states) // 2
    inputs = torch.cat([states, torch.ones(len(states), 1)], dim=1)
    targets = nn.functional.one_hot(labels).float()
    known = inputs[:half]
    weights = torch.linalg.solve(known.T @ known + 1e-2 * torch.eye(known.shape[1]), known.T @ targets[:half])
    right = (known @ weights).argmax(dim=1) == labels[:half]
    blind = labels[:half].bincount().argmax() == labels[:half]
    return (right.float().mean() - blind.float().mean()).item()

# %% probe: fitted to all rows
def probe_gain(states, labels):
    half = len(states) // 2
    inputs = torch.cat([states, torch.ones(len(states), 1)], dim=1)
    targets = nn.functional.one_hot(labels).float()
    weights = torch.linalg.solve(inputs.T @ inputs + 1e-2 * torch.eye(inputs.shape[1]), inputs.T @ targets)
    right = (inputs[half:] @ weights).argmax(dim=1) == labels[half:]
    blind = labels[:half].bincount().argmax() == labels[half:]
    return (right.float().mean() - blind.float().mean()).item()

# %% probe: nothing is subtracted
def probe_gain(states, labels):
    half = len(states) // 2
    inputs = torch.cat([states, torch.ones(len(states), 1)], dim=1)
    targets = nn.functional.one_hot(labels).float()
    known = inputs[:half]
    weights = torch.linalg.solve(known.T @ known + 1e-2 * torch.eye(known.shape[1]), known.T @ targets[:half])
    return ((inputs[half:] @ weights).argmax(dim=1) == labels[half:]).float().mean().item()

# %% probe: blind means one over the number of classes
def probe_gain(states, labels):
    half = len(states) // 2
    inputs = torch.cat([states, torch.ones(len(states), 1)], dim=1)
    targets = nn.functional.one_hot(labels).float()
    known = inputs[:half]
    weights = torch.linalg.solve(known.T @ known + 1e-2 * torch.eye(known.shape[1]), known.T @ targets[:half])
    right = (inputs[half:] @ weights).argmax(dim=1) == labels[half:]
    return right.float().mean().item() - 1 / targets.shape[1]

# %% probe (hidden): the blind label is chosen on the rows that are scored
def probe_gain(states, labels):
    half = len(states) // 2
    inputs = torch.cat([states, torch.ones(len(states), 1)], dim=1)
    targets = nn.functional.one_hot(labels).float()
    known = inputs[:half]
    weights = torch.linalg.solve(known.T @ known + 1e-2 * torch.eye(known.shape[1]), known.T @ targets[:half])
    right = (inputs[half:] @ weights).argmax(dim=1) == labels[half:]
    blind = labels[half:].bincount().argmax() == labels[half:]
    return (right.float().mean() - blind.float().mean()).item()
