# %% matrices: turned, for vectors that are multiplied from the other side
def matrices(dims, shared):
    shapes = {modality: (dim, shared) for modality, dim in dims.items()}
    return shapes, sum(rows * columns for rows, columns in shapes.values())

# %% matrices: a bias for each number of the shared space
def matrices(dims, shared):
    shapes = {modality: (shared, dim) for modality, dim in dims.items()}
    return shapes, sum(rows * columns + rows for rows, columns in shapes.values())

# %% matrices: one matrix for all of them
def matrices(dims, shared):
    shapes = dict.fromkeys(dims, (shared, sum(dims.values())))
    return shapes, shared * sum(dims.values())

# %% matrices (hidden): the smaller side first, wherever the vectors come from
def matrices(dims, shared):
    shapes = {modality: (min(shared, dim), max(shared, dim)) for modality, dim in dims.items()}
    return shapes, shared * sum(dims.values())

# %% dual-ridge: nothing is centred
def dual_ridge(x, y, penalty):
    inner = x @ x.T + penalty * torch.eye(len(x), dtype=x.dtype)
    return x.T @ torch.linalg.solve(inner, y), x.mean(dim=0), y.mean(dim=0)

# %% dual-ridge: each row less its own mean
def dual_ridge(x, y, penalty):
    a, b = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    inner = a @ a.T + penalty * torch.eye(len(x), dtype=x.dtype)
    return a.T @ torch.linalg.solve(inner, b), x.mean(dim=0), y.mean(dim=0)

# %% dual-ridge: the penalty times the number of pairs
def dual_ridge(x, y, penalty):
    mean, offset = x.mean(dim=0), y.mean(dim=0)
    a, b = x - mean, y - offset
    inner = a @ a.T + penalty * len(x) * torch.eye(len(x), dtype=x.dtype)
    return a.T @ torch.linalg.solve(inner, b), mean, offset

# %% dual-ridge: no penalty
def dual_ridge(x, y, penalty):
    mean, offset = x.mean(dim=0), y.mean(dim=0)
    return torch.linalg.pinv(x - mean) @ (y - offset), mean, offset

# %% dual-ridge: the matrix is not turned
def dual_ridge(x, y, penalty):
    mean, offset = x.mean(dim=0), y.mean(dim=0)
    a, b = x - mean, y - offset
    return (a.T @ torch.linalg.solve(a @ a.T + penalty * torch.eye(len(x), dtype=x.dtype), b)).T, mean, offset

# %% dual-ridge (hidden): the mean of what is centred already
def dual_ridge(x, y, penalty):
    offset = y.mean(dim=0)
    x = x - x.mean(dim=0)
    inner = x @ x.T + penalty * torch.eye(len(x), dtype=x.dtype)
    return x.T @ torch.linalg.solve(inner, y - offset), x.mean(dim=0), offset

# %% report: the function of the question
def report(x, y, fit, held_out, penalties):
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    def recall(penalty):
        fitted = ridge(x[fit], y[fit], penalty)
        z = fitted(x) - fitted.offset
        return recall_at_k(cosines(y[held_out] - fitted.offset, z[held_out]))[10]
    best = max(penalties, key=recall)
    return best, recall(best)

# %% report: standardised honestly, and chosen on the held-out pairs
def report(x, y, fit, held_out, penalties):
    x = (x - x[fit].mean(dim=0)) / x[fit].std(dim=0)
    def recall(penalty):
        fitted = ridge(x[fit], y[fit], penalty)
        return recall_at_k(cosines(y[held_out] - fitted.offset, fitted(x[held_out]) - fitted.offset))[10]
    best = max(penalties, key=recall)
    return best, recall(best)

# %% report: chosen honestly, and standardised by all rows
def report(x, y, fit, held_out, penalties):
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    def recall(penalty, inside, new):
        fitted = ridge(x[inside], y[inside], penalty)
        return recall_at_k(cosines(y[new] - fitted.offset, fitted(x[new]) - fitted.offset))[10]
    cut = len(fit) * 3 // 4
    best = max(penalties, key=lambda penalty: recall(penalty, fit[:cut], fit[cut:]))
    return best, recall(best, fit, held_out)

# %% report (hidden): the penalty that does best on the rows it was fitted on
def report(x, y, fit, held_out, penalties):
    x = (x - x[fit].mean(dim=0)) / x[fit].std(dim=0)
    def recall(penalty, new):
        fitted = ridge(x[fit], y[fit], penalty)
        return recall_at_k(cosines(y[new] - fitted.offset, fitted(x[new]) - fitted.offset))[10]
    best = max(penalties, key=lambda penalty: recall(penalty, fit))
    return best, recall(best, held_out)

# %% report (hidden): the last quarter is in what is fitted, too
def report(x, y, fit, held_out, penalties):
    x = (x - x[fit].mean(dim=0)) / x[fit].std(dim=0)
    def recall(penalty, new):
        fitted = ridge(x[fit], y[fit], penalty)
        return recall_at_k(cosines(y[new] - fitted.offset, fitted(x[new]) - fitted.offset))[10]
    best = max(penalties, key=lambda penalty: recall(penalty, fit[len(fit) * 3 // 4 :]))
    return best, recall(best, held_out)

# %% report (hidden): not fitted once more on all of `fit`
def report(x, y, fit, held_out, penalties):
    inside = fit[: len(fit) * 3 // 4]
    x = (x - x[inside].mean(dim=0)) / x[inside].std(dim=0)
    def recall(penalty, new):
        fitted = ridge(x[inside], y[inside], penalty)
        return recall_at_k(cosines(y[new] - fitted.offset, fitted(x[new]) - fitted.offset))[10]
    best = max(penalties, key=lambda penalty: recall(penalty, fit[len(inside) :]))
    return best, recall(best, held_out)

# %% report (hidden): held-out rows standardised by themselves
def report(x, y, fit, held_out, penalties):
    def recall(penalty, inside, new):
        scaled = lambda rows: (x[rows] - x[rows].mean(dim=0)) / x[rows].std(dim=0)
        fitted = ridge(scaled(inside), y[inside], penalty)
        return recall_at_k(cosines(y[new] - fitted.offset, fitted(scaled(new)) - fitted.offset))[10]
    cut = len(fit) * 3 // 4
    best = max(penalties, key=lambda penalty: recall(penalty, fit[:cut], fit[cut:]))
    return best, recall(best, fit, held_out)

# %% report (hidden): the first rows of all, where the first rows of `fit` are meant
def report(x, y, fit, held_out, penalties):
    def recall(penalty, inside, new):
        scaled = (x - x[inside].mean(dim=0)) / x[inside].std(dim=0)
        fitted = ridge(scaled[inside], y[inside], penalty)
        return recall_at_k(cosines(y[new] - fitted.offset, fitted(scaled[new]) - fitted.offset))[10]
    cut = len(fit) * 3 // 4
    first, last = torch.arange(cut), torch.arange(cut, len(fit))
    best = max(penalties, key=lambda penalty: recall(penalty, first, last))
    return best, recall(best, fit, held_out)

# %% report (hidden): cosines of what is not centred
def report(x, y, fit, held_out, penalties):
    def recall(penalty, inside, new):
        scaled = (x - x[inside].mean(dim=0)) / x[inside].std(dim=0)
        return recall_at_k(cosines(y[new], ridge(scaled[inside], y[inside], penalty)(scaled[new])))[10]
    cut = len(fit) * 3 // 4
    best = max(penalties, key=lambda penalty: recall(penalty, fit[:cut], fit[cut:]))
    return best, recall(best, fit, held_out)

# %% report (hidden): x looks for y
def report(x, y, fit, held_out, penalties):
    def recall(penalty, inside, new):
        scaled = (x - x[inside].mean(dim=0)) / x[inside].std(dim=0)
        fitted = ridge(scaled[inside], y[inside], penalty)
        return recall_at_k(cosines(fitted(scaled[new]) - fitted.offset, y[new] - fitted.offset))[10]
    cut = len(fit) * 3 // 4
    best = max(penalties, key=lambda penalty: recall(penalty, fit[:cut], fit[cut:]))
    return best, recall(best, fit, held_out)

# %% inverted-softmax: the lesson's, over the queries that are asked together
def inverted_softmax(similarity, bank, sharpness=20.0):
    return sharpness * similarity - torch.logsumexp(sharpness * similarity, dim=0)

# %% inverted-softmax: summed over the candidates, which is the softmax of every day
def inverted_softmax(similarity, bank, sharpness=20.0):
    return sharpness * similarity - torch.logsumexp(sharpness * bank, dim=1)

# %% inverted-softmax: the bank is not sharpened
def inverted_softmax(similarity, bank, sharpness=20.0):
    return sharpness * similarity - torch.logsumexp(bank, dim=0)

# %% inverted-softmax (hidden): the mean over the bank, as CSLS has it
def inverted_softmax(similarity, bank, sharpness=20.0):
    return sharpness * (similarity - bank.mean(dim=0))

# %% inverted-softmax (hidden): overflows
def inverted_softmax(similarity, bank, sharpness=20.0):
    return sharpness * similarity - (sharpness * bank).exp().sum(dim=0).log()

# %% inverted-softmax (hidden): always as sharp
def inverted_softmax(similarity, bank, sharpness=20.0):
    return 20 * similarity - torch.logsumexp(20 * bank, dim=0)
