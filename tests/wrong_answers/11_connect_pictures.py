# %% shuffle-back: a plain reshape
def shuffle_back(cells, factor):
    batch, rows, columns, _ = cells.shape
    return cells.reshape(batch, rows * factor, columns * factor, -1)

# %% shuffle-back: columns first
def shuffle_back(cells, factor):
    squares = cells.unflatten(3, (factor, factor, -1)).transpose(3, 4)
    return squares.transpose(2, 3).flatten(3, 4).flatten(1, 2)

# %% shuffle-back (hidden): works for one feature and factor 2 alone
def shuffle_back(cells, factor):
    return torch.nn.functional.pixel_shuffle(cells.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

# %% mask: pictures see pictures that come after them
def who_sees_whom(prefix, lengths):
    look = torch.ones(prefix + sum(lengths), prefix + sum(lengths), dtype=torch.bool).tril()
    look[:prefix, :prefix] = True
    return look

# %% mask (hidden): the turns see each other
def who_sees_whom(prefix, lengths):
    whole = prefix + sum(lengths)
    return torch.ones(whole, whole, dtype=torch.bool).tril()

# %% mask: the text does not see the picture
def who_sees_whom(prefix, lengths):
    return torch.block_diag(*[torch.ones(n, n).tril() for n in [prefix, *lengths]]).bool()

# %% look: sigmoid, and what was there is lost
class Look(nn.Module):
    def __init__(self, width, dim):
        super().__init__()
        self.read = nn.Linear(dim, width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, states, cells):
        keys = self.read(cells)
        weights = (states @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5).softmax(dim=-1)
        return torch.sigmoid(self.gate) * (weights @ keys)

# %% look: the gate is no parameter
class Look(nn.Module):
    def __init__(self, width, dim):
        super().__init__()
        self.read = nn.Linear(dim, width)
        self.gate = torch.zeros((), requires_grad=True)

    def forward(self, states, cells):
        keys = self.read(cells)
        weights = (states @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5).softmax(dim=-1)
        return states + self.gate.tanh() * (weights @ keys)

# %% look (hidden): softmax over the positions
class Look(nn.Module):
    def __init__(self, width, dim):
        super().__init__()
        self.read = nn.Linear(dim, width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, states, cells):
        keys = self.read(cells)
        weights = (states @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5).softmax(dim=1)
        return states + self.gate.tanh() * (weights @ keys)

# %% look (hidden): scores not scaled, gate without tanh
class Look(nn.Module):
    def __init__(self, width, dim):
        super().__init__()
        self.read = nn.Linear(dim, width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, states, cells):
        keys = self.read(cells)
        return states + self.gate * ((states @ keys.transpose(1, 2)).softmax(dim=-1) @ keys)

# %% bridge: the mean of the words is forgotten
def solved_bridge(features, words, penalty):
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
    x = (features - mean) / deviation
    matrix = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1]), x.T @ words)
    return lambda new: (new - mean) / deviation @ matrix

# %% bridge (hidden): new features are standardised by themselves
def solved_bridge(features, words, penalty):
    mean, deviation, centre = features.mean(dim=0), features.std(dim=0, correction=0), words.mean(dim=0)
    x = (features - mean) / deviation
    matrix = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1]), x.T @ (words - centre))

    def bridge(new):
        flat = new.flatten(0, -2)
        return (new - flat.mean(dim=0)) / flat.std(dim=0, correction=0) @ matrix + centre

    return bridge

# %% bridge (hidden): the penalty grows with the number of pairs
def solved_bridge(features, words, penalty):
    mean, deviation, centre = features.mean(dim=0), features.std(dim=0, correction=0), words.mean(dim=0)
    x = (features - mean) / deviation
    matrix = torch.linalg.solve(x.T @ x + len(x) * penalty * torch.eye(x.shape[1]), x.T @ (words - centre))
    return lambda new: (new - mean) / deviation @ matrix + centre
