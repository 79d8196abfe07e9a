"""Text to sequences: corpora, tokenizers, qualities and orders, one file each, and the nested subsets cut from them."""
