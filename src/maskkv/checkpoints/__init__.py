"""Published models on disk: their files, checked before anything reads them."""
