"""Programs for the authors and teachers of lessons: homework, notebooks, browser checks, set-up."""
