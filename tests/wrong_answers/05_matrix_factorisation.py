# %% weights: no bias in MLB
def weights_of_mlb(left, right, out, rank):
    return rank * (left + right + out)


def weights_of_mfb(left, right, out, factor):
    return out * factor * (left + right)


def weights_of_mutan(left, right, out, rank, core):
    return core * (left + right) + 2 * core * rank * out

# %% weights: the core tensor stored in full
def weights_of_mlb(left, right, out, rank):
    return rank * (left + right + out) + out


def weights_of_mfb(left, right, out, factor):
    return out * factor * (left + right)


def weights_of_mutan(left, right, out, rank, core):
    return core * (left + right) + core * core * out

# %% weights (hidden): both sides as large as the left one
def weights_of_mlb(left, right, out, rank):
    return rank * (2 * left + out) + out


def weights_of_mfb(left, right, out, factor):
    return out * factor * 2 * left


def weights_of_mutan(left, right, out, rank, core):
    return core * 2 * left + 2 * core * rank * out

# %% holes: a hole is a zero
def nmf_with_holes(matrix, known, w, h, steps):
    matrix = matrix.masked_fill(~known, 0)
    for _ in range(steps):
        w = w * (matrix @ h) / ((w @ h.T) @ h + 1e-9)
        h = h * (matrix.T @ w) / ((w @ h.T).T @ w + 1e-9)
    return w, h

# %% holes: the second update does not see the new w
def nmf_with_holes(matrix, known, w, h, steps):
    matrix = matrix.masked_fill(~known, 0)
    for _ in range(steps):
        old = w
        w = w * (matrix @ h) / ((known * (w @ h.T)) @ h + 1e-9)
        h = h * (matrix.T @ old) / ((known * (old @ h.T)).T @ old + 1e-9)
    return w, h

# %% holes (hidden): a product in place of masked_fill, so that what stands in a hole is read
def nmf_with_holes(matrix, known, w, h, steps):
    matrix = matrix * known
    for _ in range(steps):
        w = w * (matrix @ h) / ((known * (w @ h.T)) @ h + 1e-9)
        h = h * (matrix.T @ w) / ((known * (w @ h.T)).T @ w + 1e-9)
    return w, h

# %% layout: poured, not turned
def factor_first(weight, out, factor):
    return weight.reshape(factor, out, -1).reshape(factor * out, -1)

# %% layout: the way back
def factor_first(weight, out, factor):
    return weight.unflatten(0, (factor, out)).transpose(0, 1).flatten(0, 1)

# %% nearest: all of sigma on both sides
def nearest_mfb(tensor, factor):
    u, sigma, vh = torch.linalg.svd(tensor.permute(2, 0, 1), full_matrices=False)
    scale = sigma[:, :factor, None]
    return (scale * u[:, :, :factor].transpose(1, 2)).flatten(0, 1), (scale * vh[:, :factor]).flatten(0, 1)

# %% nearest: rows as (factor, out), on both sides
def nearest_mfb(tensor, factor):
    u, sigma, vh = torch.linalg.svd(tensor.permute(2, 0, 1), full_matrices=False)
    root = sigma[:, :factor, None].sqrt()
    left, right = root * u[:, :, :factor].transpose(1, 2), root * vh[:, :factor]
    return left.transpose(0, 1).flatten(0, 1), right.transpose(0, 1).flatten(0, 1)

# %% nearest (hidden): the weakest directions, where some are left out
def nearest_mfb(tensor, factor):
    u, sigma, vh = torch.linalg.svd(tensor.permute(2, 0, 1), full_matrices=False)
    root = sigma[:, -factor:, None].sqrt()
    return (root * u[:, :, -factor:].transpose(1, 2)).flatten(0, 1), (root * vh[:, -factor:]).flatten(0, 1)
