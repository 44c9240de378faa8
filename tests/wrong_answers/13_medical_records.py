# %% posterior: silence counts as a denial
def posterior(prior, given, said):
    joint = np.array(prior, dtype=float)
    for column, present in zip(given.T, said, strict=True):
        joint *= column if present else 1 - column
    if joint.sum() == 0:
        raise ValueError("impossible")
    return joint / joint.sum()

# %% posterior: denials are ignored
def posterior(prior, given, said):
    joint = np.array(prior, dtype=float)
    for column, present in zip(given.T, said, strict=True):
        if present:
            joint *= column
    return joint / joint.sum()

# %% posterior: the prior is left out
def posterior(prior, given, said):
    joint = np.ones(len(prior))
    for column, present in zip(given.T, said, strict=True):
        if present is not None:
            joint *= column if present else 1 - column
    if joint.sum() == 0:
        raise ValueError("impossible")
    return joint / joint.sum()

# %% posterior: not normalised
def posterior(prior, given, said):
    joint = np.array(prior, dtype=float)
    for column, present in zip(given.T, said, strict=True):
        if present is not None:
            joint *= column if present else 1 - column
    if joint.sum() == 0:
        raise ValueError("impossible")
    return joint

# %% posterior: the caller's prior is changed
def posterior(prior, given, said):
    for column, present in zip(given.T, said, strict=True):
        if present is not None:
            prior *= column if present else 1 - column
    if prior.sum() == 0:
        raise ValueError("impossible")
    prior /= prior.sum()
    return prior

# %% posterior: an impossible record gives NaN
def posterior(prior, given, said):
    joint = np.array(prior, dtype=float)
    for column, present in zip(given.T, said, strict=True):
        if present is not None:
            joint *= column if present else 1 - column
    with np.errstate(invalid="ignore"):
        return joint / joint.sum()

# %% split: pictures are drawn
def split_by_patient(patients, share, seed):
    if not 0 < share < 1:
        raise ValueError("share")
    return np.random.default_rng(seed).random(len(patients)) < share

# %% split: patients until a share of the pictures is reached
def split_by_patient(patients, share, seed):
    if not 0 < share < 1:
        raise ValueError("share")
    order = np.random.default_rng(seed).permutation(np.unique(patients))
    counts = np.cumsum([(patients == one).sum() for one in order])
    return np.isin(patients, order[: max(1, int((counts <= share * len(patients)).sum()))])

# %% split: the seed is not used
def split_by_patient(patients, share, seed):
    if not 0 < share < 1:
        raise ValueError("share")
    distinct = np.unique(patients)
    return np.isin(patients, distinct[: max(1, round(share * len(distinct)))])

# %% split: a percentage passes
def split_by_patient(patients, share, seed):
    if share <= 0:
        raise ValueError("share")
    distinct = np.unique(patients)
    number = min(len(distinct), max(1, round(share * len(distinct))))
    return np.isin(patients, np.random.default_rng(seed).choice(distinct, size=number, replace=False))

# %% split: no patient at all for a small share
def split_by_patient(patients, share, seed):
    if not 0 < share < 1:
        raise ValueError("share")
    distinct = np.unique(patients)
    return np.isin(patients, np.random.default_rng(seed).choice(distinct, size=int(share * len(distinct)), replace=False))

# %% split: the number of patients is cut, not rounded
def split_by_patient(patients, share, seed):
    if not 0 < share < 1:
        raise ValueError("share")
    distinct = np.unique(patients)
    drawn = np.random.default_rng(seed).choice(distinct, size=max(1, int(share * len(distinct))), replace=False)
    return np.isin(patients, drawn)

# %% fuse: as it was
def fuse(from_x_ray, from_record, prior):
    joint = from_x_ray * from_record
    return joint / joint.sum(axis=1, keepdims=True)

# %% fuse: the mean of both
def fuse(from_x_ray, from_record, prior):
    return (from_x_ray + from_record) / 2

# %% fuse: the prior is divided out twice
def fuse(from_x_ray, from_record, prior):
    joint = from_x_ray * from_record / prior**2
    return joint / joint.sum(axis=1, keepdims=True)

# %% fuse: a geometric mean
def fuse(from_x_ray, from_record, prior):
    joint = np.sqrt(from_x_ray * from_record)
    return joint / joint.sum(axis=1, keepdims=True)

# %% fuse: not normalised
def fuse(from_x_ray, from_record, prior):
    return from_x_ray * from_record / prior

# %% pairs: no prediction
def prediction():
    return None


def bag_accuracy(records, diagnoses, longest):
    words = CountVectorizer(ngram_range=(1, longest), min_df=5)
    model = LogisticRegression(C=0.1, max_iter=500).fit(words.fit_transform(records[:3000]), diagnoses[:3000])
    return float((model.predict(words.transform(records[3000:])) == diagnoses[3000:]).mean())

# %% pairs: scored on the records that were fitted
def prediction():
    return 0.6


def bag_accuracy(records, diagnoses, longest):
    words = CountVectorizer(ngram_range=(1, longest), min_df=5)
    counts = words.fit_transform(records[:3000])
    model = LogisticRegression(C=0.1, max_iter=500).fit(counts, diagnoses[:3000])
    return float((model.predict(counts) == diagnoses[:3000]).mean())

# %% pairs: words alone, whatever is asked
def prediction():
    return 0.6


def bag_accuracy(records, diagnoses, longest):
    words = CountVectorizer(min_df=5)
    model = LogisticRegression(C=0.1, max_iter=500).fit(words.fit_transform(records[:3000]), diagnoses[:3000])
    return float((model.predict(words.transform(records[3000:])) == diagnoses[3000:]).mean())

# %% pairs: the vocabulary from all records
def prediction():
    return 0.6


def bag_accuracy(records, diagnoses, longest):
    words = CountVectorizer(ngram_range=(1, longest), min_df=5).fit(records)
    model = LogisticRegression(C=0.1, max_iter=500).fit(words.transform(records[:3000]), diagnoses[:3000])
    return float((model.predict(words.transform(records[3000:])) == diagnoses[3000:]).mean())
