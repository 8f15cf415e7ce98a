"""From files to sentences to documents of token ids on disk."""
