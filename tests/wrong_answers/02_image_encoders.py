# %% sees: through the layers from the first to the last
def sees(layers, position):
    first = last = position
    for kernel, stride, padding in layers:
        first = first * stride - padding
        last = last * stride - padding + kernel - 1
    return first, last

# %% sees: one pixel too many
def sees(layers, position):
    first = last = position
    for kernel, stride, padding in reversed(layers):
        first = first * stride - padding
        last = last * stride - padding + kernel
    return first, last

# %% unpatchify: a reshape alone
def unpatchify(patches, height, width, side=8):
    return patches.reshape(len(patches), -1, height, width)

# %% unpatchify: rows and columns of the grid exchanged
def unpatchify(patches, height, width, side=8):
    blocks = patches.reshape(len(patches), height // side, width // side, -1, side, side)
    return blocks.permute(0, 3, 2, 4, 1, 5).reshape(len(patches), -1, height, width)

# %% unpatchify (hidden): always three channels
def unpatchify(patches, height, width, side=8):
    blocks = patches.reshape(len(patches), height // side, width // side, 3, side, side)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), -1, height, width)

# %% prepare: the function of the question
def prepare(photograph, size=224):
    pixels = torch.from_numpy(photograph).reshape(1, 3, *photograph.shape[:2]).float()
    return F.interpolate(pixels, (size, size), mode="bilinear")

# %% prepare: from 0 to 1
def prepare(photograph, size=224):
    pixels = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)

# %% prepare (hidden): squeezed instead of cropped
def prepare(photograph, size=224):
    pixels = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)

# %% prepare (hidden): without antialiasing
def prepare(photograph, size=224):
    height, width = photograph.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = photograph[top : top + side, left : left + side].copy()
    pixels = torch.from_numpy(middle).permute(2, 0, 1)[None].float() / 127.5 - 1
    return F.interpolate(pixels, (size, size), mode="bilinear")

# %% occlusion: covers the picture itself, square after square
def occlusion(score, pixels, side):
    rows, columns = pixels.shape[2] // side, pixels.shape[3] // side
    fall = torch.zeros(rows, columns)
    with torch.no_grad():
        whole = score(pixels)[0]
        for row in range(rows):
            for column in range(columns):
                pixels[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side] = 0
                fall[row, column] = whole - score(pixels)[0]
    return fall

# %% occlusion: the score that is left, not how far it fell
def occlusion(score, pixels, side):
    rows, columns = pixels.shape[2] // side, pixels.shape[3] // side
    left = torch.zeros(rows, columns)
    with torch.no_grad():
        for row in range(rows):
            for column in range(columns):
                covered = pixels.clone()
                covered[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side] = 0
                left[row, column] = score(covered)[0]
    return left

# %% occlusion (hidden): a grid that is always square
def occlusion(score, pixels, side):
    rows = columns = pixels.shape[2] // side
    fall = torch.zeros(rows, columns)
    with torch.no_grad():
        for row in range(rows):
            for column in range(columns):
                covered = pixels.clone()
                covered[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side] = 0
                fall[row, column] = score(pixels)[0] - score(covered)[0]
    return fall
