"""Programs that measure what the course quotes and train what it ships: data/*.csv and data/checkpoints/."""

import course_utils  # noqa: F401 - before torch, so that its waiting threads sleep early
