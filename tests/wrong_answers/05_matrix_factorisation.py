# %% weights: MLB without its bias
def weights_of_mlb(left, right, out, rank):
    return rank * (left + right + out)

def weights_of_mfb(left, right, out, factor):
    return out * factor * (left + right)

def weights_of_mutan(left, right, out, rank, core):
    return core * (left + right) + 2 * core * rank * out

# %% weights: MFB without its factors
def weights_of_mlb(left, right, out, rank):
    return rank * (left + right + out) + out

def weights_of_mfb(left, right, out, factor):
    return out * (left + right)

def weights_of_mutan(left, right, out, rank, core):
    return core * (left + right) + 2 * core * rank * out

# %% weights: MUTAN stores its core tensor
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
    return 2 * out * factor * left

def weights_of_mutan(left, right, out, rank, core):
    return 2 * core * left + 2 * core * rank * out

# %% weights (hidden): a bias for each feature of the left side
def weights_of_mlb(left, right, out, rank):
    return rank * (left + right + out) + left

def weights_of_mfb(left, right, out, factor):
    return out * factor * (left + right)

def weights_of_mutan(left, right, out, rank, core):
    return core * (left + right) + 2 * core * rank * out

# %% holes: every hole is a zero that has to be met
def nmf_with_holes(matrix, known, w, h, steps):
    matrix = matrix.masked_fill(~known, 0)
    for _ in range(steps):
        w = w * (matrix @ h) / (w @ h.T @ h + 1e-9)
        h = h * (matrix.T @ w) / (h @ w.T @ w + 1e-9)
    return w, h

# %% holes: the product is computed once, before the loop
def nmf_with_holes(matrix, known, w, h, steps):
    matrix, product = matrix.masked_fill(~known, 0), known * (w @ h.T)
    for _ in range(steps):
        w = w * (matrix @ h) / (product @ h + 1e-9)
        h = h * (matrix.T @ w) / (product.T @ w + 1e-9)
    return w, h

# %% holes: steps down the slope, which subtract
def nmf_with_holes(matrix, known, w, h, steps):
    for _ in range(steps):
        error = (w @ h.T - matrix).masked_fill(~known, 0)
        w, h = w - 0.01 * error @ h, h - 0.01 * error.T @ w
    return w, h

# %% holes: W alone is updated
def nmf_with_holes(matrix, known, w, h, steps):
    matrix = matrix.masked_fill(~known, 0)
    for _ in range(steps):
        w = w * (matrix @ h) / ((known * (w @ h.T)) @ h + 1e-9)
    return w, h

# %% holes (hidden): reads what stands in the holes
def nmf_with_holes(matrix, known, w, h, steps):
    for _ in range(steps):
        w = w * (matrix @ h) / (w @ h.T @ h + 1e-9)
        h = h * (matrix.T @ w) / (h @ w.T @ w + 1e-9)
    return w, h

# %% holes (hidden): zero times nothing is nothing
def nmf_with_holes(matrix, known, w, h, steps):
    matrix = matrix * known
    for _ in range(steps):
        w = w * (matrix @ h) / ((known * (w @ h.T)) @ h + 1e-9)
        h = h * (matrix.T @ w) / ((known * (w @ h.T)).T @ w + 1e-9)
    return w, h

# %% holes: both updates see the old factors
def nmf_with_holes(matrix, known, w, h, steps):
    matrix = matrix.masked_fill(~known, 0)
    for _ in range(steps):
        product = known * (w @ h.T)
        w, h = w * (matrix @ h) / (product @ h + 1e-9), h * (matrix.T @ w) / (product.T @ w + 1e-9)
    return w, h

# %% layout: the function of the question
def factor_first(weight, out, factor):
    return weight.reshape(factor, out, -1).reshape(factor * out, -1)

# %% layout: turned, from the order in which the rows are not
def factor_first(weight, out, factor):
    return weight.unflatten(0, (factor, out)).transpose(0, 1).flatten(0, 1)

# %% layout: left as it is
def factor_first(weight, out, factor):
    return weight

# %% layout (hidden): the features are turned with the rows
def factor_first(weight, out, factor):
    return weight.unflatten(0, (out, factor)).transpose(0, 2).reshape(out * factor, -1)

# %% layout (hidden): two products for each output, however many there are
def factor_first(weight, out, factor):
    return torch.cat([weight[0::factor], weight[1::factor]])

# %% nearest: all of sigma on both sides
def nearest_mfb(tensor, factor):
    u, sigma, vh = torch.linalg.svd(tensor.permute(2, 0, 1), full_matrices=False)
    kept = sigma[:, :factor, None]
    return (kept * u[:, :, :factor].transpose(1, 2)).flatten(0, 1), (kept * vh[:, :factor]).flatten(0, 1)

# %% nearest: sigma is forgotten
def nearest_mfb(tensor, factor):
    u, _, vh = torch.linalg.svd(tensor.permute(2, 0, 1), full_matrices=False)
    return u[:, :, :factor].transpose(1, 2).flatten(0, 1), vh[:, :factor].flatten(0, 1)

# %% nearest: columns of vh instead of rows
def nearest_mfb(tensor, factor):
    u, sigma, vh = torch.linalg.svd(tensor.permute(2, 0, 1), full_matrices=False)
    root = sigma[:, :factor].sqrt()[:, :, None]
    left, right = root * u[:, :, :factor].transpose(1, 2), root * vh[:, :, :factor].transpose(1, 2)
    return left.flatten(0, 1), right.flatten(0, 1)

# %% nearest: the rows lie as (factor, out)
def nearest_mfb(tensor, factor):
    u, sigma, vh = torch.linalg.svd(tensor.permute(2, 0, 1), full_matrices=False)
    root = sigma[:, :factor].sqrt()[:, :, None]
    left, right = root * u[:, :, :factor].transpose(1, 2), root * vh[:, :factor]
    return left.transpose(0, 1).flatten(0, 1), right.transpose(0, 1).flatten(0, 1)

# %% nearest (hidden): the smallest singular values are kept
def nearest_mfb(tensor, factor):
    u, sigma, vh = torch.linalg.svd(tensor.permute(2, 0, 1), full_matrices=False)
    root = sigma[:, -factor:].sqrt()[:, :, None]
    left, right = root * u[:, :, -factor:].transpose(1, 2), root * vh[:, -factor:]
    return left.flatten(0, 1), right.flatten(0, 1)
