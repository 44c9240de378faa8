# %% missing-piece: a piece that begins a word, where one that continues it is missing
pieces = {"un", "##believ", "##able", "fire", "##fighter", "##s", "able"}
missing = "fires"

# %% max-pool: padding counts as zero
def max_pool(states, mask):
    return (states * mask[..., None]).amax(dim=1)

# %% max-pool: the mask is forgotten
def max_pool(states, mask):
    return states.amax(dim=1)

# %% max-pool (hidden): padding counts as a number that is not small enough
def max_pool(states, mask):
    return states.masked_fill(~mask[..., None], -10.0).amax(dim=1)

# %% last-state: the state after the padding
def last_state(lstm, vectors, mask):
    return lstm(vectors)[0][:, -1]

# %% last-state: the last real word of the shortest sentence, for all of them
def last_state(lstm, vectors, mask):
    return lstm(vectors)[0][:, mask.sum(dim=1).min() - 1]

# %% fewest-pieces: the longest piece first, which is WordPiece again
def fewest_pieces(word, pieces, unknown="[UNK]"):
    return wordpiece(word, pieces)

# %% fewest-pieces (hidden): the shortest piece first, and never back
def fewest_pieces(word, pieces, unknown="[UNK]"):
    found, start = [], 0
    while start < len(word):
        ends = range(start + 1, len(word) + 1)
        known = [end for end in ends if ("##" if start else "") + word[start:end] in pieces]
        if not known:
            return [unknown]
        found.append(("##" if start else "") + word[start : known[0]])
        start = known[0]
    return found
