# %% targets: the answer is due one place late
def targets(prompt, answer, end):
    whole = [*prompt, *answer, end]
    return whole[:-1], [-100] * len(prompt) + whole[len(prompt) + 1 :]

# %% targets: the loss is taken over the question too
def targets(prompt, answer, end):
    whole = [*prompt, *answer, end]
    return whole[:-1], whole[1:]

# %% targets (hidden): what was asked is masked by its token numbers
def targets(prompt, answer, end):
    whole = [*prompt, *answer, end]
    return whole[:-1], [-100 if token in prompt else token for token in whole[1:]]

# %% accumulate: the sum of the parts' means
def accumulate(model, parts):
    model.zero_grad()
    loss = 0.0
    for inputs, answers in parts:
        part = F.cross_entropy(model(inputs), answers)
        part.backward()
        loss += part.item()
    return loss

# %% accumulate (hidden): every part weighs the same
def accumulate(model, parts):
    model.zero_grad()
    loss = 0.0
    for inputs, answers in parts:
        part = F.cross_entropy(model(inputs), answers) / len(parts)
        part.backward()
        loss += part.item()
    return loss

# %% accumulate (hidden): gradients pile up from call to call
def accumulate(model, parts):
    total, loss = sum(len(answers) for _, answers in parts), 0.0
    for inputs, answers in parts:
        part = F.cross_entropy(model(inputs), answers, reduction="sum") / total
        part.backward()
        loss += part.item()
    return loss

# %% accumulate (hidden): all parts at once
def accumulate(model, parts):
    model.zero_grad()
    inputs, answers = (torch.cat(some) for some in zip(*parts))
    loss = F.cross_entropy(model(inputs), answers)
    loss.backward()
    return loss.item()

# %% accumulate (hidden): one backward pass at the end
def accumulate(model, parts):
    model.zero_grad()
    total = sum(len(answers) for _, answers in parts)
    loss = sum(F.cross_entropy(model(inputs), answers, reduction="sum") for inputs, answers in parts) / total
    loss.backward()
    return loss.item()

# %% step (hidden): pictures stay in their own mode
def step(model, optimizer, pictures, questions, answers, known):
    pixels = torch.stack([to_tensor(np.array(picture.resize((32, 32)))) for picture in pictures])
    scores = model(pixels, questions)
    loss = F.cross_entropy(scores, torch.tensor([known.index(answer) for answer in answers]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), [known[number] for number in scores.argmax(dim=-1).tolist()]

# %% step: pixels from 0 to 255
def step(model, optimizer, pictures, questions, answers, known):
    arrays = [np.array(picture.convert("RGB").resize((32, 32))) for picture in pictures]
    pixels = torch.tensor(np.stack(arrays)).permute(0, 3, 1, 2).float()
    labels = torch.tensor([known.index(answer) for answer in answers])
    scores = model(pixels, questions)
    loss = F.cross_entropy(scores, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), [known[number] for number in scores.argmax(dim=-1).tolist()]

# %% step: numbers in place of answers
def step(model, optimizer, pictures, questions, answers, known):
    pixels = torch.stack([to_tensor(np.array(picture.convert("RGB").resize((32, 32)))) for picture in pictures])
    scores = model(pixels, questions)
    loss = F.cross_entropy(scores, torch.tensor([known.index(answer) for answer in answers]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), scores.argmax(dim=-1).tolist()

# %% step (hidden): gradients pile up
def step(model, optimizer, pictures, questions, answers, known):
    pixels = torch.stack([to_tensor(np.array(picture.convert("RGB").resize((32, 32)))) for picture in pictures])
    scores = model(pixels, questions)
    loss = F.cross_entropy(scores, torch.tensor([known.index(answer) for answer in answers]))
    loss.backward()
    optimizer.step()
    return loss.item(), [known[number] for number in scores.argmax(dim=-1).tolist()]

# %% step (hidden): asks again after the step
def step(model, optimizer, pictures, questions, answers, known):
    pixels = torch.stack([to_tensor(np.array(picture.convert("RGB").resize((32, 32)))) for picture in pictures])
    loss = F.cross_entropy(model(pixels, questions), torch.tensor([known.index(answer) for answer in answers]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scores = model(pixels, questions)
    return loss.item(), [known[number] for number in scores.argmax(dim=-1).tolist()]

# %% choose: the mean over the tokens
def choose(logits, tokens):
    scores = torch.stack([
        one.log_softmax(dim=-1)[torch.arange(len(ids)), torch.tensor(ids)].mean() for one, ids in zip(logits, tokens)
    ])
    return scores, int(scores.argmax())

# %% choose: logits taken for log probabilities
def choose(logits, tokens):
    scores = torch.stack([one[torch.arange(len(ids)), torch.tensor(ids)].sum() for one, ids in zip(logits, tokens)])
    return scores, int(scores.argmax())

# %% choose (hidden): the tokens in order of their numbers
def choose(logits, tokens):
    scores = torch.stack([
        one.log_softmax(dim=-1)[torch.arange(len(ids)), sorted(ids)].sum() for one, ids in zip(logits, tokens)
    ])
    return scores, int(scores.argmax())
