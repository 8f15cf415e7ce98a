"""From raw text to a trained model: corpus, vocabulary, pairs, masks, optimizer, trainer."""
