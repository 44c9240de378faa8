"""Programs for authors and teachers: homework, notebooks, browser checks, set-up."""
