"""A user's own images: where they are, how each kind of file is read, and how they are split."""
