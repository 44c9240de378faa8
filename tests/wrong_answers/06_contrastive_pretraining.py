# %% bounds: every other similarity is -1, which more than two vectors cannot manage
def bounds(batch, scale):
    return float(np.log(batch)), float(np.log1p((batch - 1) * np.exp(-2 * scale)))

# %% bounds: -1/batch between two vectors, not -1/(batch - 1)
def bounds(batch, scale):
    return float(np.log(batch)), float(np.log1p((batch - 1) * np.exp(-scale * (1 + 1 / batch))))

# %% bounds: in bits
def bounds(batch, scale):
    return float(np.log2(batch)), float(np.log2(1 + (batch - 1) * np.exp(-scale * batch / (batch - 1))))

# %% bounds: perfection costs nothing, whatever the scale
def bounds(batch, scale):
    return float(np.log(batch)), 0.0

# %% bounds: the positive is counted among the negatives
def bounds(batch, scale):
    return float(np.log(batch)), float(np.log1p(batch * np.exp(-scale * batch / (batch - 1))))

# %% bounds: wrong pairs at a right angle
def bounds(batch, scale):
    return float(np.log(batch)), float(np.log1p((batch - 1) * np.exp(-scale)))

# %% bounds (hidden): ignorance costs more at a larger scale
def bounds(batch, scale):
    return float(scale * np.log(batch)), float(np.log1p((batch - 1) * np.exp(-scale * batch / (batch - 1))))

# %% several: the mean of the logs, not the log of the sum
def several_names(image, text, scale, identity):
    right = (identity[:, None] == identity[None, :]).float()
    log_share = (scale * image @ text.T).log_softmax(dim=1)
    return -((log_share * right).sum(dim=1) / right.sum(dim=1)).mean()

# %% several: twins are counted as wrong
def several_names(image, text, scale, identity):
    return F.cross_entropy(scale * image @ text.T, torch.arange(len(image)))

# %% several: from texts to pictures
def several_names(image, text, scale, identity):
    logits = scale * text @ image.T
    right = identity[:, None] == identity[None, :]
    return (logits.logsumexp(dim=1) - logits.masked_fill(~right, -torch.inf).logsumexp(dim=1)).mean()

# %% several: the sum over pictures
def several_names(image, text, scale, identity):
    logits = scale * image @ text.T
    right = identity[:, None] == identity[None, :]
    return (logits.logsumexp(dim=1) - logits.masked_fill(~right, -torch.inf).logsumexp(dim=1)).sum()

# %% several: wrong texts are set to zero, not to minus infinity
def several_names(image, text, scale, identity):
    logits = scale * image @ text.T
    right = identity[:, None] == identity[None, :]
    return (logits.logsumexp(dim=1) - (logits * right).logsumexp(dim=1)).mean()

# %% several: the log of probabilities that have become zero
def several_names(image, text, scale, identity):
    share = (scale * image @ text.T).softmax(dim=1)
    return -(share * (identity[:, None] == identity)).sum(dim=1).log().mean()

# %% several (hidden): twins are left out
def several_names(image, text, scale, identity):
    logits = scale * image @ text.T
    twin = (identity[:, None] == identity) & ~torch.eye(len(logits), dtype=torch.bool)
    return F.cross_entropy(logits.masked_fill(twin, -torch.inf), torch.arange(len(logits)))

# %% several (hidden): the most similar of the right texts alone
def several_names(image, text, scale, identity):
    logits = scale * image @ text.T
    right = identity[:, None] == identity
    return (logits.logsumexp(dim=1) - logits.masked_fill(~right, -torch.inf).amax(dim=1)).mean()

# %% several (hidden): the log of the mean over the right texts
def several_names(image, text, scale, identity):
    logits = scale * image @ text.T
    right = identity[:, None] == identity
    best = logits.masked_fill(~right, -torch.inf).logsumexp(dim=1) - right.sum(dim=1).log()
    return (logits.logsumexp(dim=1) - best).mean()

# %% step: the function of the question
def step_loss(image, text, log_scale):
    logits = log_scale * image @ text.T
    targets = torch.arange(len(logits))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits, targets)) / 2

# %% step: not normalised
def step_loss(image, text, log_scale):
    logits = log_scale.exp().clamp(max=100.0) * image @ text.T
    targets = torch.arange(len(logits))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

# %% step: normalised along the batch
def step_loss(image, text, log_scale):
    logits = log_scale.exp().clamp(max=100.0) * F.normalize(image, dim=0) @ F.normalize(text, dim=0).T
    targets = torch.arange(len(logits))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

# %% step: the logarithm is the scale
def step_loss(image, text, log_scale):
    logits = log_scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    targets = torch.arange(len(logits))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

# %% step: one direction
def step_loss(image, text, log_scale):
    logits = log_scale.exp().clamp(max=100.0) * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    return F.cross_entropy(logits, torch.arange(len(logits)))

# %% step: both directions added up
def step_loss(image, text, log_scale):
    logits = log_scale.exp().clamp(max=100.0) * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    targets = torch.arange(len(logits))
    return F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)

# %% step (hidden): the scale is not stopped
def step_loss(image, text, log_scale):
    logits = log_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    targets = torch.arange(len(logits))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

# %% step (hidden): the logarithm is stopped at 100
def step_loss(image, text, log_scale):
    logits = log_scale.clamp(max=100.0).exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    targets = torch.arange(len(logits))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

# %% step (hidden): the scale learns nothing
def step_loss(image, text, log_scale):
    logits = min(log_scale.exp().item(), 100.0) * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    targets = torch.arange(len(logits))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

# %% step (hidden): the logarithm is stopped at 2, which is that of 100 to the base of 10
def step_loss(image, text, log_scale):
    logits = log_scale.clamp(max=2.0).exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    targets = torch.arange(len(logits))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2

# %% mine: nothing is left out
def hardest(image, text, identity):
    return (image @ text.T).argmax(dim=1)

# %% mine: only a picture's own row is left out
def hardest(image, text, identity):
    return (image @ text.T).fill_diagonal_(-torch.inf).argmax(dim=1)

# %% mine: the least similar one
def hardest(image, text, identity):
    wrong = identity[:, None] != identity
    best = (image @ text.T).masked_fill(~wrong, torch.inf).argmin(dim=1)
    return torch.where(wrong.any(dim=1), best, -1)

# %% mine: row 0, where there is no negative
def hardest(image, text, identity):
    return (image @ text.T).masked_fill(identity[:, None] == identity, -torch.inf).argmax(dim=1)

# %% mine (hidden): zero for what is no negative
def hardest(image, text, identity):
    wrong = identity[:, None] != identity
    return torch.where(wrong.any(dim=1), (image @ text.T * wrong).argmax(dim=1), -1)

# %% mine (hidden): for each text the most similar picture
def hardest(image, text, identity):
    wrong = identity[:, None] != identity
    best = (image @ text.T).masked_fill(~wrong, -torch.inf).argmax(dim=0)
    return torch.where(wrong.any(dim=1), best, -1)

# %% mine (hidden): pictures that are similar, not texts
def hardest(image, text, identity):
    wrong = identity[:, None] != identity
    best = (image @ image.T).masked_fill(~wrong, -torch.inf).argmax(dim=1)
    return torch.where(wrong.any(dim=1), best, -1)
