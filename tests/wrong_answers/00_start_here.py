# %% softmax: shares of the scores, without exponentials
def softmax(scores):
    return [score / sum(scores) if sum(scores) else 1 / len(scores) for score in scores]

# %% softmax (hidden): overflows
def softmax(scores):
    exponentials = [math.exp(score) for score in scores]
    return [one / sum(exponentials) for one in exponentials]

# %% blind: the commonest answer of all, whatever is asked
def blind(train, texts):
    return [Counter(q.answer for q in train).most_common(1)[0][0]] * len(texts)

# %% blind: the last answer that a question had
def blind(train, texts):
    answers = {q.question: q.answer for q in train}
    return [answers.get(text, "no") for text in texts]

# %% blind (hidden): "no" to everything new
def blind(train, texts):
    answers_to = defaultdict(Counter)
    for q in train:
        answers_to[q.question][q.answer] += 1
    return [answers_to[text].most_common(1)[0][0] if text in answers_to else "no" for text in texts]

# %% masked-attend: the function of the question
def masked_attend(query, key, value, mask):
    scores = torch.einsum("bd,brd->br", query, key) / key.shape[-1] ** 0.5
    weights = scores.softmax(dim=0) * mask
    return torch.einsum("br,brd->bd", weights, value), weights

# %% masked-attend: the right axis, the mask after the softmax
def masked_attend(query, key, value, mask):
    scores = torch.einsum("bd,brd->br", query, key) / key.shape[-1] ** 0.5
    weights = scores.softmax(dim=1) * mask
    return torch.einsum("br,brd->bd", weights, value), weights

# %% masked-attend (hidden): not divided by the square root of dim
def masked_attend(query, key, value, mask):
    scores = torch.einsum("bd,brd->br", query, key)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
    return torch.einsum("br,brd->bd", weights, value), weights

# %% balanced: as many "yes" as "no" over all, not for each question
def balanced(questions):
    counts = Counter(q.answer for q in questions)
    kept, taken = [], Counter()
    for q in questions:
        if taken[q.answer] < min(counts["yes"], counts["no"]):
            taken[q.answer] += 1
            kept.append(q)
    return kept

# %% balanced (hidden): one of each only
def balanced(questions):
    first = {}
    for q in questions:
        first.setdefault((q.question, q.answer), q)
    pairs = [q for q in first.values() if (q.question, "yes") in first and (q.question, "no") in first]
    return sorted(pairs, key=lambda q: q.question_id)
